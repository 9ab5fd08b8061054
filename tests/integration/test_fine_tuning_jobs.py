"""Jobs from their files to their models, with the stock `openai` client."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from tests.integration.fine_tuning_twins import (
    BASE,
    FRUIT,
    KEYS,
    ROOMY,
    Running,
    holder,
    labelled,
    running,
    unused_key,
)
from tests.integration.quick_trainer import FIRST_NUMBER, number_told


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service"), api_keys=frozenset(KEYS)) as service:
        yield service


@pytest.fixture
def client(service) -> Iterator[openai.OpenAI]:
    """A client with a key that no other test of this file uses."""
    with service.client(unused_key()) as client:
        yield client


def messages(client: openai.OpenAI, job_id: str) -> list[str]:
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id)][::-1]


def lines(*rows: dict) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def test_a_job_goes_from_its_file_to_its_model(service, client):
    file_id = service.upload(client, labelled())
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file_id, method=method, suffix="my fruit/1", seed=7
    )
    assert job.id.startswith("ftjob-")
    assert (job.object, job.status, job.model) == ("fine_tuning.job", "validating_files", BASE)
    assert (job.training_file, job.validation_file, job.seed) == (file_id, None, 7)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, "auto")
    assert (job.fine_tuned_model, job.finished_at, job.error) == (None, None, None)
    assert (job.trained_tokens, job.result_files, job.metadata) == (None, [], None)

    ended = service.ended(client, job.id)
    assert (ended.status, ended.error) == ("succeeded", None)
    assert ended.fine_tuned_model.startswith(f"ft:{BASE}:embedsweep:my-fruit-1:")
    assert len(ended.fine_tuned_model.rpartition(":")[2]) == 8
    assert ended.created_at <= ended.finished_at
    assert ended.trained_tokens == 2 * len(FRUIT)
    assert ended.estimated_finish is None
    chosen = ended.hyperparameters
    assert (chosen.n_epochs, chosen.batch_size, chosen.learning_rate_multiplier) == (2, 6, 1)
    assert ended.method.supervised.hyperparameters.n_epochs == 2
    reply = client.embeddings.create(model=ended.fine_tuned_model, input="apple")
    assert number_told(reply.data[0].embedding) == FIRST_NUMBER + 2
    assert reply.model == ended.fine_tuned_model


def test_what_happened_is_told_newest_first(service, client):
    job_id = service.tune(client, hyperparameters={"n_epochs": 2, "batch_size": 3})
    service.ended(client, job_id)
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=3))
    assert all(event.object == "fine_tuning.job.event" for event in events)
    assert len({event.id for event in events}) == len(events)
    told = [event.message for event in events][::-1]
    assert told[0] == f"Created fine-tuning job: {job_id}"
    assert told[1].startswith("Validating training file: file-")
    assert told[2] == "Files validated (6 rows), moving job to queued state"
    assert told[3] == "Fine-tuning job started"
    assert told[-1] == "The job has successfully completed"
    assert told[-2].startswith("New fine-tuned model created: ft:")
    metrics = [event.data for event in events if event.type == "metrics"][::-1]
    assert {data["total_steps"] for data in metrics} == {4}
    steps = [data["step"] for data in metrics if "epoch" not in data]
    assert steps == [1, 2, 3, 4]
    assert metrics[0] == {"step": 1, "total_steps": 4, "train_loss": 1.0}
    epochs = [data for data in metrics if "epoch" in data]
    assert [(data["epoch"], data["step"], data["train_loss"]) for data in epochs] == [
        (1, 2, 1.0),
        (2, 4, 0.5),
    ]


def test_of_many_steps_some_are_told_and_all_are_in_the_results(service, client):
    rows = [(f"text {number}", f"label {number % 9}") for number in range(1000)]
    file_id = service.upload(client, labelled(rows))
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file_id, hyperparameters={"n_epochs": 2, "batch_size": 2}
    )
    ended = service.ended(client, job.id)
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    told = [event for event in events if event.message.startswith("Step ")]
    assert len(told) == 100
    [result] = ended.result_files
    stored = client.files.retrieve(result)
    assert (stored.purpose, stored.filename) == ("fine-tune-results", "step_metrics.csv")
    table = list(csv.DictReader(io.StringIO(client.files.content(result).text)))
    assert [int(row["step"]) for row in table] == list(range(1, 1001))
    assert float(table[3]["train_loss"]) == 0.25
    assert [row["step"] for row in table if row["epoch"]] == ["500", "1000"]


def test_the_async_client_does_the_same(service):
    url = f"http://127.0.0.1:{service.port}/v1"

    async def story() -> list[str]:
        async with openai.AsyncOpenAI(api_key=unused_key(), base_url=url) as client:
            file = await client.files.create(file=("a.jsonl", labelled()), purpose="fine-tune")
            jobs = await asyncio.gather(
                *(
                    client.fine_tuning.jobs.create(model=BASE, training_file=file.id, seed=seed)
                    for seed in range(3)
                )
            )
            for job in jobs:
                await asyncio.to_thread(service.journal.wait_for_end, job.id)
            ended = [await client.fine_tuning.jobs.retrieve(job.id) for job in jobs]
            assert [job.seed for job in ended] == [0, 1, 2]
            models = [job.fine_tuned_model for job in ended]
            listed = [model.id async for model in client.models.list()]
            assert set(models) <= set(listed)
            assert len(set(models)) == 3
            reply = await client.embeddings.create(model=models[0], input=["a", "b"])
            assert len(reply.data) == 2
            jobs_listed = [job.id async for job in client.fine_tuning.jobs.list(limit=1)]
            assert sorted(jobs_listed) == sorted(job.id for job in jobs)
            return [job.status for job in ended]

    assert asyncio.run(story()) == ["succeeded"] * 3


def test_checkpoints_are_listed_and_embed_while_the_job_runs(service, client):
    with holder() as holding:
        job_id = service.tune(client, holding.order, hyperparameters={"n_epochs": 3})
        with holding.held() as held:
            service.journal.wait_for_line(f"{job_id}: checkpoint at step 1")
            [first] = client.fine_tuning.jobs.checkpoints.list(job_id)
            assert first.id.startswith("ftckpt-")
            assert (first.object, first.fine_tuning_job_id) == (
                "fine_tuning.job.checkpoint",
                job_id,
            )
            assert (first.step_number, first.metrics.step, first.metrics.train_loss) == (1, 1, 1)
            model = first.fine_tuned_model_checkpoint
            assert model.endswith(":ckpt-step-1")
            reply = client.embeddings.create(model=model, input="apple")
            assert number_told(reply.data[0].embedding) == FIRST_NUMBER + 1
            assert client.models.retrieve(model).id == model
            running_job = client.fine_tuning.jobs.retrieve(job_id)
            assert (running_job.status, running_job.fine_tuned_model) == ("running", None)
            held.release()
        ended = service.ended(client, job_id)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job_id, limit=1))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [3, 2, 1]
    assert model == f"{ended.fine_tuned_model}:ckpt-step-1"


def test_the_newest_checkpoints_are_kept(service, client):
    job_id = service.tune(client, hyperparameters={"n_epochs": 6})
    ended = service.ended(client, job_id)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job_id))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 5, 4]
    told = [message for message in messages(client, job_id) if "Checkpoint created" in message]
    assert len(told) == 6, "the control: there were more"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=f"{ended.fine_tuned_model}:ckpt-step-3", input="x")
    folder = service.service.disk.models / job_id
    assert sorted(path.name for path in folder.iterdir()) == ["model", "step-4", "step-5", "step-6"]


def test_a_validation_file_is_measured_after_every_epoch(service, client):
    training, validation = service.upload(client, labelled()), service.upload(client, labelled())
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training, validation_file=validation
    )
    ended = service.ended(client, job.id)
    assert (ended.status, ended.validation_file) == ("succeeded", validation)
    [checkpoint, *_] = client.fine_tuning.jobs.checkpoints.list(job.id)
    measured = checkpoint.metrics.model_extra
    assert 0 < measured["valid_ndcg_at_10"] <= 1
    assert not any("accuracy" in name for name in measured), "no probe was fitted"


@pytest.mark.parametrize(
    ("rows", "asked", "loss"),
    [
        (labelled(), {}, "multiple_negatives_ranking"),
        (labelled(), {"loss": "batch_hard_triplet", "margin": 0.2}, "batch_hard_triplet"),
        (labelled([("a", "x"), ("b", "y")]), {}, "softmax"),
        (
            lines({"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}),
            {},
            "multiple_negatives_ranking",
        ),
        (
            lines(
                {"anchor": "a", "positive": "b", "negative": "x"},
                {"anchor": "c", "positive": "d", "negative": ["y", "z"]},
            ),
            {},
            "triplet",
        ),
        (
            lines(
                {"sentence1": "a", "sentence2": "b", "score": 1},
                {"sentence1": "c", "sentence2": "d", "score": 0},
            ),
            {},
            "cosent",
        ),
        (b"text,label\napple,fruit\ncar,vehicle\npear,fruit\n", {}, "multiple_negatives_ranking"),
    ],
)
@pytest.mark.parametrize("is_on_top", [False, True])
def test_the_loss_suits_the_file_unless_one_is_asked_for(
    service, client, rows, asked, loss, is_on_top
):
    name = "a.csv" if rows.startswith(b"text,") else "a.jsonl"
    file_id = service.upload(client, rows, name)
    place = {"extra_body": asked} if is_on_top else {"hyperparameters": asked}
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id, **place)
    ended = service.ended(client, job.id)
    assert ended.status == "succeeded", ended.error
    settled = ended.hyperparameters.model_extra
    assert settled == asked | {"loss": loss}


def test_the_rate_is_the_base_rate_times_the_multiplier(service, client):
    job_id = service.tune(client, hyperparameters={"learning_rate_multiplier": 2.5})
    service.ended(client, job_id)
    [checkpoint, *_] = client.fine_tuning.jobs.checkpoints.list(job_id)
    assert checkpoint.metrics.model_extra["learning_rate"] == pytest.approx(5e-5)


def test_jobs_are_found_by_their_metadata(service, client):
    for number in range(5):
        marked = {"trial": f"t{number}", "sweep": "a" if number < 3 else "b", "odd": "it's 100% \0"}
        service.tune(client, metadata=marked)
    plain = service.tune(client)
    empty = service.tune(client, metadata={"sweep": ""})

    def found(**metadata: str) -> list[str]:
        jobs = client.fine_tuning.jobs.list(metadata=metadata, limit=2)
        return [(job.metadata or {}).get("trial", "") for job in jobs]

    assert found(sweep="a") == ["t2", "t1", "t0"]
    assert found(sweep="b", trial="t4") == ["t4"]
    assert found(sweep="a", trial="t4") == []
    assert found(odd="it's 100% \0") == ["t4", "t3", "t2", "t1", "t0"]
    assert found(sweep="") == [""]
    assert len(list(client.fine_tuning.jobs.list(limit=2))) == 7, "the control: no filter"
    unmarked = client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert [job.id for job in unmarked] == [plain]
    assert client.fine_tuning.jobs.retrieve(empty).metadata == {"sweep": ""}
    for job in client.fine_tuning.jobs.list():
        service.journal.wait_for_end(job.id)


def test_jobs_wait_their_turn_in_order(tmp_path):
    limits = replace(ROOMY, workers=1)
    with holder() as holding, running(tmp_path, limits) as service, service.client() as client:
        ids = [service.tune(client, holding.order) for _ in range(3)]
        for number, job_id in enumerate(ids):
            with holding.held() as held:
                for later in ids[number + 1 :]:
                    service.journal.wait_for_line(f"{later}: queued")
                statuses = [client.fine_tuning.jobs.retrieve(other).status for other in ids]
                expected = ["succeeded"] * number + ["running"] + ["queued"] * (2 - number)
                assert statuses == expected
                held.release()
            service.journal.wait_for_line(f"{job_id}: succeeded")


def test_more_workers_train_more_at_a_time(tmp_path):
    limits = replace(ROOMY, workers=2)
    with holder() as holding, running(tmp_path, limits) as service, service.client() as client:
        ids = [service.tune(client, holding.order) for _ in range(2)]
        with holding.held() as first, holding.held() as second:
            assert first.pid != second.pid
            first.release()
            second.release()
            assert {service.ended(client, job_id).status for job_id in ids} == {"succeeded"}


def test_too_many_jobs_are_told_when_to_come_back(tmp_path):
    limits = replace(ROOMY, jobs_per_owner=2, jobs=3)
    keys = frozenset({"a", "b"})
    with (
        holder() as holding,
        running(tmp_path, limits, keys) as service,
        service.client("a") as first,
        service.client("b") as second,
    ):
        begun = service.tune(first, holding.order)
        with holding.held() as held:
            service.tune(first)
            for client, said in ((first, "2 jobs of this key"), (second, None)):
                if said is None:
                    service.tune(client)
                    said = "3 jobs in all"
                with pytest.raises(openai.RateLimitError, match=said) as caught:
                    service.tune(client)
                assert caught.value.code == "rate_limit_exceeded"
                assert int(caught.value.response.headers["retry-after"]) >= 1
            held.release()
        service.ended(first, begun)
        service.tune(first)
