"""A model kept in MLflow: files any MLflow of a team can load, listed in a manifest."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.models import Model, ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types.llm import EMBEDDING_MODEL_INPUT_SCHEMA, EMBEDDING_MODEL_OUTPUT_SCHEMA

from embedsweep.core.errors import UserError
from embedsweep.core.ports import TrialStart
from embedsweep.stores.manifest import MANIFEST_FILE, MODEL_FOLDER, files_in, write_manifest
from embedsweep.stores.mlflow_run import Tag, last_step, params_of
from embedsweep.stores.store_errors import STORE_FAULTS

_TASK = "llm/v1/embeddings"
_LIBRARIES = ("mlflow", "sentence-transformers", "transformers", "torch")
_CONDA_FILE = "conda.yaml"
_PYTHON_FILE = "python_env.yaml"
_REQUIREMENTS_FILE = "requirements.txt"


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
    try:
        with TemporaryDirectory() as scratch:
            description = Path(scratch)
            trained = files_in(folder, str(folder), MODEL_FOLDER)
            _describe(model, start, trained, description)
            digest = write_manifest(
                {**trained, **files_in(description, str(folder))}, description / MANIFEST_FILE
            )
            client.log_model_artifacts(model.model_id, str(folder), MODEL_FOLDER)
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


def _describe(
    model: LoggedModel, start: TrialStart, files: Mapping[str, Path], folder: Path
) -> None:
    """Write what MLflow's sentence-transformers flavour writes beside a model."""
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in _LIBRARIES]
    (folder / _REQUIREMENTS_FILE).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    python = platform.python_version()
    _write_yaml(
        folder / _PYTHON_FILE,
        {
            "python": python,
            "build_dependencies": ["pip", "setuptools", "wheel"],
            "dependencies": [f"-r {_REQUIREMENTS_FILE}"],
        },
    )
    dependencies = [f"python={python}", "pip", {"pip": requirements}]
    _write_yaml(
        folder / _CONDA_FILE,
        {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies},
    )
    described = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        signature=ModelSignature(EMBEDDING_MODEL_INPUT_SCHEMA, EMBEDDING_MODEL_OUTPUT_SCHEMA),
        metadata={"task": _TASK, Tag.FINGERPRINT.value: start.fingerprint},
        model_size_bytes=sum(path.stat().st_size for path in files.values()),
    )
    pyfunc.add_to_model(
        described,
        loader_module="mlflow.sentence_transformers",
        data=MODEL_FOLDER,
        conda_env=_CONDA_FILE,
        python_env=_PYTHON_FILE,
        model_config={"task": _TASK},
    )
    described.add_flavor(
        "sentence_transformers",
        sentence_transformers_version=version("sentence-transformers"),
        source_model_name=start.recipe.base_model,
        code=None,
    )
    described.save(folder / "MLmodel")


def _write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")


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
