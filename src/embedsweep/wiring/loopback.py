"""The provider ``loopback``: the project's own fine-tuning service, started where it is needed."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.core.errors import StoreError, UserError
from embedsweep.wiring.training_process import train

if TYPE_CHECKING:
    import openai

    from embedsweep.serving.fine_tuning.service import FineTuning

PATIENCE = 30.0
"""Seconds to wait for a process that has the service to say where it listens."""

_PORT = "port.json"
_KEY = "key"
_HOST = "127.0.0.1"
_PAUSE = 0.1


class Loopback:
    """The service over a folder, run by this process or by another one of this machine.

    One process has the folder at a time, and all others are its clients; when it ends, the next
    that asks takes over. Nothing is started before the first request.

    Args:
        folder: Files, jobs and models.
        measuring: Whether a service that this process runs embeds to measure; see `LocalBackend`.
    """

    def __init__(self, folder: Path, *, measuring: bool = False) -> None:
        self._folder = folder
        self._measuring = measuring
        self._lock = threading.Lock()
        self._running = ExitStack()
        self._own_port: int | None = None

    def close(self) -> None:
        """End the service if this process runs it; a job in training is queued for next time."""
        with self._lock:
            self._running.close()
            self._own_port = None

    def client(self) -> openai.OpenAI:
        from embedsweep.backends.hosted.moving import open_moving_client

        return open_moving_client(self.port, _key(self._folder))

    def port(self) -> int:
        """Where the service listens; starts it unless some process runs it already.

        Raises:
            StoreError: The folder cannot be used, or its owner does not answer.
        """
        from embedsweep.serving.fine_tuning.disk import FolderInUse

        with self._lock:
            if self._own_port is not None:
                return self._own_port
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    return self._start()
                except FolderInUse:
                    # Its process has said or is about to say where it is.
                    port = _answering(self._folder)
                    if port is None and time.monotonic() >= deadline:
                        raise
                if port is not None:
                    return port
                time.sleep(_PAUSE)

    def _start(self) -> int:
        from embedsweep.backends.local.base_models import EMBEDDED
        from embedsweep.serving.address import Address
        from embedsweep.serving.run import serving

        keys = frozenset({_key(self._folder)})
        service = fine_tuning(self._folder, [EMBEDDED], _is_found, measuring=self._measuring)
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            port = stack.enter_context(serving(service, Address(_HOST, 0), keys))
            stack.callback((self._folder / _PORT).unlink, missing_ok=True)
            _write(self._folder / _PORT, json.dumps(port))
            self._running = stack.pop_all()
        self._own_port = port
        return port


@contextmanager
def _quiet() -> Iterator[None]:
    """Only warnings of the service while it lasts: the sweep tells of its trials itself."""
    logger = logging.getLogger("embedsweep.serving")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def fine_tuning(
    folder: Path,
    base_models: Sequence[str],
    also: Callable[[str], bool] = lambda name: False,
    *,
    measuring: bool = False,
) -> FineTuning:
    """The service over a folder, which trains with the local backend.

    Args:
        folder: Files, jobs and models.
        base_models: What may be tuned, and is listed.
        also: Whether a base model that is not listed may be tuned all the same.
        measuring: Whether models are opened to be measured; see `LocalBackend`.
    """
    from embedsweep.backends.local.backend import LocalBackend
    from embedsweep.backends.local.base_models import base_folder
    from embedsweep.serving.fine_tuning.service import FineTuning
    from embedsweep.serving.fine_tuning.tuned_shelf import Offer

    backend = LocalBackend(measuring=measuring)
    offer = Offer(base_models, lambda name: backend.open(base_folder(name)), backend.open, also)
    with ExitStack() as stack:
        service = FineTuning(folder, train, offer)
        stack.callback(service.close)
        # The folder is this process's now: whatever listens where a killed one did is a stranger.
        with _told(folder / _PORT):
            (folder / _PORT).unlink(missing_ok=True)
        stack.pop_all()
    return service


def _is_found(name: str) -> bool:
    """Whether there is such a base model; whoever has the key may tune any of this machine's."""
    from embedsweep.backends.local.base_models import base_folder

    try:
        base_folder(name)
    except UserError:
        return False
    return True


def _answering(folder: Path) -> int | None:
    """The port that the service's process has written down, if something listens there."""
    try:
        port = json.loads((folder / _PORT).read_text(encoding="utf-8"))
        socket.create_connection((_HOST, port), timeout=1).close()
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return int(port)


def _key(folder: Path) -> str:
    """The service's key: made once, so that files and jobs stay their owner's."""
    path = folder / _KEY
    with _told(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write(path, secrets.token_urlsafe(32), anew=False)
        return path.read_text(encoding="utf-8")


def _write(path: Path, text: str, *, anew: bool = True) -> None:
    """Write a file that only this user reads, whole or not at all; the first of several wins."""
    draft = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    with _told(path):
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
        if anew:
            draft.replace(path)
            return
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raises `StoreError` where the system refuses to read or write a file of the service's."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            "a file of the loopback service",
            str(path),
            error.strerror or str(error),
            "make the folder writable or choose another one",
        ) from error
