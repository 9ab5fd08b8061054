"""Base models, fine-tuned models and checkpoints: served, listed, deleted, and whose they are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import openai
import pytest

from embedsweep.core.errors import DataError
from embedsweep.serving.fine_tuning.tuned_shelf import Offer
from tests.integration import quick_trainer
from tests.integration.fine_tuning_twins import (
    BASE,
    OTHER_BASE,
    PATIENCE,
    ROOMY,
    Running,
    holder,
    running,
)
from tests.integration.quick_trainer import FIRST_NUMBER, NumberedEmbedder, number_told
from tests.integration.serving_twins import NAME, MemoryRegistry, call, embed, shelf_of

KEYS = frozenset({"key-a", "key-b"})


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service"), api_keys=KEYS) as service:
        yield service


@pytest.fixture
def client(service) -> Iterator[openai.OpenAI]:
    with service.client("key-a") as client:
        yield client


@pytest.fixture
def other(service) -> Iterator[openai.OpenAI]:
    with service.client("key-b") as client:
        yield client


def number_of(client: openai.OpenAI, model: str) -> int:
    reply = client.embeddings.create(model=model, input="apple")
    assert reply.model == model
    return number_told(reply.data[0].embedding)


def tuned(service: Running, client: openai.OpenAI, **fields) -> str:
    ended = service.ended(client, service.tune(client, **fields))
    assert ended.status == "succeeded", ended.error
    return ended.fine_tuned_model


def ids(client: openai.OpenAI) -> list[str]:
    return [model.id for model in client.models.list()]


def test_base_models_are_served_as_they_come(client):
    for name in (BASE, OTHER_BASE):
        assert number_of(client, name) == 1
        card = client.models.retrieve(name)
        assert (card.id, card.object, card.owned_by) == (name, "model", "embedsweep")
        assert card.created > 1_700_000_000
        assert card.dimension == quick_trainer.DIMENSION
    assert ids(client)[:2] == [BASE, OTHER_BASE]


def test_a_fine_tuned_model_is_listed_served_and_deleted(service, client):
    model = tuned(service, client, model=OTHER_BASE, hyperparameters={"n_epochs": 2})
    assert model.startswith(f"ft:{OTHER_BASE}:embedsweep::")
    assert model in ids(client)
    assert client.models.retrieve(model).id == model
    assert number_of(client, model) == FIRST_NUMBER + 2
    checkpoint = f"{model}:ckpt-step-1"
    assert number_of(client, checkpoint) == FIRST_NUMBER + 1
    assert checkpoint not in ids(client)

    deleted = client.models.delete(model)
    assert (deleted.id, deleted.object, deleted.deleted) == (model, "model", True)
    for gone in (model, checkpoint):
        for ask in (client.models.retrieve, client.models.delete):
            with pytest.raises(openai.NotFoundError):
                ask(gone)
        with pytest.raises(openai.NotFoundError, match="is not served here"):
            number_of(client, gone)
    assert model not in ids(client)
    [job] = [job for job in client.fine_tuning.jobs.list() if job.fine_tuned_model == model]
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert not (service.service.disk.models / job.id).exists()


def test_a_checkpoint_may_be_deleted_alone(service, client):
    model = tuned(service, client)
    first, second = f"{model}:ckpt-step-1", f"{model}:ckpt-step-2"
    client.models.delete(first)
    with pytest.raises(openai.NotFoundError):
        number_of(client, first)
    assert number_of(client, second) == FIRST_NUMBER + 2
    assert number_of(client, model) == FIRST_NUMBER + 3
    [job] = [job for job in client.fine_tuning.jobs.list() if job.fine_tuned_model == model]
    steps = [row.step_number for row in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert steps == [3, 2]


def test_a_base_model_cannot_be_deleted(client):
    with pytest.raises(openai.NotFoundError, match="no fine-tuned model of yours"):
        client.models.delete(BASE)
    assert number_of(client, BASE) == 1


def sees(client: openai.OpenAI, file_id: str, job_id: str, model: str) -> list[bool]:
    """Which of another's things a client can see or touch; deletes what it can, at the end."""
    jobs = client.fine_tuning.jobs
    asks = [
        lambda: client.files.retrieve(file_id),
        lambda: client.files.content(file_id),
        lambda: jobs.create(model=BASE, training_file=file_id),
        lambda: jobs.retrieve(job_id),
        lambda: list(jobs.list_events(job_id)),
        lambda: list(jobs.checkpoints.list(job_id)),
        lambda: client.models.retrieve(model),
        lambda: number_of(client, model),
        lambda: number_of(client, f"{model}:ckpt-step-1"),
        lambda: client.models.delete(model),
    ]
    seen = []
    for ask in asks:
        try:
            ask()
        except (openai.NotFoundError, openai.BadRequestError):
            seen.append(False)
        else:
            seen.append(True)
    for attempt in (jobs.cancel, jobs.pause):
        try:
            attempt(job_id)
        except openai.NotFoundError:
            seen.append(False)
        except openai.BadRequestError:
            seen.append(True)
    listed = {file.id for file in client.files.list()} | {job.id for job in jobs.list()}
    return [*seen, file_id in listed, job_id in listed, model in ids(client)]


def test_another_key_sees_nothing_of_it(service, client, other):
    model = tuned(service, client)
    [job, *_] = client.fine_tuning.jobs.list()
    assert not any(sees(other, job.training_file, job.id, model))
    with pytest.raises(openai.NotFoundError):
        other.files.delete(job.training_file)
    with pytest.raises(openai.BadRequestError, match="after: there is no"):
        other.files.list(after=job.training_file)
    with pytest.raises(openai.BadRequestError, match="after: there is no"):
        other.fine_tuning.jobs.list(after=job.id)
    assert number_of(client, model) == FIRST_NUMBER + 3


def test_keys_are_nowhere_on_the_disk(service, client):
    tuned(service, client)
    home = service.service.disk.home
    contents = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    owner = hashlib.sha256(b"key-a").hexdigest().encode()
    assert any(owner in content for content in contents.values()), "the control"
    assert [path for path, content in contents.items() if b"key-a" in content] == []


def test_without_keys_everybody_sees_everything(tmp_path):
    """The control: with no owner to check against, the very same requests are answered."""
    with running(tmp_path) as service, service.client("a") as mine, service.client("b") as yours:
        model = tuned(service, mine)
        [job] = mine.fine_tuning.jobs.list()
        *asked, file_listed, job_listed, model_listed = sees(
            yours, job.training_file, job.id, model
        )
        assert all(asked)
        assert (file_listed, job_listed) == (True, True)
        assert not model_listed, "it was deleted, by the other client"
        for begun in yours.fine_tuning.jobs.list():
            service.journal.wait_for_end(begun.id)


class CountedOffer:
    """Opens models one may hold up, and counts."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def open_base(self, name: str) -> NumberedEmbedder:
        self.opened.append(name)
        self.entered.release()
        assert self.go.wait(PATIENCE)
        if name == "unopenable":
            raise DataError("model", "/secret/folder", "it is not there", "put it there")
        return NumberedEmbedder(1)

    @property
    def offer(self) -> Offer:
        names = (BASE, OTHER_BASE, "third", "unopenable")
        return Offer(names, self.open_base, quick_trainer.open_model)


def test_a_model_is_opened_once_however_many_ask_and_holds_nobody_up(tmp_path):
    counted = CountedOffer()
    with running(tmp_path, offer=counted.offer) as service, ThreadPoolExecutor(8) as clients:
        assert embed(service.port, "x", model=OTHER_BASE).status == 200
        counted.go.clear()
        asked = [clients.submit(embed, service.port, "x", BASE) for _ in range(8)]
        assert counted.entered.acquire(timeout=PATIENCE)
        assert counted.entered.acquire(timeout=PATIENCE)
        # One is being opened: the loop, and the models that are open, answer meanwhile.
        assert call(service.port, "GET", "/healthz").status == 200
        assert embed(service.port, "x", model=OTHER_BASE).status == 200
        assert not any(answer.done() for answer in asked)
        counted.go.set()
        assert [answer.result().status for answer in asked] == [200] * 8
    assert counted.opened == [OTHER_BASE, BASE]


def test_so_many_models_stay_in_memory(tmp_path):
    counted = CountedOffer()
    limits = replace(ROOMY, models_in_memory=2)
    with running(tmp_path, limits, offer=counted.offer) as service:
        for model in (BASE, OTHER_BASE, BASE, "third", BASE, OTHER_BASE, BASE):
            assert embed(service.port, "x", model=model).status == 200
    # The third pushed out the one least recently used, which then pushed out the third.
    assert counted.opened == [BASE, OTHER_BASE, "third", OTHER_BASE]


def test_a_model_that_cannot_be_opened_is_an_error_that_names_no_folder(tmp_path):
    counted = CountedOffer()
    with running(tmp_path, offer=counted.offer) as service:
        answer = embed(service.port, "x", model="unopenable")
        assert answer.error == (500, "model_unavailable", None)
        assert "/secret" not in str(answer.body)
        assert answer.headers["x-should-retry"] == "false"
        assert embed(service.port, "x", model=BASE).status == 200
        assert embed(service.port, "x", model="unopenable").status == 500
    assert counted.opened.count("unopenable") == 2


def test_a_model_whose_files_are_lost_is_an_error_and_a_deleted_one_is_gone(tmp_path):
    with running(tmp_path) as service, service.client() as client:
        model = tuned(service, client)
        [job] = client.fine_tuning.jobs.list()
        (service.service.disk.models / job.id / "model" / "model.json").unlink()
        assert embed(service.port, "x", model=model).error == (500, "model_unavailable", None)
        served = service.service.shelf.find(model, "")
        client.models.delete(model)
        with pytest.raises(Exception, match="was deleted") as caught:
            served.open()
        assert caught.value.status == 404


def test_champions_are_served_beside_what_is_fine_tuned(tmp_path):
    registry = MemoryRegistry()
    registry.crown_new()
    shelf = shelf_of(registry, tmp_path / "champions")
    with running(tmp_path / "service", shelf=shelf) as service, service.client() as client:
        model = tuned(service, client)
        assert ids(client) == [f"{NAME}@champion", f"{NAME}/1", BASE, OTHER_BASE, model]
        champion = embed(service.port, "x")
        assert (champion.status, champion.headers["x-model-version"]) == (200, "1")
        assert "x-model-version" not in embed(service.port, "x", model=model).headers
        assert number_of(client, model) == FIRST_NUMBER + 3
        with pytest.raises(openai.NotFoundError):
            client.models.delete(f"{NAME}@champion")
        with pytest.raises(openai.BadRequestError, match="cannot be fine-tuned here"):
            service.tune(client, model=NAME)
        assert call(service.port, "GET", "/readyz").body["champions"] == {NAME: 1}


def test_fine_tuning_alone_is_ready_too(service):
    ready = call(service.port, "GET", "/readyz")
    assert (ready.status, ready.body["champions"]) == (200, {})


def test_dimensions_of_a_model_not_yet_open_are_checked(tmp_path):
    with running(tmp_path) as service, service.client() as client:
        with pytest.raises(openai.BadRequestError, match="vectors of 16 numbers"):
            client.embeddings.create(model=BASE, input="x", dimensions=8)
        assert client.embeddings.create(model=BASE, input="x", dimensions=16).data


def test_the_server_embeds_while_it_trains(service, client):
    with holder() as holding:
        job_id = service.tune(client, holding.order)
        with holding.held() as held:
            assert number_of(client, BASE) == 1
            held.release()
        service.ended(client, job_id)


def test_a_key_keeps_so_many_models_and_no_more(tmp_path):
    limits = replace(ROOMY, models_per_owner=2)
    with (
        running(tmp_path, limits, KEYS) as service,
        service.client("key-a") as client,
        service.client("key-b") as other,
    ):
        first = tuned(service, client, hyperparameters={"n_epochs": 2})
        tuned(service, client)
        with pytest.raises(openai.RateLimitError, match="keeps 2 fine-tuned models") as caught:
            service.tune(client)
        assert caught.value.code == "insufficient_quota"
        assert caught.value.response.headers["x-should-retry"] == "false"
        tuned(service, other)
        client.models.delete(first)
        tuned(service, client)
