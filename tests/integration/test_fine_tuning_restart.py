"""The service as a process: killed, stopped, started again; no job is lost, no process left."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.serving.fine_tuning.job_progress import ATTEMPTS
from embedsweep.serving.fine_tuning.records import NewJob
from embedsweep.serving.fine_tuning.service import DATABASE, FineTuning
from embedsweep.serving.fine_tuning.tuned_shelf import Offer
from tests.integration import quick_trainer
from tests.integration.fine_tuning_twins import (
    BASE,
    FRUIT,
    OFFER,
    PATIENCE,
    ROOMY,
    holder,
    labelled,
    running,
)
from tests.integration.quick_trainer import FIRST_NUMBER, number_told
from tests.integration.serving_twins import call

ROOT = Path(__file__).resolve().parents[2]
READY = r"serving fine-tuning of base-model, owner/other-base on (http://127\.0\.0\.1:(\d+)/v1)\n"


class Server:
    """A service in a process of its own, and what it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        ready = re.fullmatch(READY, self.wait_for("serving "))
        assert ready, self.lines
        self.url, self.port = ready[1], int(ready[2])

    def wait_for(self, start: str) -> str:
        """The first line that begins so, of those not read yet."""
        while line := self.process.stderr.readline():
            self.lines.append(line)
            if line.startswith(start):
                return line
        raise AssertionError(f"no {start!r} in {self.lines}")

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(api_key="unused", base_url=self.url, timeout=PATIENCE, max_retries=0)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.integration.fine_tuning_process", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stderr=pipe, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def tune(client: openai.OpenAI, *texts: str) -> str:
    file = client.files.create(
        file=("a.jsonl", labelled(FRUIT, *texts)), purpose="fine-tune", timeout=PATIENCE
    )
    return client.fine_tuning.jobs.create(model=BASE, training_file=file.id).id


def messages(client: openai.OpenAI, job_id: str) -> list[str]:
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id)][::-1]


def test_killed_in_the_middle_of_a_job_it_takes_everything_up_again(tmp_path):
    with holder() as holding:
        with server(tmp_path) as first, first.client() as client:
            done = tune(client)
            first.wait_for(f"{done}: succeeded")
            model = client.fine_tuning.jobs.retrieve(done).fine_tuned_model
            begun = tune(client, holding.order)
            with holding.held() as held:
                first.wait_for(f"{begun}: checkpoint at step 1")
                waiting = tune(client)
                first.wait_for(f"{waiting}: queued")
                process = os.pidfd_open(held.pid)
                first.process.kill()
                first.process.wait()
                # No orphan: the training ends with its server.
                held.wait_for_death()
                assert select.select([process], [], [], PATIENCE)[0]
                os.close(process)
        assert (tmp_path / "models" / begun).exists(), "the control: there is something to clear"
        (tmp_path / "incoming" / "half").write_text("half a file")
        (tmp_path / "files" / "file-nobodys").write_text("a file without a row")

        with server(tmp_path) as second, second.client() as client:
            assert f"{begun}: queued\n" in second.lines
            with holding.held() as held:
                # Its files and its id are those it had, and it trains from the start.
                second.wait_for(f"{begun}: checkpoint at step 1")
                assert client.fine_tuning.jobs.retrieve(begun).status == "running"
                assert client.fine_tuning.jobs.retrieve(waiting).status == "queued"
                assert len(list(client.fine_tuning.jobs.checkpoints.list(begun))) == 1
                held.release()
            second.wait_for(f"{begun}: succeeded")
            second.wait_for(f"{waiting}: succeeded")
            told = messages(client, begun)
            assert told.count("Fine-tuning job started") == 2
            assert any("will train from the start" in message for message in told)
            statuses = {job.id: job.status for job in client.fine_tuning.jobs.list()}
            assert statuses == dict.fromkeys((done, begun, waiting), "succeeded")
            reply = client.embeddings.create(model=model, input="apple")
            assert number_told(reply.data[0].embedding) == FIRST_NUMBER + 3
            assert [path.name for path in (tmp_path / "incoming").iterdir()] == []
            assert not (tmp_path / "files" / "file-nobodys").exists()


def test_a_process_that_does_not_watch_its_parent_outlives_it():
    """The control: what would become of a training whose server is killed."""
    with holder() as holding:
        code = (
            "from multiprocessing import get_context\n"
            "from tests.integration.quick_trainer import hold\n"
            f"get_context('spawn').Process(target=hold, args=({holding.port},)).start()"
        )
        parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        with holding.held() as held:
            parent.kill()
            parent.wait()
            assert held.still_lives()


def test_told_to_end_it_ends_the_training_and_queues_it_for_the_next_start(tmp_path):
    with holder() as holding:
        with server(tmp_path) as first, first.client() as client:
            begun = tune(client, holding.order)
            with holding.held() as held:
                waiting = tune(client)
                first.wait_for(f"{waiting}: queued")
                first.process.terminate()
                held.wait_for_death()
                first.wait_for(f"{begun}: queued")
                first.wait_for("ended")
                assert first.process.wait(PATIENCE) == 0
        assert list((tmp_path / "work").iterdir()) == []
        assert not (tmp_path / "models" / begun).exists()
        with server(tmp_path) as second, second.client() as client:
            with holding.held() as held:
                held.release()
            second.wait_for(f"{waiting}: succeeded")
            assert client.fine_tuning.jobs.retrieve(begun).status == "succeeded"
            assert any("shutting down" in message for message in messages(client, begun))


def test_ctrl_c_on_a_terminal_reaches_the_training_too_and_is_left_to_the_server(tmp_path):
    with holder() as holding, server(tmp_path) as service, service.client() as client:
        job_id = tune(client, holding.order)
        with holding.held() as held:
            os.kill(held.pid, signal.SIGINT)
            assert call(service.port, "GET", "/healthz").status == 200
            held.release()
        service.wait_for(f"{job_id}: succeeded")


def open_service(folder: Path, **changes) -> FineTuning:
    given = {"train": quick_trainer.train, "offer": OFFER, "limits": ROOMY} | changes
    return FineTuning(folder, **given)


def test_a_folder_belongs_to_one_server_at_a_time(tmp_path):
    first = open_service(tmp_path)
    with pytest.raises(StoreError, match="another server has it open"):
        open_service(tmp_path)
    first.close()
    open_service(tmp_path).close()


def test_a_job_that_brings_the_server_down_again_and_again_is_given_up(tmp_path):
    service = open_service(tmp_path)
    with running(tmp_path / "other") as elsewhere, elsewhere.client() as client:
        file_id = elsewhere.upload(client, labelled())
        path = elsewhere.service.files.path_by_id(file_id)
        rows = sqlite3.connect(tmp_path / "other" / DATABASE)
        [file] = rows.execute("SELECT * FROM files").fetchall()
        rows.close()
        (tmp_path / "files" / path.name).write_bytes(path.read_bytes())
    rows = sqlite3.connect(tmp_path / DATABASE)
    rows.execute(f"INSERT INTO files VALUES ({','.join('?' * len(file))})", file)
    rows.commit()
    new = NewJob(BASE, file_id, None, None, 1, {}, {"n_epochs": 1})
    job = service.jobs.create("", new)
    rows.execute("UPDATE jobs SET status = 'queued'")
    rows.commit()
    statuses = []
    for _ in range(ATTEMPTS):
        # As if it had died while it trained.
        rows.execute("UPDATE jobs SET status = 'running', attempts = attempts + 1")
        rows.commit()
        service.close()
        service = open_service(tmp_path)
        statuses.append(service.jobs.get(job.id, "").status.value)
    rows.close()
    assert statuses == ["queued"] * (ATTEMPTS - 1) + ["failed"]
    assert service.jobs.get(job.id, "").error.code == "server_error"
    service.close()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    open_service(tmp_path).close()
    rows = sqlite3.connect(tmp_path / DATABASE)
    rows.execute("PRAGMA user_version = 99")
    rows.close()
    with pytest.raises(StoreError, match="its version is 99, this program knows up to"):
        open_service(tmp_path)
    # The folder was let go of all the same.
    (tmp_path / DATABASE).unlink()
    open_service(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_told_of(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot be written"):
        open_service(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATABASE).write_text("no database, but long enough to be none")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_service(tmp_path / "other")


def test_what_cannot_work_is_refused_at_once(tmp_path):
    with pytest.raises(UsageError, match="no base model"):
        open_service(tmp_path, offer=Offer((), OFFER.open_base, OFFER.open_model))
    with pytest.raises(UsageError, match="cannot go to another process"):
        open_service(tmp_path, train=lambda *given: None)
