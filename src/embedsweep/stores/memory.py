"""Ledger and registry in the memory of one process, models in a folder; the twins of MLflow's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import DataError, Refusal, StoreError, UserError
from embedsweep.core.looks import Look, LookRequest, next_look
from embedsweep.core.ports import (
    Ledger,
    OpenSweep,
    Registry,
    Sweep,
    TrialEnd,
    TrialStart,
    Version,
)
from embedsweep.core.promotion import PENDING, Decision
from embedsweep.core.report import Report
from embedsweep.core.trial import ROLES, Completed, Failed, Pruned, Trial
from embedsweep.stores.addresses import check_alias, check_name, parse_reference
from embedsweep.stores.manifest import (
    MANIFEST_FILE,
    SENTENCE_TRANSFORMERS_FOLDER,
    files_in,
    make_empty,
    opened_folder,
    verify,
    write_manifest,
)
from embedsweep.stores.trial_end import ended_trial, finite, status_of


@dataclass
class _Run:
    sweep: str
    start: TrialStart
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    running: bool = True
    trial: Trial | None = None
    report: Report | None = None


class MemoryLedger:
    """Fulfils `embedsweep.core.ports.Ledger`; forgets with the process.

    Attributes:
        status: How each run stands, by run id, in MLflow's words.
        promotions: What was recorded, by run id.
        attached: The files of each sweep, by run id and name.
    """

    def __init__(self, models: Path) -> None:
        """Keep models in ``models``, which the registry shares."""
        self.models = models
        self.status: dict[str, str] = {}
        self.promotions: dict[str, tuple[Decision, dict[str, Report]]] = {}
        self.attached: dict[tuple[str, str], str] = {}
        self._sweeps: list[OpenSweep] = []
        self._runs: dict[str, _Run] = {}
        self._ids = (f"run-{number}" for number in count())

    def latest(self, name: str) -> OpenSweep | None:
        return next((sweep for sweep in reversed(self._sweeps) if sweep.name == name), None)

    def names(self) -> list[str]:
        return sorted({sweep.name for sweep in self._sweeps})

    def begin(self, sweep: Sweep) -> OpenSweep:
        check_name(sweep.name, "experiment")
        opened = OpenSweep(
            self._begin_run(), sweep.name, sweep.objective, sweep.identity, sweep.digest
        )
        self._sweeps.append(opened)
        return opened

    def resume(self, sweep: OpenSweep) -> list[int]:
        self.status[sweep.run_id] = "RUNNING"
        left = [run_id for run_id, run in self._children(sweep).items() if run.running]
        for run_id in left:
            self.abandon(run_id)
        return sorted(self._runs[run_id].start.number for run_id in left)

    def end(self, sweep: OpenSweep, status: str, summary: Mapping[str, float]) -> None:
        self.status[sweep.run_id] = status

    def start(self, sweep: OpenSweep, dataset: Dataset, trial: TrialStart) -> str:
        run_id = self._begin_run()
        self._runs[run_id] = _Run(sweep.run_id, trial)
        return run_id

    def epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        run = self._runs[run_id]
        run.metrics.update(finite(metrics))
        for name, value in finite(metrics).items():
            run.curves.setdefault(name, {})[epoch] = value

    def finish(self, run_id: str, start: TrialStart, end: TrialEnd) -> Trial:
        run = self._runs[run_id]
        run.report = end.report
        run.trial = ended_trial(run_id, run.metrics, start, end)
        told = {} if isinstance(end.outcome, Pruned) else dict(run.trial.metrics)
        for name, value in {**told, **(asdict(end.bill) if end.bill else {})}.items():
            step = getattr(start.recipe, "epochs", 0)
            run.curves.setdefault(name, {}).setdefault(step, float(value))
        if end.model is not None and isinstance(end.outcome, Completed):
            try:
                reference = _keep(end.model, end.companions, self.models)
                run.trial = replace(run.trial, model_reference=reference)
            except (OSError, UserError) as error:
                failure = Failed("store", str(error))
                run.trial = replace(run.trial, outcome=failure, metrics={})
        run.running = False
        self.status[run_id] = status_of(run.trial.outcome)
        return run.trial

    def abandon(self, run_id: str) -> None:
        self._runs[run_id].running = False
        self.status[run_id] = "KILLED"

    def trials(self, sweep: OpenSweep) -> list[Trial]:
        ended = [run.trial for run in self._children(sweep).values() if run.trial is not None]
        return sorted(ended, key=lambda trial: (ROLES.index(trial.role), trial.number))

    def find(self, name: str, fingerprint: str) -> Trial | None:
        sweeps = {sweep.run_id for sweep in self._sweeps if sweep.name == name}
        for run in self._runs.values():
            trial = run.trial
            if run.sweep not in sweeps or trial is None or trial.reused_from is not None:
                continue
            if trial.fingerprint == fingerprint and isinstance(trial.outcome, Completed):
                reference = trial.model_reference
                if reference is None or _model_folder(self.models, reference).is_dir():
                    return trial
        return None

    def report(self, run_id: str) -> Report:
        run = self._runs[run_id]
        if run.trial is not None and run.trial.reused_from is not None:
            return self.report(run.trial.reused_from)
        if run.report is None:
            raise StoreError(
                f"report of {run_id}", "memory", "there is none", "name the run of a trial"
            )
        return run.report

    def curves(self, run_id: str, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        run = self._runs[run_id]
        if run.trial is not None and run.trial.reused_from is not None:
            return self.curves(run.trial.reused_from, names)
        return {name: sorted(run.curves[name].items()) for name in names if name in run.curves}

    def attach(self, sweep: OpenSweep, name: str, text: str) -> str:
        self.attached[sweep.run_id, name] = text.encode("utf-8", "replace").decode()
        return f"{name} of {sweep.run_id}"

    def record_promotion(
        self, sweep: OpenSweep, decision: Decision, reports: Mapping[str, Report]
    ) -> str:
        run_id = self._begin_run()
        self.promotions[run_id] = (decision, dict(reports))
        self.status[run_id] = "FINISHED"
        return run_id

    def _begin_run(self) -> str:
        run_id = next(self._ids)
        self.status[run_id] = "RUNNING"
        return run_id

    def _children(self, sweep: OpenSweep) -> dict[str, _Run]:
        return {key: run for key, run in self._runs.items() if run.sweep == sweep.run_id}


class MemoryRegistry:
    """Fulfils `embedsweep.core.ports.Registry`; forgets with the process, its models do not."""

    def __init__(self, models: Path) -> None:
        """Serve the models that a `MemoryLedger` keeps in ``models``."""
        self.models = models
        self._versions: dict[str, list[Version]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._decisions: dict[str, list[Decision]] = {}
        self._looks: list[Look] = []
        self.descriptions: dict[tuple[str, int], str] = {}

    def resolve(self, name: str, alias_or_number: str = "champion") -> Version | None:
        check_name(name, "model")
        if alias_or_number.isdecimal():
            number: int | None = int(alias_or_number)
        else:
            check_alias(alias_or_number)
            number = self._aliases.get((name, alias_or_number))
        versions = self._versions.get(name, [])
        return next((version for version in versions if version.number == number), None)

    def publish(self, name: str, trial: Trial) -> Version:
        check_name(name, "model")
        reference = trial.model_reference
        if reference is None:
            raise DataError(
                f"{trial.role.value} {trial.number}",
                trial.run_id,
                "it kept no model",
                "publish a trial that did",
            )
        versions = self._versions.setdefault(name, [])
        for known in versions:
            if known.model_reference == reference:
                return known
        digest = _digest_file(self.models, reference).read_text()
        run_id, number = trial.reused_from or trial.run_id, len(versions) + 1
        made = Version(name, number, run_id, trial.fingerprint, reference, digest)
        versions.append(made)
        return made

    def crown(
        self, version: Version, expected: int | None, decision: Decision | None = None
    ) -> None:
        current = self._aliases.get((version.name, "champion"))
        if current != expected:
            raise Refusal(
                f"champion of {version.name!r}",
                "memory",
                f"champion changed under us ({expected or 'none'}→{current or 'none'})",
                "compare with the new champion and promote again",
            )
        if decision is not None:
            self._aliases[version.name, PENDING] = version.number
            self.record(decision)
        if current is not None and current != version.number:
            self._aliases[version.name, "previous"] = current
        self._aliases[version.name, "champion"] = version.number
        self._aliases.pop((version.name, PENDING), None)

    def challenge(self, version: Version) -> None:
        self._aliases[version.name, "challenger"] = version.number

    def look(self, request: LookRequest) -> Look:
        check_name(request.model, "model")
        look = next_look(request, self._looks)
        if look not in self._looks:
            self._looks.append(look)
        return look

    def looks(self, name: str) -> list[Look]:
        check_name(name, "model")
        return [look for look in self._looks if look.model == name]

    def describe(self, version: Version, text: str) -> None:
        self.descriptions[version.name, version.number] = text

    def record(self, decision: Decision) -> None:
        check_name(decision.model, "model")
        self._decisions.setdefault(decision.model, []).append(decision)

    def history(self, name: str) -> list[Decision]:
        check_name(name, "model")
        return list(self._decisions.get(name, []))

    def names(self) -> list[str]:
        return sorted(self._versions.keys() | self._decisions.keys())

    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        reference = self._model(model_reference)
        digest = manifest_digest or _digest_file(self.models, reference).read_text()
        make_empty(folder)
        source = _model_folder(self.models, reference)
        if source.is_dir():
            shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
        try:
            verify(folder, digest, model_reference)
        except DataError:
            shutil.rmtree(folder)
            raise
        return opened_folder(folder)

    def _model(self, reference: str) -> str:
        """The ``models:/m-…`` that a reference means."""
        named = parse_reference(reference)
        if named.model_id and _digest_file(self.models, reference).is_file():
            return reference
        version = self.resolve(named.name, named.alias_or_number) if named.name else None
        if version is None:
            raise StoreError(
                f"model {reference}",
                "memory",
                "there is none",
                f"name one that `embedsweep history {named.name}` lists",
            )
        return version.model_reference


def _model_folder(models: Path, reference: str) -> Path:
    return models / reference.removeprefix("models:/")


def _digest_file(models: Path, reference: str) -> Path:
    return models / f"{reference.removeprefix('models:/')}.sha256"


def _keep(folder: Path, companions: Mapping[str, str], models: Path) -> str:
    """Copy a model in, its companions and manifest with it; return its reference."""
    files_in(folder, str(folder))
    reference = f"models:/m-{uuid4().hex}"
    kept = _model_folder(models, reference)
    shutil.copytree(folder, kept / SENTENCE_TRANSFORMERS_FOLDER)
    for name, text in companions.items():
        (kept / name).write_text(text, encoding="utf-8")
    digest = write_manifest(files_in(kept, str(folder)), kept / MANIFEST_FILE)
    _digest_file(models, reference).write_text(digest)
    return reference


if TYPE_CHECKING:
    _ledger: type[Ledger] = MemoryLedger
    _registry: type[Registry] = MemoryRegistry
