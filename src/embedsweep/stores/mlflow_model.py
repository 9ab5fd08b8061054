"""A model kept in MLflow: files any MLflow of a team can load, listed in a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from embedsweep.core.errors import UserError
from embedsweep.core.ports import TrialStart
from embedsweep.stores.manifest import MANIFEST_FILE, files_in, write_manifest
from embedsweep.stores.mlflow_flavour import describe, flavour_of
from embedsweep.stores.mlflow_run import Tag, last_step, params_of
from embedsweep.stores.store_errors import STORE_FAULTS


def keep_model(client: MlflowClient, run: Run, start: TrialStart, folder: Path) -> str:
    """Keep a trial's model as a READY logged model of its run.

    Args:
        client: The store.
        run: The trial's run.
        start: The trial.
        folder: What the backend left.

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
    """
    location = model.artifact_location
    if (here := _local_folder(location)) is not None:
        if here.is_dir():
            shutil.copytree(here, folder, symlinks=True, dirs_exist_ok=True)
        return
    repository: Any = get_artifact_repository(location, tracking_uri=client.tracking_uri)
    repository.download_artifacts("", dst_path=str(folder))


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
