"""The ways a job ends without a model: cancelled, unfit, broken, or its process dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from tests.integration.fine_tuning_twins import (
    BASE,
    KEYS,
    PATIENCE,
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


def events_of(client: openai.OpenAI, job_id: str) -> list:
    return list(client.fine_tuning.jobs.list_events(job_id))


def assert_nothing_is_left(service: Running, client: openai.OpenAI, job_id: str) -> None:
    assert list(client.fine_tuning.jobs.checkpoints.list(job_id)) == []
    assert not (service.service.disk.models / job_id).exists()
    assert not (service.service.disk.work / job_id).exists()


def test_a_job_cancelled_while_it_trains_ends_at_once_and_leaves_nothing(service, client):
    with holder() as holding:
        job_id = service.tune(client, holding.order)
        # Once the job after it has ended, the one before is cleared away.
        after = service.tune(client)
        with holding.held() as held:
            service.journal.wait_for_line(f"{job_id}: checkpoint at step 1")
            [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job_id)
            model = checkpoint.fine_tuned_model_checkpoint
            assert client.embeddings.create(model=model, input="x").data, "the control"
            assert (service.service.disk.models / job_id).exists(), "the control"
            cancelled = client.fine_tuning.jobs.cancel(job_id)
            assert (cancelled.status, cancelled.error) == ("cancelled", None)
            assert cancelled.finished_at is not None
            held.wait_for_death()
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model=model, input="x")
    assert service.ended(client, after).status == "succeeded"
    assert_nothing_is_left(service, client, job_id)
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert (job.status, job.fine_tuned_model, job.result_files) == ("cancelled", None, [])
    assert events_of(client, job_id)[0].message == "The job was cancelled"


def test_a_job_cancelled_in_the_queue_never_begins(service, client):
    with holder() as holding:
        first = service.tune(client, holding.order)
        with holding.held() as held:
            waiting = service.tune(client)
            service.journal.wait_for_line(f"{waiting}: queued")
            assert client.fine_tuning.jobs.cancel(waiting).status == "cancelled"
            held.release()
        last = service.tune(client)
        assert service.ended(client, first).status == "succeeded"
        assert service.ended(client, last).status == "succeeded"
    assert f"{waiting}: running" not in service.journal.lines


def test_a_job_that_has_ended_cannot_be_cancelled(service, client):
    job_id = service.tune(client)
    service.ended(client, job_id)
    with pytest.raises(openai.BadRequestError, match=f"{job_id} is succeeded") as caught:
        client.fine_tuning.jobs.cancel(job_id)
    assert caught.value.code == "job_has_ended"
    cancelled = service.tune(client)
    client.fine_tuning.jobs.cancel(cancelled)
    with pytest.raises(openai.BadRequestError, match="is cancelled"):
        client.fine_tuning.jobs.cancel(cancelled)


@pytest.mark.parametrize("ask", ["pause", "resume"])
def test_pausing_is_not_supported_and_said_so(service, client, ask):
    job_id = service.tune(client)
    with pytest.raises(openai.BadRequestError, match="not supported") as caught:
        getattr(client.fine_tuning.jobs, ask)(job_id)
    assert caught.value.code == "not_supported"
    service.ended(client, job_id)


def row(**values) -> str:
    return json.dumps(values)


GOOD = row(text="apple", metadata={"label": "fruit"})
OTHER = row(text="car", metadata={"label": "vehicle"})
PAIR = row(anchor="a", positive="b")
BAD_FILES = {
    "no JSON": (f"{GOOD}\n{{oops\n{OTHER}", "line 2: JSON: "),
    "cut short": (f"{GOOD}\n{OTHER[:20]}", "line 2: JSON: it breaks off"),
    "two objects": (f"{GOOD}{OTHER}\n{OTHER}", "line 1: JSON: two values on the line"),
    "a list": (f"{GOOD}\n[1]", "line 2: row: found a list of 1, expected an object"),
    "a number for text": (f"{GOOD}\n{row(text=5, metadata={'label': 'x'})}", "line 2: key 'text'"),
    "no label": (f"{GOOD}\n{OTHER}\n{row(text='x')}", "line 3: missing key 'metadata.label'"),
    "blank text": (f"{GOOD}\n{row(text=' ', metadata={'label': 'x'})}", "line 2: key 'text'"),
    "chat": (row(messages=[]), "line 1: columns: the keys are "),
    "one label": (f"{GOOD}\n{row(text='pear', metadata={'label': 'fruit'})}", '"fruit"'),
    "one pair": (PAIR, "there is one row"),
    "the same pair twice": (f"{PAIR}\n{PAIR}", "there is one row"),
    "blank lines": ("\n \n", "no records"),
    "binary": (b"\x00\x01\xff\xfe".decode("latin-1"), "line 1: "),
    "nested too deep": ("[" * 100_000, "nested too deep"),
    "gzip": ("\x1f\x8b\x08\x00", "compressed with gzip"),
    "many faults": ("\n".join(["x"] * 30), "30 faults in all"),
}


@pytest.mark.parametrize(("content", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_fails_the_job_before_any_computing(service, client, content, said):
    file_id = service.upload(client, content.encode("latin-1"))
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id)
    ended = service.ended(client, job.id)
    assert (ended.status, ended.error.code) == ("failed", "invalid_training_file")
    assert ended.error.param == "training_file"
    assert said in ended.error.message
    assert str(service.service.disk.home) not in ended.error.message
    assert len(ended.error.message) < 2000
    assert f"{job.id}: running" not in service.journal.lines
    [event, *_] = events_of(client, job.id)
    assert event.level == "error"
    assert ended.error.message in event.message


def test_a_bad_validation_file_is_told_apart(service, client):
    training, validation = service.upload(client, labelled()), service.upload(client, b"{}\n{}")
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training, validation_file=validation
    )
    ended = service.ended(client, job.id)
    assert (ended.error.code, ended.error.param) == ("invalid_validation_file", "validation_file")
    lonely = service.upload(client, labelled([("a", "x"), ("b", "y")]))
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training, validation_file=lonely)
    assert "none can find another" in service.ended(client, job.id).error.message


@pytest.mark.parametrize(
    ("rows", "hyperparameters", "said"),
    [
        (f"{PAIR}\n{row(anchor='c', positive='d')}", {"loss": "triplet"}, "triplet needs triplets"),
        (f"{PAIR}\n{row(anchor='c', positive='d')}", {"loss": "softmax"}, "needs labelled texts"),
        (f"{PAIR}\n{row(anchor='c', positive='d')}", {"margin": 0.5}, "has no margin"),
        (f"{GOOD}\n{OTHER}", {"loss": "multiple_negatives_ranking"}, "what it can feed: softmax"),
    ],
)
def test_a_loss_that_the_file_cannot_feed_fails_the_job(
    service, client, rows, hyperparameters, said
):
    file_id = service.upload(client, rows.encode())
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file_id, hyperparameters=hyperparameters
    )
    ended = service.ended(client, job.id)
    assert (ended.error.code, ended.error.param) == ("invalid_hyperparameters", "hyperparameters")
    assert said in ended.error.message
    assert f"{job.id}: running" not in service.journal.lines


ENDS = {
    "out of memory": ("die 9", "worker_died", "SIGKILL, perhaps for want of memory"),
    "segmentation fault": ("die 11", "worker_died", "SIGSEGV"),
    "exit": ("leave 3", "worker_died", "ended by an error"),
    "exit as if all were well": ("leave 0", "worker_died", "ended by an error"),
    "a bug": ("break", "worker_died", "ended by an error"),
    "no right": ("deny", "worker_died", "ended by an error"),
    "a collapse": ("collapse", "collapsed", "all vectors are alike"),
    "a wrong setting": ("misconfigured", "server_error", "could not be set up"),
    "no memory": ("exhaust", "out_of_memory", "more memory than there is"),
    "no disk": ("fill", "insufficient_storage", "disk is full"),
}


@pytest.mark.parametrize(("order", "code", "said"), ENDS.values(), ids=ENDS)
def test_a_training_that_breaks_fails_its_job_and_nothing_else(service, client, order, code, said):
    job_id = service.tune(client, order)
    after = service.tune(client)
    ended = service.ended(client, job_id)
    assert (ended.status, ended.error.code, ended.error.param) == ("failed", code, None)
    assert said in ended.error.message
    told = json.dumps([event.to_dict() for event in events_of(client, job_id)])
    assert "/secret" not in ended.error.message + told
    assert ended.fine_tuned_model is None
    # The checkpoint before the end was whole; it can still be asked for.
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job_id)
    model = checkpoint.fine_tuned_model_checkpoint
    reply = client.embeddings.create(model=model, input="x")
    assert number_told(reply.data[0].embedding) == FIRST_NUMBER + 1
    assert service.ended(client, after).status == "succeeded"
    assert not (service.service.disk.work / job_id).exists()
    folder = service.service.disk.models / job_id
    assert [path.name for path in folder.iterdir()] == ["step-1"]


def test_a_training_that_takes_too_long_is_given_up(tmp_path):
    limits = replace(ROOMY, training_seconds=0.0)
    before = set(multiprocessing.active_children())
    with holder() as holding, running(tmp_path, limits) as service, service.client() as client:
        ended = service.ended(client, service.tune(client, holding.order))
        assert (ended.status, ended.error.code) == ("failed", "timeout")
        left = set(multiprocessing.active_children()) - before
        assert [process.name for process in left] == ["validate"]


def test_a_full_disk_begins_no_training(tmp_path, monkeypatch):
    with holder() as holding, running(tmp_path) as service, service.client() as client:
        first = service.tune(client, holding.order)
        with holding.held() as held:
            second = service.tune(client)
            service.journal.wait_for_line(f"{second}: queued")
            monkeypatch.setattr(service.service.disk, "_free_bytes", 2**60)
            held.release()
            ended = service.ended(client, second)
        assert (ended.status, ended.error.code) == ("failed", "insufficient_storage")
        assert service.ended(client, first).status == "succeeded", "the control: it had begun"


def test_a_process_trains_one_job_after_another_and_its_death_between_them_costs_none(tmp_path):
    with holder() as holding, running(tmp_path) as service, service.client() as client:

        def trained() -> int:
            """The number of the process that trained a job."""
            job_id = service.tune(client, holding.order)
            with holding.held() as held:
                held.release()
                assert service.ended(client, job_id).status == "succeeded"
                return held.pid

        first = trained()
        assert trained() == first
        os.kill(first, signal.SIGKILL)
        assert trained() != first


def test_a_process_without_work_ends(tmp_path):
    limits = replace(ROOMY, idle_seconds=0.05)
    with holder() as holding, running(tmp_path, limits) as service, service.client() as client:
        for _ in range(2):
            job_id = service.tune(client, holding.order)
            with holding.held() as held:
                process = os.pidfd_open(held.pid)
                held.release()
                assert service.ended(client, job_id).status == "succeeded"
                assert select.select([process], [], [], PATIENCE)[0], "it lives on"
                os.close(process)
