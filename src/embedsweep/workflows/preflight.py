"""Every reason not to start, found before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from embedsweep.core.coverage import Coverage
from embedsweep.core.dataset import Dataset, unfit
from embedsweep.core.errors import DataError, Fault, UsageError
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import LOOPBACK, AdapterRecipe, Base, Loss, TunedRecipe
from embedsweep.core.space import Arm
from embedsweep.evaluation import measures_of

MODEL_BYTES = 100_000_000
HEAD_BYTES = 10_000_000
REFERENCE_BYTES = 1_000_000
"""Room reckoned for what one trial keeps: a model of the size of the embedded default, a linear
head on 1,536 dimensions, or a provider's model, which is its name."""


@dataclass(frozen=True)
class _Lowest:
    """Answers the search space with the least of every domain, one loss and one form."""

    loss: Loss | None
    form: str | None

    def choice(self, name: str, options: Sequence[str | int | float]) -> str | int | float:
        if name.endswith(".loss") and self.loss is not None:
            return self.loss.value
        if name.endswith(".form") and self.form is not None:
            return self.form
        return min(options) if all(isinstance(option, int) for option in options) else options[0]

    def uniform(self, name: str, low: float, high: float, *, log: bool) -> float:
        del name, high, log
        return low

    def integer(self, name: str, low: int, high: int, *, log: bool) -> int:
        del name, high, log
        return low


def preflight(
    experiment: Experiment,
    dataset: Dataset,
    find_base: Callable[[Base], object],
    refusal: Callable[[TunedRecipe], str | None],
    home: Path,
) -> None:
    """Refuse what cannot work, as far as it shows without opening a model.

    Args:
        experiment: What is to be run.
        dataset: Its data.
        find_base: Finds a base model, or raises a `UserError`.
        refusal: Why a recipe's backend can make nothing of it, whatever the data; or None.
        home: A folder on the disk that will hold the models.

    Raises:
        UsageError: With every fault: losses the data cannot feed, measures it cannot give, disk
            that does not suffice. A base model that cannot be had raises on its own.
    """
    faults = [
        *_unfit_arms(experiment, dataset, refusal),
        *_unknown_measures(experiment, dataset),
        *_too_little_disk(experiment, home),
    ]
    if faults:
        raise UsageError.of(faults)
    for base in experiment.space.bases():
        find_base(base)


def examine_bases(
    experiment: Experiment,
    dataset: Dataset,
    examine: Callable[[Base, Sequence[str]], Coverage],
) -> dict[Base, Coverage]:
    """Try each base model of this machine on the longest texts, before any trial needs it.

    Args:
        experiment: What is to be run.
        dataset: Its data.
        examine: Opens a base model, embeds the longest texts and returns what it reads of them, or
            raises a `DataError`.

    Returns:
        What each base model reads of the train and validation texts; models of a provider are not
        called and are left out.

    Raises:
        DataError: With the fault of every base model that cannot embed the texts.
    """
    # The loopback service runs on this machine and opens the same folders.
    local = {
        replace(base, provider=None): None
        for base in experiment.space.bases()
        if base.provider in (None, LOOPBACK)
    }
    texts = [*dataset.train.every_text(), *dataset.valid.every_text()] if local else []
    coverage: dict[Base, Coverage] = {}
    faults: list[Fault] = []
    for base in local:
        try:
            coverage[base] = examine(base, texts)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError.of(faults)
    return coverage


def _draws(arm: Arm) -> list[_Lowest]:
    """One for each pair of a loss and a form of training file."""
    domain = arm.knobs.get("form")
    forms = [str(value) for value in domain.values or ()] if domain else [None]
    return [_Lowest(loss, form) for loss, form in product(arm.losses(), forms)]


def _unfit_arms(
    experiment: Experiment, dataset: Dataset, refusal: Callable[[TunedRecipe], str | None]
) -> list[Fault]:
    faults: dict[Fault, None] = {}
    for arm in experiment.space.arms:
        place = f"{experiment.path} (arm {arm.name})"
        refused = refusal(arm.draw(_draws(arm)[0], experiment.space.seed))
        if refused is not None:
            fix = "write such an arm instead"
            faults[Fault(f"backend {arm.backend}", place, refused, fix)] = None
            continue
        for drawn in _draws(arm):
            reason = unfit(arm.draw(drawn, experiment.space.seed), dataset.train)
            if reason is not None:
                what = f"loss {drawn.loss.value!r}" if drawn.loss else "training file"
                fix = "take it out of the arm, or give data that feeds it"
                faults[Fault(what, place, reason, fix)] = None
    return list(faults)


def _unknown_measures(experiment: Experiment, dataset: Dataset) -> list[Fault]:
    given, policy = measures_of(dataset.valid, experiment.objective), experiment.policy
    listed = ", ".join(map(str, given))
    return [
        Fault(
            f"measure {str(measure)!r}",
            str(experiment.path),
            f"this data does not give it; what is measured on it: {listed}",
            "name one of those",
        )
        for measure in (experiment.objective, *policy.guards, *sorted(policy.unguarded))
        if measure not in given
    ]


def _kept_bytes(arm: Arm) -> int:
    if arm.backend == AdapterRecipe.kind:
        return HEAD_BYTES
    is_elsewhere = all(base.provider not in (None, LOOPBACK) for base in arm.bases())
    return REFERENCE_BYTES if is_elsewhere else MODEL_BYTES


def _too_little_disk(experiment: Experiment, home: Path) -> list[Fault]:
    largest = max(map(_kept_bytes, experiment.space.arms))
    needed = largest * experiment.trials + MODEL_BYTES * len(experiment.space.bases())
    free = shutil.disk_usage(home).free
    allowed = experiment.budget.disk_gb
    if allowed is not None and needed > allowed * 1e9:
        return [
            Fault(
                f"budget.disk_gb {allowed:g}",
                str(experiment.path),
                f"{experiment.trials} trials keep about {needed / 1e9:.1f} GB of models",
                "lower search.trials, or raise budget.disk_gb",
            )
        ]
    if needed > free:
        return [
            Fault(
                "disk space",
                str(home),
                f"{free / 1e9:.1f} GB are free, {experiment.trials} trials keep about "
                f"{needed / 1e9:.1f} GB of models",
                "lower search.trials, free some, or set EMBEDSWEEP_HOME to a larger disk",
            )
        ]
    return []
