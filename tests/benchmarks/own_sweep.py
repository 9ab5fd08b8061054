"""A sweep of ours, run as ``embedsweep sweep`` runs it, in this process and in its own stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from embedsweep import wiring
from embedsweep.core.dataset import Dataset
from embedsweep.core.experiment import Experiment
from embedsweep.core.ports import OpenSweep
from embedsweep.core.trial import Role, Trial
from embedsweep.workflows.services import Services, Silent
from embedsweep.workflows.sweep import SweepOptions, run_sweep


def unchanged(services: Services) -> Services:
    return services


@dataclass(frozen=True)
class EndedTrial:
    """A trial in the ledger.

    Attributes:
        ended: Seconds since the sweep began, as its run in MLflow says.
        seconds: What it took.
        score: The objective on the validation split, as the sweep measured it; None where there is
            no model.
    """

    ended: float
    seconds: float
    score: float | None


@dataclass(frozen=True)
class SweptTrials:
    """What a sweep left, and how long it took.

    Attributes:
        seconds: From the first check of the experiment to the end of the last trial.
        trials: Those the sweep drew, in the order in which they ended; no baselines.
    """

    seconds: float
    trials: list[EndedTrial]


def own_stores(folder: Path) -> str:
    """The environment file of new stores; MLflow's database is made at once."""
    settings = folder / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\n"
        "EMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
        "EMBEDSWEEP_HOME=store\n",
        "utf-8",
    )
    wiring.open_ledger(str(settings))
    return str(settings)


@contextmanager
def own_services(stores: str, experiment: Experiment) -> Iterator[Services]:
    with wiring.coordinator(stores, experiment, Silent()) as services:
        yield services


@dataclass(frozen=True)
class RacedTrial:
    """A trial of a sweep that races.

    Attributes:
        ended: Seconds the sweep had run when the trial was done and told.
        measured: What the benchmark's own measuring of the kept model says; None where there is
            no model.
    """

    ended: float
    measured: float | None


def swept(
    stores: str,
    experiment: Experiment,
    dataset: Dataset,
    trials: int,
    change: Callable[[Services], Services] = unchanged,
) -> SweptTrials:
    """Run the experiment's sweep: checks, baselines and trials, but no promotion.

    Args:
        stores: As `own_stores` gives it.
        experiment, dataset: As `wiring.load` gives them.
        trials: In all.
        change: Puts something of the benchmark's own in place of one of the services.
    """
    began, clock = time.time(), time.perf_counter()
    with _begun(stores, experiment, dataset) as services:
        sweep = run_sweep(experiment, dataset, change(services), SweepOptions(trials))
        took = time.perf_counter() - clock
        ended = [
            EndedTrial(
                services.ledger.client.get_run(trial.run_id).info.end_time / 1000 - began,
                trial.seconds,
                trial.score(experiment.objective),
            )
            for trial in _drawn(services, sweep)
        ]
    return SweptTrials(took, sorted(ended, key=lambda trial: trial.ended))


def raced(
    stores: str,
    experiment: Experiment,
    dataset: Dataset,
    trials: int,
    measure: Callable[[Path], float],
    target: float,
) -> list[RacedTrial]:
    """Run the experiment's sweep as `swept` does, until a model reaches the target.

    The sweep is asked for one trial more at a time and goes on where it stopped. Its clock runs
    over all it does and stands still while the benchmark measures.

    Args:
        stores, experiment, dataset: As for `swept`.
        trials: At most, in all.
        measure: Measures the model in a folder.
        target: What `measure` has to say of a model.
    """
    ended: list[RacedTrial] = []
    measuring, began = 0.0, time.perf_counter()
    with _begun(stores, experiment, dataset) as services:
        for number in range(1, trials + 1):
            sweep = run_sweep(experiment, dataset, services, SweepOptions(number))
            stopped = time.perf_counter()
            last = max(_drawn(services, sweep), key=lambda trial: trial.number)
            measured = _measured(services, last, measure)
            ended.append(RacedTrial(stopped - began - measuring, measured))
            if seconds_to(ended, target) is not None:
                break
            measuring += time.perf_counter() - stopped
    return ended


@contextmanager
def _begun(stores: str, experiment: Experiment, dataset: Dataset) -> Iterator[Services]:
    wiring.preflight(experiment, dataset, stores)
    wiring.notes(experiment, dataset, wiring.examine_bases(experiment, dataset))
    with own_services(stores, experiment) as services:
        yield services


def _drawn(services: Services, sweep: OpenSweep) -> list[Trial]:
    return [trial for trial in services.ledger.trials(sweep) if trial.role is Role.TRIAL]


def _measured(services: Services, trial: Trial, measure: Callable[[Path], float]) -> float | None:
    if trial.model_reference is None:
        return None
    with TemporaryDirectory(dir=services.work) as folder:
        return measure(services.registry.fetch(trial.model_reference, Path(folder)))


def seconds_to(trials: list[RacedTrial], target: float) -> float | None:
    """When the first trial's model reached the target; None if none did."""
    return next(
        (each.ended for each in trials if each.measured is not None and each.measured >= target),
        None,
    )
