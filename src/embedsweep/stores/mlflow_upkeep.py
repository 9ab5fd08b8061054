"""Keeping house over the models, runs and folders of work that this program keeps in MLflow."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, LoggedModel, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from embedsweep.core.errors import Refusal
from embedsweep.core.upkeep import KeptModel, Leftover, Registration, StaleRun, Upkeep
from embedsweep.stores.addresses import at_store
from embedsweep.stores.locks import lock_sweep
from embedsweep.stores.mlflow_model import model_files, remove_model_files
from embedsweep.stores.mlflow_run import Tag
from embedsweep.stores.owner import Owner
from embedsweep.stores.store_errors import absent, tells_store_errors
from embedsweep.stores.workspace import leftover_folders, remove_leftover

PAGE = 100
"""Entries per request to the store; MLflow gives no more of some kinds."""

_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True)
class _Runs:
    """The runs of an experiment.

    Attributes:
        by_id: Every one.
        running: Ids of those that stand as running.
    """

    by_id: Mapping[str, Run]
    running: frozenset[str]

    def uses(self, run_id: str) -> bool:
        """Whether a run or the sweep it belongs to is running."""
        run = self.by_id.get(run_id)
        parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID, "") if run else ""
        return run_id in self.running or parent in self.running


class MlflowUpkeep:
    """Fulfils `embedsweep.core.upkeep.Upkeep`."""

    def __init__(
        self, client: MlflowClient, lock_folder: Path, work_folder: Path, page: int = PAGE
    ) -> None:
        """Look after the client's store.

        Args:
            client: From `open_client`.
            lock_folder: Where the sweeps' locks lie.
            work_folder: Where the folders of work lie.
            page: Entries per request.
        """
        self.client = client
        self.lock_folder = lock_folder
        self.work_folder = work_folder
        self.page = page

    @property
    def address(self) -> str:
        return str(self.client.tracking_uri)

    @tells_store_errors("list the kept models")
    def models(self) -> list[KeptModel]:
        registrations = self._registrations()
        found: list[KeptModel] = []
        for experiment in self._experiments():
            runs = self._runs(experiment)
            for model in self._logged_models(experiment):
                size = sum(model_files(self.client, model).values())
                if size == 0 and str(model.status) != "PENDING":
                    continue
                run_id = model.source_run_id or ""
                found.append(
                    KeptModel(
                        reference=f"models:/{model.model_id}",
                        label=model.name,
                        experiment=experiment.name,
                        run_id=run_id,
                        size=size,
                        is_whole=str(model.status) == "READY",
                        is_in_use=runs.uses(run_id),
                        registrations=tuple(registrations[model.model_id]),
                    )
                )
        return found

    @contextmanager
    def hold(self, experiment: str) -> Iterator[bool]:
        with ExitStack() as stack:
            try:
                stack.enter_context(lock_sweep(self.lock_folder, experiment))
            except Refusal:
                is_free = False
            else:
                is_free = True
            yield is_free

    @tells_store_errors("remove a model")
    def remove(self, model: KeptModel, at: str) -> None:
        model_id = model.reference.removeprefix("models:/")
        logged = self.client.get_logged_model(model_id)
        # Marked first: who comes meanwhile is told what happens, and not that files are missing.
        self.client.set_logged_model_tags(model_id, {Tag.COLLECTED: at})
        mine = f"tags.`{Tag.MODEL}` = '{model.reference}'"
        for run in self._pages(self._search_runs(str(logged.experiment_id), mine)):
            self.client.set_tag(run.info.run_id, Tag.COLLECTED, at)
        for version in model.registrations:
            self.client.set_model_version_tag(version.name, str(version.number), Tag.COLLECTED, at)
        remove_model_files(self.client, logged)
        if str(logged.status) == "PENDING":
            self.client.finalize_logged_model(model_id, "FAILED")

    def leftovers(self) -> list[Leftover]:
        return [Leftover(path, _size(path)) for path in leftover_folders(self.work_folder)]

    @tells_store_errors("remove a folder of work")
    def discard(self, leftover: Leftover) -> None:
        remove_leftover(leftover.path)

    @tells_store_errors("look for stale runs")
    def stale_runs(self) -> list[StaleRun]:
        found: list[StaleRun] = []
        for experiment in self._experiments():
            runs = self._runs(experiment)
            if not runs.running:
                continue
            with self.hold(experiment.name) as is_free:
                if not is_free:
                    continue
                for run in (runs.by_id[run_id] for run_id in sorted(runs.running)):
                    owner = Owner.parse(run.data.tags.get(Tag.OWNER, ""))
                    if owner is not None and owner.has_ended():
                        name = str(run.info.run_name)
                        who = f"process {owner.pid} of {owner.host}"
                        found.append(StaleRun(run.info.run_id, name, experiment.name, who))
        return found

    @tells_store_errors("look for a run")
    def is_deleted(self, run_id: str) -> bool:
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if absent(error):
                return True
            raise
        return bool(run.info.lifecycle_stage == LifecycleStage.DELETED)

    def restoring(self, run_id: str) -> str:
        return at_store(self.address, f"mlflow runs restore --run-id {run_id}")

    def _experiments(self) -> list[Experiment]:
        """The experiments that this program has swept in, by name."""
        ours = f"tags.`{Tag.KIND}` = 'sweep'"
        pages = self._pages(
            lambda token: self.client.search_experiments(
                filter_string=ours, max_results=self.page, page_token=token
            )
        )
        return sorted(pages, key=lambda experiment: str(experiment.name))

    def _runs(self, experiment: Experiment) -> _Runs:
        runs = list(self._pages(self._search_runs(experiment.experiment_id, "")))
        return _Runs(
            {run.info.run_id: run for run in runs},
            frozenset(run.info.run_id for run in runs if run.info.status == "RUNNING"),
        )

    def _search_runs(self, experiment_id: str, condition: str) -> Callable[[str | None], Any]:
        return lambda token: self.client.search_runs(
            [experiment_id], condition, max_results=self.page, page_token=token
        )

    def _logged_models(self, experiment: Experiment) -> list[LoggedModel]:
        pages = self._pages(
            lambda token: self.client.search_logged_models(
                [experiment.experiment_id], max_results=self.page, page_token=token
            )
        )
        ours = [model for model in pages if Tag.FINGERPRINT in model.tags]
        return sorted(ours, key=lambda model: (model.creation_timestamp, model.name))

    def _registrations(self) -> defaultdict[str, list[Registration]]:
        """The versions of every registered model, by the id of the logged model they are of."""
        found: defaultdict[str, list[Registration]] = defaultdict(list)
        names = {
            model.name: model
            for model in self._pages(
                lambda token: self.client.search_registered_models(
                    max_results=self.page, page_token=token
                )
            )
        }
        versions = self._pages(
            lambda token: self.client.search_model_versions(max_results=self.page, page_token=token)
        )
        for version in versions:
            model, number = names[version.name], int(version.version)
            aliases = [alias for alias, named in model.aliases.items() if int(named) == number]
            registration = Registration(
                version.name, number, tuple(sorted(aliases)), Tag.OURS in model.tags
            )
            told = (version.tags.get(Tag.MODEL), version.model_id, version.source)
            for model_id in {name for text in told for name in _MODEL_ID.findall(text or "")}:
                found[model_id].append(registration)
        return found

    def _pages(self, ask: Callable[[str | None], Any]) -> Iterator[Any]:
        token = None
        while True:
            page = ask(token)
            yield from page
            if not (token := page.token):
                return


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if TYPE_CHECKING:
    _: type[Upkeep] = MlflowUpkeep
