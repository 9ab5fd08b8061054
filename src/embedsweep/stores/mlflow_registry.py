"""The registry in MLflow: versions, aliases, and a history that only grows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from embedsweep.core.chain import follow, head_of, link
from embedsweep.core.errors import DataError, Refusal, StoreError
from embedsweep.core.looks import Look, LookRequest, next_look
from embedsweep.core.ports import Registry, Version
from embedsweep.core.promotion import PENDING, Decision
from embedsweep.core.trial import Trial
from embedsweep.stores.addresses import check_alias, check_name, masked, parse_reference, scheme_of
from embedsweep.stores.manifest import make_empty, opened_folder, verify
from embedsweep.stores.mlflow_model import copy_model
from embedsweep.stores.mlflow_run import Tag
from embedsweep.stores.registry_locks import Turns
from embedsweep.stores.store_errors import absent, tells_store_errors

CHAMPION = "champion"
PREVIOUS = "previous"
CHALLENGER = "challenger"
RECORD_TAG = "embedsweep.record."
HEAD_TAG = "embedsweep.record_head"
LOOK = "look"
DECISION = "decision"
PAGE = 1000

_NUMBER = re.compile(r"[0-9]{1,9}")
# MLflow's own loaders leave this note in the folder of a store on the same machine.
_MLFLOW_NOTE = "registered_model_meta"


class MlflowRegistry:
    """Fulfils `embedsweep.core.ports.Registry`.

    MLflow moves an alias whatever it was, so every change is read, checked, made and read back
    in turns.
    """

    def __init__(self, client: MlflowClient, turns: Turns, page: int = PAGE) -> None:
        """Write to the client's store.

        Args:
            client: From `open_client`.
            turns: From `turns_at`.
            page: Models or versions per request.
        """
        self.client = client
        self.turns = turns
        self.page = page

    @property
    def address(self) -> str:
        return str(self.client.tracking_uri)

    @tells_store_errors("look a version up")
    def resolve(self, name: str, alias_or_number: str = CHAMPION) -> Version | None:
        check_name(name, "model")
        number: int | None
        if _NUMBER.fullmatch(alias_or_number):
            number = int(alias_or_number)
        else:
            check_alias(alias_or_number)
            number = self._aliased(name, alias_or_number)
        if number is None:
            return None
        try:
            return self._version(self.client.get_model_version(name, str(number)))
        except MlflowException as error:
            if absent(error):
                return None
            raise

    @tells_store_errors("publish the model")
    def publish(self, name: str, trial: Trial) -> Version:
        check_name(name, "model")
        if trial.model_reference is None:
            raise DataError(
                f"{trial.role.value} {trial.number}",
                f"MLflow run {trial.run_id}",
                "it kept no model",
                "publish a trial that did",
            )
        with self._turn(name):
            self._registered_or_new(name)
            for known in self._versions(name):
                if known.tags.get(Tag.MODEL) == trial.model_reference:
                    return self._version(known)
            model = self._logged_model(parse_reference(trial.model_reference).model_id)
            return self._version(self._register(name, trial.fingerprint, model))

    @tells_store_errors("move the champion")
    def crown(
        self, version: Version, expected: int | None, decision: Decision | None = None
    ) -> None:
        with self._turn(version.name):
            current = self._aliased(version.name, CHAMPION)
            if current != expected:
                raise Refusal(
                    f"champion of {version.name!r}",
                    masked(self.address),
                    f"champion changed under us ({expected or 'none'}→{current or 'none'})",
                    "compare with the new champion and promote again",
                )
            if decision is not None:
                if current != version.number:
                    self._point(version.name, PENDING, version.number)
                self._append(decision.model, {DECISION: decision.as_dict()})
            if current != version.number:
                if current is not None and self._is_ours(version.name, current):
                    self._point(version.name, PREVIOUS, current)
                self._point(version.name, CHAMPION, version.number)
            if self._aliased(version.name, PENDING) is not None:
                self.client.delete_registered_model_alias(version.name, PENDING)

    @tells_store_errors("move the challenger")
    def challenge(self, version: Version) -> None:
        with self._turn(version.name):
            self._point(version.name, CHALLENGER, version.number)

    @tells_store_errors("record the look")
    def look(self, request: LookRequest) -> Look:
        check_name(request.model, "model")
        with self.turns("looks"), self._turn(request.model):
            recorded = [look for name in self.names() for look in self.looks(name)]
            look = next_look(request, recorded)
            if look not in recorded:
                self._append(look.model, {LOOK: look.as_dict()})
            return look

    @tells_store_errors("record the decision")
    def record(self, decision: Decision) -> None:
        check_name(decision.model, "model")
        with self._turn(decision.model):
            self._append(decision.model, {DECISION: decision.as_dict()})

    @tells_store_errors("read the history")
    def history(self, name: str) -> list[Decision]:
        return [
            Decision.from_dict(entry[DECISION]) for entry in self._record(name) if DECISION in entry
        ]

    @tells_store_errors("read the looks")
    def looks(self, name: str) -> list[Look]:
        return [Look.from_dict(entry[LOOK]) for entry in self._record(name) if LOOK in entry]

    @tells_store_errors("describe the version")
    def describe(self, version: Version, text: str) -> None:
        self.client.update_model_version(version.name, str(version.number), text)

    def _append(self, name: str, content: dict[str, object]) -> None:
        tags = self._registered_or_new(name).tags
        texts = _record_texts(tags)
        follow(texts, tags.get(HEAD_TAG, ""), self._record_place(name))
        text = link(content, head_of(texts[-1]) if texts else "")
        self.client.set_registered_model_tag(name, f"{RECORD_TAG}{len(texts) + 1:06d}", text)
        self.client.set_registered_model_tag(name, HEAD_TAG, head_of(text))

    def _record(self, name: str) -> list[dict[str, Any]]:
        check_name(name, "model")
        model = self._registered(name)
        tags = model.tags if model else {}
        return follow(_record_texts(tags), tags.get(HEAD_TAG, ""), self._record_place(name))

    def _record_place(self, name: str) -> str:
        return f"registered model {name!r} at {masked(self.address)}"

    @tells_store_errors("list the models")
    def names(self) -> list[str]:
        """The models that this program registered, sorted."""
        names: list[str] = []
        token = None
        while True:
            found = self.client.search_registered_models(
                f"tags.`{Tag.OURS}` = 'true'", max_results=self.page, page_token=token
            )
            names += [model.name for model in found]
            if not (token := found.token):
                return sorted(names)

    @tells_store_errors("fetch the model")
    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        """As the port says, for every form `parse_reference` reads; what fails is removed again."""
        model, known = self._referenced(model_reference)
        make_empty(folder)
        try:
            copy_model(self.client, model, folder)
            (folder / _MLFLOW_NOTE).unlink(missing_ok=True)
            verify(folder, manifest_digest or known, model_reference)
        except DataError:
            shutil.rmtree(folder)
            raise
        return opened_folder(folder)

    def _turn(self, name: str) -> AbstractContextManager[None]:
        return self.turns(f"model-{name}")

    def _registered(self, name: str) -> RegisteredModel | None:
        try:
            return self.client.get_registered_model(name)
        except MlflowException as error:
            if absent(error):
                return None
            raise

    def _registered_or_new(self, name: str) -> RegisteredModel:
        model = self._registered(name)
        if model is None:
            return self.client.create_registered_model(name, tags={Tag.OURS: "true"})
        return model

    def _versions(self, name: str) -> Iterator[ModelVersion]:
        token = None
        while True:
            found = self.client.search_model_versions(
                f"name = '{name}'", max_results=self.page, page_token=token
            )
            yield from found
            if not (token := found.token):
                return

    def _register(self, name: str, fingerprint: str, model: LoggedModel) -> ModelVersion:
        reference = f"models:/{model.model_id}"
        served = scheme_of(self.address) in ("http", "https")
        made = self.client.create_model_version(
            name,
            # A database opened directly looks ``models:/`` up in the ambient store; a server,
            # in its own.
            source=reference if served else model.artifact_location,
            run_id=model.source_run_id,
            model_id=model.model_id,
            tags={
                Tag.MODEL: reference,
                Tag.RUN: model.source_run_id,
                Tag.FINGERPRINT: fingerprint,
                Tag.MANIFEST: _manifest_digest(model.tags, reference),
            },
            await_creation_for=0,
        )
        if not served:
            listed = json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
            listed.append({"name": name, "version": made.version})
            self.client.set_logged_model_tags(
                model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(listed)}
            )
        return made

    def _aliased(self, name: str, alias: str) -> int | None:
        model = self._registered(name)
        number = model.aliases.get(alias) if model else None
        return None if number is None else int(number)

    def _is_ours(self, name: str, number: int) -> bool:
        """Whether a rollback could go back to the version: others may move the alias to theirs."""
        return Tag.MANIFEST in self.client.get_model_version(name, str(number)).tags

    def _point(self, name: str, alias: str, number: int) -> None:
        self.client.set_registered_model_alias(name, alias, str(number))
        if (found := self._aliased(name, alias)) != number:
            raise StoreError(
                f"alias {alias!r} of {name!r}",
                masked(self.address),
                f"it was set to version {number} and is {found}",
                "look for another process that moves it, and promote again",
            )

    def _version(self, found: ModelVersion) -> Version:
        return Version(
            name=found.name,
            number=int(found.version),
            run_id=found.run_id or "",
            fingerprint=found.tags.get(Tag.FINGERPRINT, ""),
            # A version that others registered has no such tag: `fetch` says so.
            model_reference=found.tags.get(Tag.MODEL, f"models:/{found.name}/{found.version}"),
            manifest_digest=found.tags.get(Tag.MANIFEST, ""),
        )

    def _logged_model(self, model_id: str) -> LoggedModel:
        return self.client.get_logged_model(model_id)

    def _referenced(self, reference: str) -> tuple[LoggedModel, str]:
        """The logged model that a reference means, and what its manifest must hash to."""
        named = parse_reference(reference)
        if named.model_id:
            model = self._logged_model(named.model_id)
            return model, _manifest_digest(model.tags, reference)
        if named.run_id:
            return self._referenced(self._model_of(named.run_id))
        version = self.resolve(named.name, named.alias_or_number)
        if version is None:
            raise StoreError(
                f"model {reference}",
                masked(self.address),
                "there is no such version or alias",
                f"name one that `embedsweep history {named.name}` lists",
            )
        if not version.manifest_digest:
            raise _foreign(reference)
        model_id = parse_reference(version.model_reference).model_id
        return self._logged_model(model_id), version.manifest_digest

    def _model_of(self, run_id: str) -> str:
        """The reference of the model that a trial's run kept."""
        reference: str | None = self.client.get_run(run_id).data.tags.get(Tag.MODEL)
        if reference is None:
            raise DataError(
                f"run {run_id}", "MLflow", "it kept no model of ours", "name the run of a trial"
            )
        return reference


def _manifest_digest(tags: dict[str, str], where: str) -> str:
    digest = tags.get(Tag.MANIFEST)
    if not digest:
        raise _foreign(where)
    return digest


def _foreign(where: str) -> DataError:
    return DataError(
        f"model {where}",
        "the registry",
        "it has no manifest: it is not one of ours",
        "promote a trial of a sweep to a model name of its own",
    )


def _record_texts(tags: Mapping[str, str]) -> list[str]:
    """The entries of a model's record, by number; one that is missing leaves a gap that shows."""
    return [tags[name] for name in sorted(tags) if name.startswith(RECORD_TAG)]


if TYPE_CHECKING:
    _: type[Registry] = MlflowRegistry
