"""The ledger in MLflow: a parent run per sweep, a child run per trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import (
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER,
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME,
    MLFLOW_PARENT_RUN_ID,
)

from embedsweep import __version__
from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import Refusal, UsageError, UserError
from embedsweep.core.ports import Ledger, OpenSweep, Sweep, TrialEnd, TrialStart
from embedsweep.core.promotion import Decision
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import ROLES, Completed, Failed, Pruned, Trial
from embedsweep.stores.addresses import at_store, check_name, scheme_of
from embedsweep.stores.mlflow_model import holds_model, keep_model
from embedsweep.stores.mlflow_run import (
    Tag,
    dataset_inputs,
    end_metrics,
    end_params,
    end_tags,
    is_whole,
    last_step,
    metric_entities,
    non_finite_tags,
    origin_tags,
    param_entities,
    run_name,
    start_tags,
    tag_entities,
    trial_of,
    trial_params,
    validation_data,
)
from embedsweep.stores.owner import Owner
from embedsweep.stores.pending_metrics import DELAY, PendingMetrics
from embedsweep.stores.store_errors import STORE_FAULTS, summary, tells_store_errors
from embedsweep.stores.trial_end import ended_trial, finite, status_of

PAGE = 1000
"""Runs per request to the store."""


class MlflowLedger:
    """Fulfils `embedsweep.core.ports.Ledger`.

    What a trial is stands in its run's tags and metrics alone, so that reading a sweep fetches no
    file. Artefacts hold what a person or a later reader wants whole: the recipe and the report.
    What a running trial measures may come to the store a moment later, see `PendingMetrics`.
    """

    def __init__(
        self, client: MlflowClient, artifacts: str, page: int = PAGE, delay: float = DELAY
    ) -> None:
        """Write to the client's store.

        Args:
            client: From `open_client`.
            artifacts: Folder or address for files; a tracking server uses its own.
            page: Runs per request.
            delay: Seconds that a running trial's metrics may wait to be written together.
        """
        self.client = client
        self.artifacts = artifacts
        self.page = page
        self._pending = PendingMetrics(client, delay)
        self._experiment_ids: dict[str, str] = {}

    @property
    def address(self) -> str:
        return str(self.client.tracking_uri)

    @tells_store_errors("read the newest sweep")
    def latest(self, name: str) -> OpenSweep | None:
        experiment = self._experiment(name)
        if experiment is None:
            return None
        runs = self._runs(experiment.experiment_id, _is(Tag.KIND, "sweep"), newest_first=True)
        run = next(runs, None)
        if run is None:
            return None
        tags = run.data.tags
        identity = self._read_json(run, "identity.json")
        return OpenSweep(run.info.run_id, name, tags[Tag.OBJECTIVE], identity, tags[Tag.DIGEST])

    @tells_store_errors("list the experiments")
    def names(self) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            found = self.client.search_experiments(
                filter_string=_is(Tag.KIND, "sweep"), max_results=self.page, page_token=token
            )
            names += [experiment.name for experiment in found]
            if not (token := found.token):
                return sorted(names)

    @tells_store_errors("begin the sweep")
    def begin(self, sweep: Sweep) -> OpenSweep:
        check_name(sweep.name, "experiment")
        experiment_id = self._experiment_for(sweep)
        tags = {
            **origin_tags(),
            Tag.DIGEST: sweep.digest,
            Tag.OBJECTIVE: sweep.objective,
            Tag.OWNER: str(Owner.here()),
            Tag.VERSION: __version__,
        }
        run = self.client.create_run(experiment_id, tags=tags, run_name=f"sweep-{sweep.name}")
        run_id = run.info.run_id
        self.client.log_text(run_id, sweep.experiment_file, "experiment.yaml")
        self._write_json(run_id, "identity.json", sweep.identity)
        # Last: what is found as a sweep is whole.
        self.client.set_tag(run_id, Tag.KIND, "sweep")
        return OpenSweep(run_id, sweep.name, sweep.objective, sweep.identity, sweep.digest)

    @tells_store_errors("take the sweep up again")
    def resume(self, sweep: OpenSweep) -> list[int]:
        """As the port says.

        Raises:
            Refusal: A child run belongs to another process of this machine that still lives.
        """
        left = list(self._children(sweep, "attributes.status = 'RUNNING'"))
        for run in left:
            _check_dead(run)
        self.client.update_run(sweep.run_id, status="RUNNING")
        for run in left:
            self._interrupt(run.info.run_id, {Tag.REAPED: "true"})
        return sorted(int(run.data.tags[Tag.NUMBER]) for run in left if Tag.NUMBER in run.data.tags)

    @tells_store_errors("end the sweep")
    def end(self, sweep: OpenSweep, status: str, summary: Mapping[str, float]) -> None:
        self.client.log_batch(sweep.run_id, metrics=metric_entities(finite(summary), 0))
        self.client.set_terminated(sweep.run_id, status)

    @tells_store_errors("begin a trial")
    def start(self, sweep: OpenSweep, dataset: Dataset, trial: TrialStart) -> str:
        run = self.client.create_run(
            self._experiment_of(sweep), tags=start_tags(sweep, trial), run_name=run_name(trial)
        )
        run_id = str(run.info.run_id)
        self.client.log_batch(run_id, params=trial_params(trial, dataset))
        self.client.log_inputs(run_id, dataset_inputs(dataset))
        self._write_json(run_id, "recipe.json", recipe_as_dict(trial.recipe))
        self._pending.begin(run_id)
        return run_id

    @tells_store_errors("record an epoch")
    def epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        told = metric_entities(finite(metrics), epoch)
        self._pending.add(run_id, told, non_finite_tags(metrics))

    @tells_store_errors("record a trial")
    def finish(self, run_id: str, start: TrialStart, end: TrialEnd) -> Trial:
        """As the port says; a trial whose model or report cannot be kept ends failed, ``store``."""
        # In this order: what is written meanwhile is seen twice, and nothing is missed.
        waiting = self._pending.values(run_id)
        run = self.client.get_run(run_id)
        trial = ended_trial(run_id, {**run.data.metrics, **waiting}, start, end)
        try:
            trial = self._keep(run, start, end, trial)
        except (*STORE_FAULTS, UserError) as error:
            failure = Failed("store", summary(error))
            trial = replace(trial, outcome=failure, metrics={}, model_reference=None)
        self._record(run, trial, end)
        self.client.set_terminated(run_id, status_of(trial.outcome))
        return trial

    @tells_store_errors("end an interrupted trial")
    def abandon(self, run_id: str) -> None:
        self._interrupt(run_id, {})

    @tells_store_errors("read the trials")
    def trials(self, sweep: OpenSweep) -> list[Trial]:
        runs = self._children(sweep, _is(Tag.KIND, "trial"))
        ended = [trial_of(run) for run in runs if is_whole(run)]
        return sorted(ended, key=lambda trial: (ROLES.index(trial.role), trial.number))

    @tells_store_errors("look for an equal trial")
    def find(self, name: str, fingerprint: str) -> Trial | None:
        experiment = self._experiment(name)
        if experiment is None:
            return None
        equal = _and(_is(Tag.FINGERPRINT, fingerprint), _is(Tag.STATE, "completed"))
        for run in self._runs(experiment.experiment_id, equal):
            if not is_whole(run) or Tag.REUSED_FROM in run.data.tags:
                continue
            reference = run.data.tags.get(Tag.MODEL)
            if reference is None or holds_model(self.client, reference):
                return trial_of(run)
        return None

    @tells_store_errors("read a report")
    def report(self, run_id: str) -> Report:
        run = self.client.get_run(run_id)
        origin = run.data.tags.get(Tag.REUSED_FROM)
        if origin is not None:
            run = self.client.get_run(origin)
        return Report.from_dict(self._read_json(run, "report.json"))

    @tells_store_errors("read how a trial went")
    def curves(self, run_id: str, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        """As the port says; of a trial that still runs, what has come to the store."""
        run = self.client.get_run(run_id)
        origin = run.data.tags.get(Tag.REUSED_FROM)
        if origin is not None:
            run = self.client.get_run(origin)
        found = {}
        for name in (name for name in names if name in run.data.metrics):
            history = self.client.get_metric_history(run.info.run_id, name)
            # The end of a trial is told on top of its last epoch, and may be of another one.
            told = sorted(history, key=lambda metric: (metric.step, metric.timestamp))
            found[name] = sorted({metric.step: metric.value for metric in reversed(told)}.items())
        return found

    @tells_store_errors("keep a file of the sweep")
    def attach(self, sweep: OpenSweep, name: str, text: str) -> str:
        self.client.log_text(sweep.run_id, text.encode("utf-8", "replace").decode(), name)
        folder = str(self.client.get_run(sweep.run_id).info.artifact_uri)
        if scheme_of(folder) == "file":
            return str(Path(url2pathname(urlsplit(folder).path)) / name)
        return f"{name} of MLflow run {sweep.run_id}"

    @tells_store_errors("record the promotion")
    def record_promotion(
        self, sweep: OpenSweep, decision: Decision, reports: Mapping[str, Report]
    ) -> str:
        tags = {
            **origin_tags(),
            MLFLOW_PARENT_RUN_ID: sweep.run_id,
            Tag.KIND: "promotion",
            Tag.VERDICT: decision.verdict.value,
        }
        run = self.client.create_run(
            self._experiment_of(sweep), tags=tags, run_name=f"promotion-{decision.look}"
        )
        run_id = str(run.info.run_id)
        metrics = {
            f"{who}/{name}": value
            for who, report in reports.items()
            for name, value in report.metrics().items()
        }
        if decision.comparison is not None:
            metrics |= decision.comparison.metrics()
        self.client.log_batch(run_id, metrics=metric_entities(finite(metrics), 0))
        for who, report in reports.items():
            self._write_json(run_id, f"{who}.json", report.as_dict())
        self._write_json(run_id, "decision.json", decision.as_dict())
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _experiment(self, name: str) -> Experiment | None:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
            restore = f"mlflow experiments restore -x {experiment.experiment_id}"
            raise UsageError(
                f"experiment {name!r}",
                "MLflow",
                "it was deleted, and its name is still taken",
                f"run {at_store(self.address, restore)}, or choose another name",
            )
        return experiment

    def _experiment_for(self, sweep: Sweep) -> str:
        tags = {
            Tag.KIND: "sweep",
            "mlflow.experimentKind": "finetuning",
            MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME: Measure.parse(sweep.objective).key("valid"),
            MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER: "true",
        }
        experiment = self._experiment(sweep.name)
        if experiment is None:
            location = self._artifact_location(sweep.name)
            return str(self.client.create_experiment(sweep.name, location, tags))
        for key, value in tags.items():
            self.client.set_experiment_tag(experiment.experiment_id, key, value)
        return str(experiment.experiment_id)

    def _artifact_location(self, name: str) -> str | None:
        """Absolute, as MLflow's own default hangs on the working directory; None for a server."""
        if scheme_of(self.address) in ("http", "https"):
            return None
        if scheme_of(self.artifacts):
            return f"{self.artifacts.rstrip('/')}/{name}"
        return (Path(self.artifacts).absolute() / name).as_uri()

    def _experiment_of(self, sweep: OpenSweep) -> str:
        """The experiment that holds a sweep; it never moves to another one."""
        if sweep.run_id not in self._experiment_ids:
            parent = self.client.get_run(sweep.run_id)
            self._experiment_ids[sweep.run_id] = str(parent.info.experiment_id)
        return self._experiment_ids[sweep.run_id]

    def _children(self, sweep: OpenSweep, condition: str) -> Iterator[Run]:
        mine = _is(MLFLOW_PARENT_RUN_ID, sweep.run_id)
        return self._runs(self._experiment_of(sweep), _and(mine, condition))

    def _runs(
        self, experiment_id: str, condition: str, newest_first: bool = False
    ) -> Iterator[Run]:
        order = [f"attributes.start_time {'DESC' if newest_first else 'ASC'}"]
        token = None
        while True:
            found = self.client.search_runs(
                [experiment_id], condition, max_results=self.page, order_by=order, page_token=token
            )
            yield from found
            if not (token := found.token):
                return

    def _keep(self, run: Run, start: TrialStart, end: TrialEnd, trial: Trial) -> Trial:
        if end.report is not None:
            self._write_json(trial.run_id, "report.json", end.report.as_dict())
        if end.model is not None and isinstance(end.outcome, Completed):
            model_id = keep_model(self.client, run, start, end.model, end.companions)
            trial = replace(trial, model_reference=f"models:/{model_id}")
        self._write_json(trial.run_id, "outcome.json", trial.as_dict())
        return trial

    def _record(self, run: Run, trial: Trial, end: TrialEnd) -> None:
        kept = trial.model_reference if trial.reused_from is None else None
        model_id = kept.removeprefix("models:/") if kept else None
        final = {} if isinstance(trial.outcome, Pruned) else trial.metrics
        step = last_step(trial.recipe)
        waiting, tags = self._pending.take(trial.run_id)
        self.client.log_batch(
            trial.run_id,
            metrics=[
                *waiting,
                *metric_entities(final, step, model_id, validation_data(run)),
                *metric_entities(end_metrics(end), step),
            ],
            params=param_entities(
                {
                    key: value
                    for key, value in end_params(trial, end).items()
                    if key not in run.data.params
                }
            ),
            tags=tag_entities({**tags, **end_tags(trial, end)}),
        )

    def _interrupt(self, run_id: str, tags: Mapping[str, str]) -> None:
        waiting, told = self._pending.take(run_id)
        every = {**told, Tag.INTERRUPTED: "true", **tags}
        self.client.log_batch(run_id, metrics=waiting, tags=tag_entities(every))
        self.client.set_terminated(run_id, "KILLED")

    def _write_json(self, run_id: str, name: str, value: object) -> None:
        self.client.log_text(run_id, json.dumps(value), name)

    def _read_json(self, run: Run, name: str) -> dict[str, Any]:
        repository: Any = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.address)
        with TemporaryDirectory() as folder:
            file = Path(repository.download_artifacts(name, dst_path=folder))
            values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return values


def _is(tag: str, value: str) -> str:
    return f"tags.`{tag}` = '{value}'"


def _and(*conditions: str) -> str:
    return " and ".join(conditions)


def _check_dead(run: Run) -> None:
    owner = Owner.parse(run.data.tags.get(Tag.OWNER, ""))
    if owner is not None and owner.is_alive_beside():
        raise Refusal(
            f"run {run.info.run_name}",
            f"MLflow run {run.info.run_id}",
            f"process {owner.pid} of this machine is still running it",
            f"wait for process {owner.pid} or stop it",
        )


if TYPE_CHECKING:
    _: type[Ledger] = MlflowLedger
