"""Metrics on their way to MLflow: what is told within a moment is written at once, in one batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Metric

from embedsweep.stores.mlflow_run import tag_entities
from embedsweep.stores.store_errors import STORE_FAULTS

DELAY = 1.5
"""Seconds that a metric waits at most, for others to be written with it."""


@dataclass
class Pending:
    """What waits of one run.

    Attributes:
        metrics: In the order in which they were told.
        tags: The last value of each.
        written: When the run was last written to, by a monotonic clock.
        timer: Writes what waits when its time is up; None while nothing waits.
    """

    written: float
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    timer: threading.Timer | None = None


class PendingMetrics:
    """Writes the metrics of running trials, seldom and never late.

    A transaction costs as much as dozens of metrics in it, and a trial of a second tells of ten
    epochs. A metric keeps the time at which it was told. What a store refuses in the background
    goes on waiting: the next call writes it, or fails as that would have.

    Args:
        client: The store.
        delay: Seconds that a metric waits at most. A run that was not written to for as long is
            written to at once.
    """

    def __init__(self, client: MlflowClient, delay: float = DELAY) -> None:
        self._client = client
        self._delay = delay
        self._runs: dict[str, Pending] = {}
        self._lock = threading.RLock()

    def begin(self, run_id: str) -> None:
        """The run was just written to."""
        with self._lock:
            self._runs[run_id] = Pending(time.monotonic())

    def add(self, run_id: str, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        """Write these, or keep them until their time is up."""
        with self._lock:
            # A run that another process began was written to, for all that is known, long ago.
            waiting = self._runs.setdefault(run_id, Pending(time.monotonic() - self._delay))
            waiting.metrics += metrics
            waiting.tags |= tags
            age = time.monotonic() - waiting.written
            if age >= self._delay:
                self._write(run_id, waiting)
            elif waiting.timer is None:
                waiting.timer = threading.Timer(self._delay - age, self._on_time, [run_id])
                waiting.timer.daemon = True
                waiting.timer.start()

    def values(self, run_id: str) -> dict[str, float]:
        """The last value of each metric that waits."""
        with self._lock:
            known = self._runs.get(run_id)
            return {metric.key: metric.value for metric in known.metrics} if known else {}

    def take(self, run_id: str) -> tuple[list[Metric], dict[str, str]]:
        """What waits, for the caller to write, who ends the run with it."""
        with self._lock:
            waiting = self._runs.pop(run_id, None)
            if waiting is None:
                return [], {}
            self._stop(waiting)
            return waiting.metrics, waiting.tags

    def _on_time(self, run_id: str) -> None:
        with self._lock:
            waiting = self._runs.get(run_id)
            if waiting is None or waiting.timer is not threading.current_thread():
                return
            try:
                self._write(run_id, waiting)
            except STORE_FAULTS:
                waiting.timer = None

    def _write(self, run_id: str, waiting: Pending) -> None:
        self._client.log_batch(run_id, metrics=waiting.metrics, tags=tag_entities(waiting.tags))
        self._stop(waiting)
        self._runs[run_id] = Pending(time.monotonic())

    def _stop(self, waiting: Pending) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
            waiting.timer = None
