"""What a sweep needs: the experiment checked, its services, and what to say beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.config import load_experiment
from embedsweep.core.coverage import Coverage
from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import Fault, UserError
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import LOOPBACK, Base, HostedRecipe, TunedRecipe
from embedsweep.wiring.evidence import locations, scratch
from embedsweep.wiring.models import backends, load_libraries, providers
from embedsweep.wiring.new_stores import made_ahead
from embedsweep.wiring.provenance import provenance_of

if TYPE_CHECKING:
    from embedsweep.workflows.services import Progress, Services

LOCKS_FOLDER = "locks"


def load(path: Path) -> tuple[Experiment, Dataset]:
    """The experiment and its data, both checked whole."""
    from embedsweep.data import load_dataset

    experiment = load_experiment(path)
    return experiment, load_dataset(experiment.data)


@contextmanager
def coordinator(
    stores: str | None,
    experiment: Experiment,
    progress: Progress,
    *,
    prepare: Callable[[], object] = lambda: None,
    cancel_on_interrupt: bool = False,
) -> Iterator[Services]:
    """The services of the one process that may run the experiment's sweep at a time.

    Args:
        stores: Where the evidence is kept.
        experiment: What is to be run.
        progress: Where progress is shown.
        prepare: Called while another process creates the stores; what it raises ends the context.
        cancel_on_interrupt: Whether Ctrl-C cancels the running job at its provider.

    Raises:
        Refusal: Another process runs it, on this machine or on one that shares the studies.
    """
    from embedsweep.stores.database_locks import owned_sweep
    from embedsweep.stores.locks import lock_sweep

    places = locations(stores)
    with (
        lock_sweep(places.home / LOCKS_FOLDER, experiment.name),
        owned_sweep(places.study_url, experiment.name) as check_owner,
        scratch(places.home) as work,
        made_ahead(places) as is_being_made,
    ):
        if is_being_made:
            # They are needed before long, and cost nothing while another process is waited for.
            load_libraries({arm.backend for arm in experiment.space.arms})
        prepare()
        with _services(stores, experiment, progress, work, cancel_on_interrupt) as services:
            yield replace(services, check_owner=check_owner)


@contextmanager
def _services(
    stores: str | None,
    experiment: Experiment,
    progress: Progress,
    work: Path,
    cancel_on_interrupt: bool,
) -> Iterator[Services]:
    from embedsweep.backends.model_file import kind_of
    from embedsweep.reporting.model_card import model_card
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.mlflow_ledger import MlflowLedger
    from embedsweep.stores.mlflow_registry import MlflowRegistry
    from embedsweep.stores.registry_locks import turns_at
    from embedsweep.stores.study import open_study
    from embedsweep.workflows.services import Services

    places = locations(stores)
    client = open_client(places)
    with backends(stores, experiment, cancel_on_interrupt=cancel_on_interrupt) as known:
        yield Services(
            ledger=MlflowLedger(client, places.artifacts),
            registry=MlflowRegistry(client, turns_at(places.study_url, places.home / LOCKS_FOLDER)),
            backends=known.kept,
            kind_of=kind_of,
            open_study=partial(open_study, places.study_url),
            open_live=lambda folder: known.live[kind_of(folder)].open(folder),
            card=model_card,
            bill=lambda: known.meter.bill,
            work=work,
            progress=progress,
            provenance=provenance_of(experiment),
        )


def preflight(experiment: Experiment, dataset: Dataset, stores: str | None) -> None:
    """Raise every reason not to start that shows without a model or a call to a provider."""
    from embedsweep.workflows.preflight import preflight as examine

    home = locations(stores).home
    with scratch(home) as work:
        examine(experiment, dataset, _find, _refusal, work)
    _check_keys(experiment, home)


def _find(base: Base) -> None:
    from embedsweep.backends.local.base_models import base_folder

    # The loopback service is not running yet; what it will tune must be there all the same.
    if base.provider in (None, LOOPBACK):
        base_folder(base.model, base.revision)


def _refusal(recipe: TunedRecipe) -> str | None:
    if not isinstance(recipe, HostedRecipe):
        return None
    from embedsweep.backends.hosted.identity import refusal

    return refusal(recipe)


def _check_keys(experiment: Experiment, home: Path) -> None:
    faults: list[Fault] = []
    named = {base.provider for base in experiment.space.bases() if base.provider}
    with providers(home, experiment.key_variables) as known:
        for provider in sorted(named - {LOOPBACK}):
            try:
                known.key(provider)
            except UserError as error:
                faults += error.faults
    if faults:
        raise UserError.of(faults)


def examine_bases(experiment: Experiment, dataset: Dataset) -> dict[Base, Coverage]:
    """Open each base model of this machine, embed the longest texts, return what it reads.

    Loads torch if the experiment names such a model.

    Raises:
        DataError: With the fault of every base model that cannot embed the texts.
    """
    from embedsweep.workflows.preflight import examine_bases as examine_all

    return examine_all(experiment, dataset, _examine)


def _examine(base: Base, texts: Sequence[str]) -> Coverage:
    from embedsweep.backends.local.base_models import base_folder
    from embedsweep.backends.local.examination import examine

    return examine(str(base), base_folder(base.model, base.revision), texts, base.prompts)


def notes(experiment: Experiment, dataset: Dataset, coverage: Mapping[Base, Coverage]) -> list[str]:
    """Return what a reader of the results should know of the data and the cost in advance.

    Args:
        experiment: What is to be run.
        dataset: Its data.
        coverage: What the base models read of the data, as of `examine_bases`.
    """
    from embedsweep.workflows.estimate import estimates

    unread = [note for base, found in coverage.items() for note in found.notes(str(base))]
    known_data = [*dataset.recognised(), *dataset.warnings]
    return [*known_data, *dataset.leakage.notes(), *unread, *estimates(experiment, dataset)]
