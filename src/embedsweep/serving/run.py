"""Serving until a signal, and ending well."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType

import uvicorn

from embedsweep.core.errors import StoreError
from embedsweep.core.roles import TextRole, distinct_roles
from embedsweep.serving.address import Address, check_access, listener_at
from embedsweep.serving.app import create_app
from embedsweep.serving.fine_tuning.service import FineTuning
from embedsweep.serving.gate import Gate
from embedsweep.serving.limits import Limits
from embedsweep.serving.protocol import JsonErrorProtocol
from embedsweep.serving.shelf import LoadedModel, ModelShelf
from embedsweep.serving.watch import polling

LAST_WORDS_SECONDS = 2
"""How long a shutdown waits for replies to be written out, after the last one is made."""


def serve(
    shelf: ModelShelf | None,
    address: Address,
    api_keys: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    fine_tuning: FineTuning | None = None,
    default_role: TextRole | None = None,
) -> None:
    """Serve champions, or fine-tuning, or both, until SIGTERM or SIGINT.

    The shelf's champions are followed and the jobs of the fine-tuning service are carried out
    meanwhile. The service is closed at the end; what it was training is queued for its next start.

    A signal turns readiness and new requests to 503 and lets the requests in flight finish. Those
    that do not in `Limits.drain_seconds`, or before a second signal, get 503 too, and the process
    ends at once, with the exit code of a `StoreError`.

    Raises:
        UsageError: The address or a key is unfit, or others could reach it without a key.
        StoreError: The address cannot be had.
    """
    check_access(address, api_keys)
    limits = limits or Limits()
    with listener_at(address) as listener:
        port = listener.getsockname()[1]
        app = create_app(shelf, limits, api_keys, address.hosts(port), fine_tuning, default_role)

        def announce() -> None:
            where = f"http://{address.bracketed}:{port}/v1"
            for model in shelf.champions() if shelf else ():
                sys.stderr.write(f"serving {_described(model, default_role)} on {where}\n")
            if fine_tuning:
                bases = ", ".join(fine_tuning.offer.base_models)
                sys.stderr.write(f"serving fine-tuning of {bases} on {where}\n")
            sys.stderr.flush()

        config = uvicorn_config(app, limits)
        server = DrainingServer(config, app.state.gate, limits.drain_seconds, announce)
        with ExitStack() as stack:
            if shelf:
                stack.enter_context(polling(shelf.refresh, limits.poll_seconds))
            if fine_tuning:
                stack.enter_context(fine_tuning.at_work())
            server.run(sockets=[listener])
    if server.is_cut_off:
        sys.stderr.write("error: the server ended with requests unfinished\n")
        sys.stderr.flush()
        # A thread still embeds. It cannot be stopped, and an orderly exit would wait for it.
        os._exit(StoreError.exit_code)


def _described(model: LoadedModel, default_role: TextRole | None) -> str:
    details = f"dimension {model.embedder.dimension}"
    if roles := distinct_roles(model.embedder.effective_role):
        details += f", roles {', '.join(roles)}"
    if roles or default_role:
        details += f", default role {default_role or 'none'}"
    return f"{model} ({details})"


@contextmanager
def serving(
    fine_tuning: FineTuning,
    address: Address,
    api_keys: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    shelf: ModelShelf | None = None,
) -> Iterator[int]:
    """Serve from a thread of this process while the context lasts; gives the port.

    No signal is minded. The fine-tuning service is closed at the end, as in `serve`.

    Raises:
        UsageError: The address or a key is unfit, or others could reach it without a key.
        StoreError: The address cannot be had.
    """
    check_access(address, api_keys)
    limits = limits or Limits()
    with fine_tuning.at_work(), listener_at(address) as listener:
        port = listener.getsockname()[1]
        app = create_app(shelf, limits, api_keys, address.hosts(port), fine_tuning)
        server = DrainingServer(
            uvicorn_config(app, limits), app.state.gate, limits.drain_seconds, lambda: None
        )
        run = partial(server.run, sockets=[listener])
        thread = threading.Thread(target=run, name="serve", daemon=True)
        thread.start()
        try:
            # The listener takes connections already; they are answered as soon as the loop runs.
            yield port
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join()


def uvicorn_config(app: Callable[..., object], limits: Limits) -> uvicorn.Config:
    """HTTP/1.1 and no more, quiet but for what breaks."""
    return uvicorn.Config(
        app,
        http=JsonErrorProtocol,
        h11_max_incomplete_event_size=limits.header_bytes,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS_SECONDS,
    )


class DrainingServer(uvicorn.Server):
    """Listens on while the requests in flight finish, so that its readiness can be seen to go.

    Attributes:
        is_cut_off: Whether it ended with requests in flight.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        gate: Gate,
        drain_seconds: float,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.is_cut_off = False
        self._gate = gate
        self._drain_seconds = drain_seconds
        self._deadline = float("inf")
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. The signal is not kept to be raised again: a drained server exits 0."""
        patience = 0 if self.should_exit else self._drain_seconds
        self._deadline = time.monotonic() + patience
        self._gate.close()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if not await super().on_tick(counter):
            return False
        if self._gate.in_flight == 0:
            return True
        self.is_cut_off = time.monotonic() >= self._deadline
        if self.is_cut_off:
            self._gate.abandon()
        return self.is_cut_off
