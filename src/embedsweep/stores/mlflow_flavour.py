"""What stands beside a kept model, so that any MLflow of a team can load it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from mlflow import pyfunc
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec
from mlflow.types.llm import EMBEDDING_MODEL_OUTPUT_SCHEMA

from embedsweep.core.ports import TrialStart
from embedsweep.core.recipe import AdapterRecipe, LocalRecipe, Recipe
from embedsweep.stores.manifest import OWN_FOLDER, SENTENCE_TRANSFORMERS_FOLDER
from embedsweep.stores.mlflow_run import Tag

_ROLE = ParamSchema([ParamSpec("input_type", DataType.string, default=None)])
"""The inputs have no schema: with one, MLflow drops a column of roles or rejects lists."""

_TASK = "llm/v1/embeddings"
_CONDA_FILE = "conda.yaml"
_PYTHON_FILE = "python_env.yaml"
_REQUIREMENTS_FILE = "requirements.txt"


@dataclass(frozen=True)
class Flavour:
    """How MLflow loads a kind of model.

    Attributes:
        folder: Where the model is, next to its description.
        libraries: What `_LOADER` needs to open it.
    """

    folder: str
    libraries: tuple[str, ...]


_LOADER = "embedsweep.wiring.pyfunc"
"""Opens every kind of model. MLflow's own loader knows no roles, and runs code from the model."""

WEIGHTS = Flavour(
    SENTENCE_TRANSFORMERS_FOLDER,
    ("embedsweep", "mlflow", "sentence-transformers", "transformers", "torch"),
)
ADAPTER = Flavour(
    OWN_FOLDER, ("embedsweep", "mlflow", "sentence-transformers", "torch", "safetensors", "openai")
)
HOSTED = Flavour(OWN_FOLDER, ("embedsweep", "mlflow", "openai"))


def flavour_of(recipe: Recipe) -> Flavour:
    """How the models of a recipe are loaded."""
    if isinstance(recipe, AdapterRecipe):
        return ADAPTER
    is_ours = isinstance(recipe, LocalRecipe) or recipe.base is None or not recipe.base.provider
    return WEIGHTS if is_ours else HOSTED


def describe(
    model: LoggedModel, start: TrialStart, files: Mapping[str, Path], folder: Path
) -> None:
    """Write into a folder what MLflow keeps beside a model's files."""
    flavour = flavour_of(start.recipe)
    requirements = _requirements(flavour.libraries)
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
        signature=ModelSignature(outputs=EMBEDDING_MODEL_OUTPUT_SCHEMA, params=_ROLE),
        metadata={"task": _TASK, Tag.FINGERPRINT.value: start.fingerprint},
        model_size_bytes=sum(path.stat().st_size for path in files.values()),
    )
    pyfunc.add_to_model(
        described,
        loader_module=_LOADER,
        data=flavour.folder,
        conda_env=_CONDA_FILE,
        python_env=_PYTHON_FILE,
    )
    if flavour is WEIGHTS:
        described.add_flavor(
            "sentence_transformers",
            sentence_transformers_version=version("sentence-transformers"),
            source_model_name=start.recipe.base_model,
            code=None,
        )
    described.save(folder / "MLmodel")


@cache
def _requirements(libraries: tuple[str, ...]) -> list[str]:
    """The libraries in the versions that are installed, which stay while this process runs."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in libraries]


def _write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
