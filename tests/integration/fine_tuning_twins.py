"""A fine-tuning service on loopback that trains in no time, clients, and ways to wait for it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from embedsweep.serving.address import Address
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.service import FineTuning
from embedsweep.serving.fine_tuning.tuned_shelf import Offer
from embedsweep.serving.limits import Limits
from embedsweep.serving.run import serving
from embedsweep.serving.shelf import ModelShelf
from tests.integration import quick_trainer
from tests.integration.quick_trainer import NumberedEmbedder

BASE = "base-model"
OTHER_BASE = "owner/other-base"
PATIENCE = 60
ENDED = ("succeeded", "failed", "cancelled")

KEYS = [f"key-{number}" for number in range(200)]
_unused = iter(KEYS)


def unused_key() -> str:
    """A key that no other test has used: its owner has no files and no jobs."""
    return next(_unused)


FRUIT = [
    ("apple", "fruit"),
    ("banana", "fruit"),
    ("cherry", "fruit"),
    ("car", "vehicle"),
    ("bus", "vehicle"),
    ("train", "vehicle"),
]
"""The tutorial's data."""


def labelled(rows: Sequence[tuple[str, str]] = FRUIT, *extra: str) -> bytes:
    """A training file; the extra texts tell the quick trainer what to do."""
    rows = [*rows, *((text, "command") for text in extra)]
    lines = [json.dumps({"text": text, "metadata": {"label": label}}) for text, label in rows]
    return "\n".join(lines).encode()


class Journal(logging.Handler):
    """What the service logs, to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def wait_for(self, is_there: Callable[[list[str]], bool]) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: is_there(self.lines), PATIENCE)
            assert found, self.lines

    def wait_for_line(self, line: str) -> None:
        self.wait_for(lambda lines: line in lines)

    def wait_for_end(self, job_id: str) -> None:
        self.wait_for(lambda lines: any(f"{job_id}: {status}" in lines for status in ENDED))


@contextlib.contextmanager
def journal() -> Iterator[Journal]:
    logger = logging.getLogger("embedsweep.serving.fine_tuning")
    handler, level = Journal(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


OFFER = Offer((BASE, OTHER_BASE), lambda name: NumberedEmbedder(1), quick_trainer.open_model)


@dataclass(frozen=True)
class Running:
    """A service that runs."""

    port: int
    service: FineTuning
    journal: Journal

    def client(self, key: str = "unused") -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(api_key=key, base_url=url, max_retries=0, timeout=PATIENCE)

    def upload(self, client: openai.OpenAI, content: bytes, name: str = "train.jsonl") -> str:
        return client.files.create(file=(name, io.BytesIO(content)), purpose="fine-tune").id

    def tune(self, client: openai.OpenAI, *texts: str, **fields: Any) -> str:
        """Begin a job on the tutorial's data and commands to the trainer; gives its id."""
        file_id = self.upload(client, labelled(FRUIT, *texts))
        fields = {"model": BASE, "training_file": file_id} | fields
        return client.fine_tuning.jobs.create(**fields).id

    def ended(self, client: openai.OpenAI, job_id: str) -> Any:
        """The job, once it has ended."""
        self.journal.wait_for_end(job_id)
        return client.fine_tuning.jobs.retrieve(job_id)


@contextlib.contextmanager
def running(
    folder: Path,
    limits: FineTuningLimits | None = None,
    api_keys: frozenset[str] = frozenset(),
    shelf: ModelShelf | None = None,
    http: Limits | None = None,
    **service: Any,
) -> Iterator[Running]:
    """The service over a folder, in this process, while the context lasts."""
    given = {"train": quick_trainer.train, "offer": OFFER, "limits": limits or ROOMY} | service
    tuning = FineTuning(folder, **given)
    with (
        journal() as told,
        serving(tuning, Address(port=0), api_keys, http, shelf) as port,
    ):
        yield Running(port, tuning, told)


ROOMY = FineTuningLimits(free_bytes=0)
"""A full disk is none of these tests' business, but where it is."""


class Held:
    """A training that waits, as ``hold PORT`` among its texts had it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int(connection.makefile().readline())

    def release(self) -> None:
        self._connection.sendall(b"!")

    def wait_for_death(self) -> None:
        """Until the process has let go of the connection."""
        assert self._connection.recv(1) == b""

    def still_lives(self) -> bool:
        """Let it go, and hear whether it is there to go on."""
        self.release()
        return self._connection.recv(1) == b"!"


class Holder:
    """Where trainings that hold report to."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self.order = f"hold {self.port}"

    @contextlib.contextmanager
    def held(self) -> Iterator[Held]:
        """The next training that holds, let go at the end of the context."""
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE)
        with connection:
            yield Held(connection)


@contextlib.contextmanager
def holder() -> Iterator[Holder]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield Holder(listener)
