"""A job is submitted once, whatever becomes of the answer (the control: the stock client)."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import openai
import pytest

from embedsweep.backends.hosted.clock import Clock
from embedsweep.backends.hosted.identity import refusal
from embedsweep.backends.hosted.order import JobOrder
from embedsweep.backends.hosted.provider import open_client
from embedsweep.backends.hosted.reconciliation import Settling
from embedsweep.backends.hosted.settings import HostedSettings
from embedsweep.backends.hosted.training_file import training_file
from embedsweep.core.errors import Refusal, StoreError
from embedsweep.core.jobs import Account, Charge, JobState
from embedsweep.core.recipe import Loss
from embedsweep.core.trial import TrialFailure
from embedsweep.stores.job_book import SqlJobBook
from embedsweep.stores.owner import Owner
from tests.integration.hosted_parts import DATA, RECIPE, SPEED, Desk, other, price_for
from tests.integration.misbehaving_provider import KEY

ORDER = JobOrder(RECIPE, training_file(DATA, RECIPE.form))
CREATE = ("POST", "/fine_tuning/jobs")
FAULTS = {
    "500-after": {},
    "drop-after": {},
    "late": {"late": 0.6},
    "garbled": {},
    "409-after": {},
    "503-before": {"times": 1},
    "429:2": {"times": 1},
    "429:200": {"times": 1},
}


@pytest.fixture
def desk(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, prices=price_for(3.0), read_seconds=0.3)
    yield desk
    desk.book.close()


def seeded(provider, **changes):
    """A job like ours, as another client may have created it."""
    job = {
        "id": "ftjob-seed",
        "status": "running",
        "created_at": int(time.time()),
        "model": RECIPE.base_model,
        "training_file": "file-1",
        "metadata": None,
        "hyperparameters": ORDER.hyperparameters,
        "seed": RECIPE.seed,
        "looks": 0,
        "user_provided_suffix": None,
        "trained_tokens": None,
    }
    provider.seed(**(job | changes))


@pytest.mark.parametrize("fault", FAULTS)
def test_one_job_is_created_and_gives_a_model(provider, desk, fault):
    provider.tell(create=fault, **FAULTS[fault])
    folder = desk.train()
    assert len(provider.jobs()) == 1
    assert desk.heard.facts["job_id"] == "ftjob-1"
    assert len(desk.heard.scores) == 2
    assert desk.book.find(ORDER.key).state is JobState.SUCCEEDED
    assert desk.book.spent("sweep") == 3.0
    assert desk.backend.open(folder).model.name == f"ft:{RECIPE.base_model}:{ORDER.suffix}"
    if fault.startswith("429"):
        assert desk.slept[0] == float(fault.partition(":")[2])


@pytest.mark.parametrize("fault", ["500-after", "drop-after", "late", "409-after"])
def test_the_stock_client_creates_three(provider, fault, monkeypatch):
    """The control: the same request with the client's own retries."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    provider.tell(create=fault, **FAULTS[fault])
    client = openai.OpenAI(api_key=KEY, base_url=provider.url, timeout=0.3)
    with pytest.raises(openai.APIError):
        client.fine_tuning.jobs.create(
            model=RECIPE.base_model,
            training_file="file-1",
            method=ORDER.method,
            metadata={"job_key": ORDER.key},
        )
    assert len(provider.jobs()) == 3


def test_the_request_says_all_that_finds_the_job_again(provider, desk):
    desk.train(replace(RECIPE, loss=Loss.COSENT))
    job = provider.jobs()[0]
    key = desk.heard.facts["job_key"]
    assert len(key) == 32
    assert job["metadata"] == {"job_key": key}
    assert job["user_provided_suffix"].endswith(key[:10])
    assert job["hyperparameters"] == {
        "n_epochs": 2,
        "batch_size": 4,
        "learning_rate_multiplier": 0.5,
        "loss": "cosent",
    }
    assert provider.ledger()["files"][0]["filename"] == ORDER.file.name


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "http://elsewhere/v1"},
        {"base_model": "another"},
        {"epochs": 3},
        {"learning_rate_multiplier": 0.6},
        {"batch_size": 8},
        {"seed": 8},
        {"loss": Loss.COSENT},
    ],
)
def test_whatever_decides_the_result_is_in_the_key(change):
    assert JobOrder(replace(RECIPE, **change), ORDER.file).key != ORDER.key
    less = replace(DATA, texts=DATA.texts[:3])
    assert JobOrder(RECIPE, training_file(less, RECIPE.form)).key != ORDER.key
    same = replace(RECIPE, provider=f"{RECIPE.provider}/")
    assert JobOrder(same, training_file(DATA, RECIPE.form)).key == ORDER.key


@pytest.mark.parametrize(
    "settings",
    [
        {"list": "unfiltered"},
        {"list": "bare"},
        {"lag": 20 / SPEED},
        {"list": "unfiltered", "lag": 20 / SPEED},
    ],
)
def test_the_job_is_found_in_a_list_that_filters_not_or_lags(provider, desk, settings):
    seeded(provider, id="ftjob-other", metadata={"job_key": "another"}, created_at=1)
    provider.tell(create="500-after", **settings)
    desk.train()
    assert desk.heard.facts["job_id"] == "ftjob-2"
    assert len(provider.jobs()) == 2


def test_a_list_that_lags_longer_than_is_waited_for_costs_a_second_job(provider, tmp_path):
    """The control: the settle time is what keeps it at one."""
    hasty = HostedSettings(settling=Settling(1.0, 1))
    desk = Desk(provider.url, tmp_path, settings=hasty)
    provider.tell(create="500-after", times=1, lag=5.0)
    desk.train()
    assert len(provider.jobs()) == 2


def test_a_provider_that_lists_nothing_needs_a_person(provider, desk):
    provider.tell(create="500-after", list="none")
    stopped = pytest.raises(Refusal, match=f"ambiguous submit of job {ORDER.key}")
    with stopped as caught:
        desk.train()
    assert f"embedsweep jobs resubmit {ORDER.key} --yes" in str(caught.value)
    with pytest.raises(Refusal, match="ambiguous submit"):
        desk.train()
    assert provider.times_asked(*CREATE) == 1
    assert desk.book.spent("sweep") == 3.0

    provider.tell(create=None)
    desk.book.resubmit(ORDER.key)
    desk.train()
    assert provider.times_asked(*CREATE) == 2


def test_of_several_jobs_the_oldest_is_kept_and_the_others_are_cancelled(provider, desk):
    now = int(time.time())
    mine = {"metadata": {"job_key": ORDER.key}}
    seeded(provider, id="ftjob-b", created_at=now - 20, **mine)
    seeded(provider, id="ftjob-a", created_at=now - 30, status="failed", **mine)
    seeded(provider, id="ftjob-c", created_at=now - 10, **mine)
    provider.tell(create="503-before")
    desk.train()
    states = {job["id"]: job["status"] for job in provider.jobs()}
    assert states == {"ftjob-b": "succeeded", "ftjob-a": "failed", "ftjob-c": "cancelled"}
    said = "3 jobs were created for one: ftjob-b is kept, ftjob-c, ftjob-a cancelled;"
    assert desk.heard.lines[0].startswith(said)
    assert "may bill up to 3.00" in desk.heard.lines[0]
    assert desk.book.spent("sweep") == 6.0


@pytest.mark.parametrize(
    "stranger",
    [
        {"metadata": {"job_key": "another"}},
        {"user_provided_suffix": "embedsweep-0123456789"},
        {"seed": 8},
        {"model": "another"},
        {"hyperparameters": {**ORDER.hyperparameters, "n_epochs": 3}},
        {"training_file": "file-2"},
        {"status": "cancelled"},
    ],
)
def test_a_job_of_anothers_is_not_taken(provider, desk, stranger):
    seeded(provider, **stranger)
    provider.tell(create="503-before", times=1)
    desk.train()
    assert desk.heard.facts["job_id"] == "ftjob-2"


def test_an_earlier_attempt_is_not_taken_for_the_next(provider, desk):
    provider.tell(statuses=["failed"])
    with pytest.raises(TrialFailure, match="ftjob-1 failed"):
        desk.train()
    provider.tell(statuses=["succeeded"], create="503-before", times=2)
    desk.train()
    assert desk.heard.facts["job_id"] == "ftjob-2"


def test_who_lost_the_intent_while_waiting_creates_nothing(provider, tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    theirs = SqlJobBook(url, owner=Owner("another-machine", 4711, "boot:1"), lease=-1.0)

    def sleep(seconds):
        theirs.claim(ORDER.key, Charge("job", RECIPE.provider, "m", 1, 0.0), Account("theirs"))

    desk = Desk(provider.url, tmp_path, clock=Clock(time.monotonic, sleep))
    provider.tell(create="429:200", times=1)
    with pytest.raises(Refusal, match="another process took it up meanwhile"):
        desk.train()
    assert provider.jobs() == []
    assert desk.book.find(ORDER.key).state is JobState.INTENDED


def test_a_job_that_tells_nothing_but_its_training_is_taken(provider, desk):
    """The control of the test above."""
    seeded(provider)
    provider.tell(create="503-before", times=1, model=True)
    desk.train()
    assert desk.heard.facts["job_id"] == "ftjob-seed"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400", TrialFailure),
        ("413", TrialFailure),
        ("422", TrialFailure),
        ("401", StoreError),
        ("403", StoreError),
        ("404", StoreError),
    ],
)
def test_a_refused_job_is_withdrawn_credited_and_told(provider, desk, status, error):
    provider.tell(create=status, times=1)
    words = r"n_epochs must be smaller \(code invalid_value, param method\)"
    with pytest.raises(error, match=words):
        desk.train()
    assert desk.book.find(ORDER.key) is None
    assert desk.book.spent("sweep") == 0.0
    assert provider.times_asked("GET", "/fine_tuning/jobs") == 0
    desk.train()
    assert len(provider.jobs()) == 1


def test_a_provider_out_of_order_for_long_is_given_up_and_the_intent_stands(provider, desk):
    provider.tell(create="503-before")
    with pytest.raises(StoreError, match="status 503: overloaded"):
        desk.train()
    assert provider.times_asked(*CREATE) == 5
    assert desk.book.find(ORDER.key).state is JobState.INTENDED
    provider.tell(create=None)
    desk.train()
    assert len(provider.jobs()) == 1


def test_a_provider_that_is_not_there_leaves_no_intent(tmp_path):
    desk = Desk("http://127.0.0.1:9/v1", tmp_path, settings=HostedSettings(patience=5.0))
    with pytest.raises(StoreError, match="no connection"):
        desk.train()
    assert desk.book.find(ORDER.key) is None


def test_equal_recipes_of_several_workers_are_one_job(provider, tmp_path):
    desks = [Desk(provider.url, tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=desk.train) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(provider.jobs()) == 1
    assert {desk.heard.facts["job_id"] for desk in desks} == {"ftjob-1"}
    assert len({desk.heard.scores[-1] for desk in desks}) == 1


def test_a_file_is_uploaded_once_for_all_jobs(provider, desk, tmp_path):
    for number in range(3):
        desk.train(other(number))
    assert len(provider.ledger()["files"]) == 1
    assert len(provider.jobs()) == 3
    (tmp_path / "elsewhere").mkdir()
    Desk(provider.url, tmp_path / "elsewhere").train(other(3))
    assert len(provider.ledger()["files"]) == 1


def test_a_file_that_the_provider_lost_is_uploaded_again(provider, desk):
    desk.book.uploaded(RECIPE.provider, ORDER.file.digest, "file-lost")
    desk.train()
    assert desk.heard.facts["file_id"] == "file-1"
    assert desk.book.upload(RECIPE.provider, ORDER.file.digest) == "file-1"


def test_an_upload_whose_answer_was_lost_is_found(provider, desk):
    client = open_client(provider.url, KEY)
    client.files.create(file=(ORDER.file.name, ORDER.file.content), purpose="fine-tune")
    client.files.create(file=("foreign.jsonl", b"{}"), purpose="fine-tune")
    desk.train()
    assert desk.heard.facts["file_id"] == "file-1"
    assert len(provider.ledger()["files"]) == 2


def test_openai_is_refused_with_the_way_that_works(tmp_path):
    desk = Desk("http://127.0.0.1:9/v1", tmp_path)
    for name in ("openai", "https://api.openai.com/v1"):
        recipe = replace(RECIPE, provider=name)
        assert "backend: adapter" in refusal(recipe)
        with pytest.raises(Refusal, match="OpenAI accepts no embedding model"):
            desk.train(recipe)
    assert refusal(RECIPE) is None
    assert desk.book.jobs() == []


def test_what_the_file_s_tokens_cost_is_debited(provider, desk):
    desk.train()
    debited = [(entry.tokens, entry.cost) for entry in desk.book.entries("sweep") if entry.cost]
    assert debited == [(ORDER.tokens, 3.0)]
    assert desk.book.spent("sweep") == 3.0
