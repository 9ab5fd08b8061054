"""A model kept in MLflow: files any MLflow of a team can load, listed in a manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from embedsweep.core.errors import DataError, UserError
from embedsweep.core.ports import TrialStart
from embedsweep.stores.addresses import masked
from embedsweep.stores.manifest import MANIFEST_FILE, files_in, write_manifest
from embedsweep.stores.mlflow_flavour import describe, flavour_of
from embedsweep.stores.mlflow_run import Tag, last_step, params_of
from embedsweep.stores.store_errors import STORE_FAULTS, absent


def keep_model(
    client: MlflowClient,
    run: Run,
    start: TrialStart,
    folder: Path,
    companions: Mapping[str, str],
) -> str:
    """Keep a trial's model as a READY logged model of its run.

    Args:
        client: The store.
        run: The trial's run.
        start: The trial.
        folder: What the backend left.
        companions: Texts to keep beside it, by file name.

    Returns:
        The model's id, ``m-…``.

    Raises:
        UserError: The folder holds a file that no kept model may.
        OSError, MlflowException: The store broke; the model is FAILED, never READY.
    """
    model = client.create_logged_model(
        experiment_id=run.info.experiment_id,
        name=f"{start.role.value}-{start.number:04d}",
        source_run_id=run.info.run_id,
        params=params_of(start),
        tags={Tag.FINGERPRINT: start.fingerprint},
        model_type="embedding",
    )
    inside = flavour_of(start.recipe).folder
    try:
        with TemporaryDirectory() as scratch:
            description = Path(scratch)
            trained = files_in(folder, str(folder), inside)
            describe(model, start, trained, description)
            for name, text in companions.items():
                (description / name).write_text(text, encoding="utf-8")
            digest = write_manifest(
                {**trained, **files_in(description, str(folder))}, description / MANIFEST_FILE
            )
            client.log_model_artifacts(model.model_id, str(folder), inside)
            client.log_model_artifacts(model.model_id, str(description))
        client.set_logged_model_tags(model.model_id, {Tag.MANIFEST: digest})
        client.log_outputs(
            run.info.run_id, [LoggedModelOutput(model.model_id, last_step(start.recipe))]
        )
        client.finalize_logged_model(model.model_id, "READY")
    except (*STORE_FAULTS, UserError):
        client.finalize_logged_model(model.model_id, "FAILED")
        _discard(model.artifact_location)
        raise
    return str(model.model_id)


def copy_model(client: MlflowClient, model: LoggedModel, folder: Path) -> None:
    """Copy a logged model's files as they lie in the store, symbolic links as such.

    Where they are gone nothing is copied; the manifest will tell.
    The address is the model's own: MLflow's resolution of ``models:/…`` asks the ambient store.

    Raises:
        DataError: They were collected.
    """
    if (at := model.tags.get(Tag.COLLECTED)) is not None:
        raise DataError(
            f"files of models:/{model.model_id}",
            "the store of models",
            f"they were collected on {at} by `embedsweep gc`, which nothing needed them for; run "
            f"{model.source_run_id} has the recipe",
            "run `embedsweep sweep EXPERIMENT.yaml --new-study` and name one of its models",
        )
    if (here := _local_folder(model.artifact_location)) is not None:
        if here.is_dir():
            shutil.copytree(here, folder, symlinks=True, dirs_exist_ok=True)
        return
    _repository(client, model).download_artifacts("", dst_path=str(folder))


def holds_model(client: MlflowClient, reference: str) -> bool:
    """Whether the store still has the files of ``models:/m-…``; their content is not looked at."""
    try:
        model = client.get_logged_model(reference.removeprefix("models:/"))
    except MlflowException as error:
        if absent(error):
            return False
        raise
    return Tag.COLLECTED not in model.tags and bool(model_files(client, model))


def model_files(client: MlflowClient, model: LoggedModel) -> dict[str, int]:
    """The size in bytes, by path, of every file that a logged model has in the store."""
    if (here := _local_folder(model.artifact_location)) is not None:
        paths = [Path(root, name) for root, _, names in os.walk(here) for name in names]
        return {path.relative_to(here).as_posix(): path.lstat().st_size for path in paths}
    repository = _repository(client, model)
    files: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for found in repository.list_artifacts(folders.pop()):
            if found.is_dir:
                folders.append(found.path)
            else:
                files[found.path] = found.file_size or 0
    return files


def remove_model_files(client: MlflowClient, model: LoggedModel) -> None:
    """Remove a logged model's files from the store; those gone already are no matter.

    Raises:
        DataError: Its address does not name it: what lies there may be anybody's.
    """
    location = model.artifact_location
    if model.model_id not in urlsplit(location).path.split("/"):
        raise DataError(
            f"address {masked(location)} of models:/{model.model_id}",
            "the store of models",
            "it does not hold the model's own name, so that other files may lie there",
            "remove the files by hand",
        )
    if (here := _local_folder(location)) is None:
        if model_files(client, model):
            _repository(client, model).delete_artifacts()
        return
    if here.is_dir():
        shutil.rmtree(here)
    if here.parent.name == model.model_id:
        with suppress(OSError):  # something else lies beside the artefacts
            here.parent.rmdir()


def _repository(client: MlflowClient, model: LoggedModel) -> Any:  # noqa: ANN401 - MLflow's, untyped
    return get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)


def _local_folder(location: str) -> Path | None:
    """The folder of this machine that an artefact address names; None for another machine's."""
    # Not every artefact address has two slashes: mlflow-artifacts:/1/models
    parts = urlsplit(location)
    if parts.scheme == "":
        return Path(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _discard(location: str) -> None:
    """Free the room that a model not kept takes on this machine."""
    if (here := _local_folder(location)) is not None:
        shutil.rmtree(here, ignore_errors=True)
