"""What a job's events and checkpoints tell of its training, each thing once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedsweep.backends.hosted.provider import PAGE, Provider
from embedsweep.core.ports import TrainingListener

_NO_NAME = re.compile(r"[^0-9A-Za-z_\-. /]")
_NOT_METRICS = frozenset({"step", "total_steps", "epoch"})


@dataclass(frozen=True)
class Checkpoint:
    """A model of a job that has not ended.

    Attributes:
        epoch: The epoch it is the end of, from 1.
        model: The provider's name of it.
        losses: Metrics at its step.
    """

    epoch: int
    model: str
    losses: dict[str, float]


class Progress:
    """Reads one job's events and checkpoints, as often as it is asked to.

    Args:
        provider: Who runs the job.
        job_id: The job.
        epochs: Of its training.
    """

    def __init__(self, provider: Provider, job_id: str, epochs: int) -> None:
        self._provider = provider
        self._job_id = job_id
        self._epochs = epochs
        self._seen: set[str] = set()
        self._total_steps = 0
        self._last_epoch = 0
        self.losses: dict[str, float] = {}

    def tell_events(self, listener: TrainingListener) -> None:
        """Pass on metrics and steps not told yet; raises `ProviderFault`."""
        told = [(_step(data), data) for data in self._new_metrics()]
        for step, data in sorted(told, key=lambda row: row[0]):
            total = data.get("total_steps")
            if type(total) is int and total > 0:
                self._total_steps = total
                listener.on_step(min(step, total), total)
            metrics = named(data)
            if metrics:
                self.losses |= {name: value for name, value in metrics.items() if "loss" in name}
                listener.on_metrics(step, metrics)

    def new_checkpoints(self) -> list[Checkpoint]:
        """Checkpoints not seen yet of all epochs but the last; raises `ProviderFault`."""
        pages = self._provider.pages(
            lambda client, after: client.fine_tuning.jobs.checkpoints.with_raw_response.list(
                self._job_id, limit=PAGE, after=after
            )
        )
        found = [item for page in pages for item in page]
        steps = sorted({step for item in found if (step := _step_number(item)) > 0})
        checkpoints = []
        for item in sorted(found, key=_step_number):
            model, step = item.get("fine_tuned_model_checkpoint"), _step_number(item)
            if not isinstance(model, str) or not model or step <= 0 or self._is_seen(model):
                continue
            epoch = self._epoch(step, steps)
            if self._last_epoch < epoch < self._epochs:
                self._last_epoch = epoch
                checkpoints.append(Checkpoint(epoch, model, named(item.get("metrics"))))
        return checkpoints

    def _new_metrics(self) -> Iterator[dict[str, Any]]:
        pages = self._provider.pages(
            lambda client, after: client.fine_tuning.jobs.with_raw_response.list_events(
                self._job_id, limit=PAGE, after=after
            )
        )
        for page in pages:
            new = [event for event in page if not self._is_seen(_identity(event))]
            yield from (event["data"] for event in new if isinstance(event.get("data"), dict))
            times = [event.get("created_at") or 0 for event in page]
            if not new and times and times[0] > times[-1]:
                return

    def _is_seen(self, identity: str) -> bool:
        if identity in self._seen:
            return True
        self._seen.add(identity)
        return False

    def _epoch(self, step: int, steps: list[int]) -> int:
        """By the share of all steps where events tell it, for a server may drop old checkpoints."""
        if self._total_steps:
            return max(1, round(step * self._epochs / self._total_steps))
        return steps.index(step) + 1


def named(data: object) -> dict[str, float]:
    """The metrics under our names: ``train_loss`` is ``train/loss``, others are the provider's."""
    if not isinstance(data, Mapping):
        return {}
    metrics = {}
    for name, value in data.items():
        is_number = type(value) in (int, float) and math.isfinite(value)
        if is_number and name not in _NOT_METRICS:
            group, _, rest = name.partition("_")
            ours = f"train/{rest}" if group == "train" and rest else f"provider/{name}"
            metrics[_NO_NAME.sub("_", ours)] = float(value)
    return metrics


def _identity(event: Mapping[str, Any]) -> str:
    return str(event.get("id") or (event.get("created_at"), event.get("message")))


def _step(data: Mapping[str, Any]) -> int:
    step = data.get("step")
    return step if type(step) is int else 0


def _step_number(item: Mapping[str, Any]) -> int:
    step = item.get("step_number")
    return step if type(step) is int else 0
