"""How a trial is written as an MLflow run, and read back from it."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum

from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import DataError
from embedsweep.core.fingerprint import canonical_json
from embedsweep.core.ports import OpenSweep, TrialEnd, TrialStart
from embedsweep.core.recipe import (
    BaselineRecipe,
    Recipe,
    recipe_as_dict,
    recipe_from_dict,
)
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Role, Trial
from embedsweep.stores.owner import Owner
from embedsweep.stores.trial_end import finite, scores

ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
SHOWN_MESSAGE = 5000
"""Characters of a failure's message that a tag holds on every MLflow server."""

_MEBIBYTE = 2**20
_CONTEXTS = {Split.TRAIN: "training", Split.VALID: "validation"}


class Tag(StrEnum):
    """Our tags on runs, models and versions."""

    OURS = "embedsweep"
    KIND = "embedsweep.kind"
    DIGEST = "embedsweep.digest"
    OBJECTIVE = "embedsweep.objective"
    ROLE = "embedsweep.role"
    NUMBER = "embedsweep.number"
    ARM = "embedsweep.arm"
    FINGERPRINT = "embedsweep.fingerprint"
    RECIPE = "embedsweep.recipe"
    OWNER = "embedsweep.owner"
    STATE = "embedsweep.state"
    PRUNED_EPOCH = "embedsweep.pruned_epoch"
    KEPT_EPOCH = "embedsweep.kept_epoch"
    FAILURE_KIND = "embedsweep.failure_kind"
    FAILURE_MESSAGE = "embedsweep.failure_message"
    NON_FINITE = "embedsweep.non_finite"
    INTERRUPTED = "embedsweep.interrupted"
    REAPED = "embedsweep.reaped"
    REUSED_FROM = "embedsweep.reused_from"
    MODEL = "embedsweep.model"
    MANIFEST = "embedsweep.manifest"
    RUN = "embedsweep.run"
    VERDICT = "embedsweep.verdict"
    VERSION = "embedsweep.version"
    COLLECTED = "embedsweep.collected"


def origin_tags() -> dict[str, str]:
    """Who made a run, as MLflow's pages show it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        user = str(os.getuid())
    return {MLFLOW_USER: user, MLFLOW_SOURCE_NAME: "embedsweep"}


def run_name(start: TrialStart) -> str:
    """Such as ``baseline-0-untuned`` and ``trial-0007-local-triplet``."""
    if isinstance(start.recipe, BaselineRecipe):
        return f"{start.role.value}-{start.number}-{start.recipe.method}"
    loss = f"-{start.recipe.loss.value}" if start.recipe.loss else ""
    return f"{start.role.value}-{start.number:04d}-{start.arm}{loss}"


def start_tags(sweep: OpenSweep, start: TrialStart) -> dict[str, str]:
    """The tags of a trial that begins."""
    return {
        **origin_tags(),
        MLFLOW_PARENT_RUN_ID: sweep.run_id,
        Tag.KIND: "trial",
        Tag.ROLE: start.role.value,
        Tag.NUMBER: str(start.number),
        Tag.ARM: start.arm,
        Tag.FINGERPRINT: start.fingerprint,
        Tag.RECIPE: canonical_json(recipe_as_dict(start.recipe)),
        Tag.OWNER: str(Owner.here()),
    }


def params_of(start: TrialStart) -> dict[str, str]:
    """The recipe's fields, for MLflow's tables; the recipe itself is in a tag and an artefact."""
    fields = {name: str(value) for name, value in recipe_as_dict(start.recipe).items()}
    return {**fields, "arm": start.arm}


def trial_params(start: TrialStart, dataset: Dataset) -> list[Param]:
    """Return the params of a new trial: its recipe, and the scale of scored pairs."""
    params = params_of(start)
    if dataset.score_range is not None:
        params["data/score_range"] = "{:g} to {:g}".format(*dataset.score_range)
    return param_entities(params)


def dataset_inputs(dataset: Dataset) -> list[DatasetInput]:
    """The training and validation data of a trial, by content."""
    return [
        DatasetInput(
            DatasetEntity(
                name=split.value,
                digest=dataset.digests[split][:32],
                source_type="code" if dataset.format == "builtin" else "local",
                source=canonical_json({"uri": dataset.sources[split]}),
                profile=canonical_json({"dataset": dataset.name, "rows": dataset.rows[split]}),
            ),
            [InputTag(MLFLOW_DATASET_CONTEXT, context)],
        )
        for split, context in _CONTEXTS.items()
    ]


def validation_data(run: Run) -> tuple[str, str] | None:
    """Name and digest of the validation data among a run's inputs."""
    for given in run.inputs.dataset_inputs if run.inputs else ():
        if any(tag.value == _CONTEXTS[Split.VALID] for tag in given.tags):
            return given.dataset.name, given.dataset.digest
    return None


def metric_entities(
    values: Mapping[str, float],
    step: int,
    model_id: str | None = None,
    data: tuple[str, str] | None = None,
) -> list[Metric]:
    """The values as metrics of now.

    Args:
        values: Finite values by name.
        step: The epoch.
        model_id: The model they are of.
        data: Name and digest of the data they were measured on.
    """
    now = int(time.time() * 1000)
    name, digest = data or (None, None)
    return [
        Metric(key, value, now, step, model_id=model_id, dataset_name=name, dataset_digest=digest)
        for key, value in values.items()
    ]


def param_entities(values: Mapping[str, str]) -> list[Param]:
    return [Param(name, value) for name, value in values.items()]


def tag_entities(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value) for name, value in values.items()]


def last_step(recipe: Recipe) -> int:
    return 0 if isinstance(recipe, BaselineRecipe) else recipe.epochs


def end_params(trial: Trial, end: TrialEnd) -> dict[str, str]:
    """What is known of a trial at its end, for MLflow's tables."""
    kept = {} if trial.kept_epoch is None else {"kept_epoch": str(trial.kept_epoch)}
    return {**end.facts, **kept}


def end_metrics(end: TrialEnd) -> dict[str, float]:
    """What a trial took and what its report says of the measuring itself."""
    facts = end.report.facts if end.report else {}
    # A power of two keeps the bytes exact.
    costs = {"seconds": end.seconds, "peak_memory_mb": end.peak_memory / _MEBIBYTE}
    if end.bill is not None:
        costs |= asdict(end.bill)
    return finite({**costs, **{f"facts/{name}": value for name, value in facts.items()}})


def end_tags(trial: Trial, end: TrialEnd) -> dict[str, str]:
    """The tags of a trial that ended."""
    tags = outcome_tags(trial.outcome)
    if trial.model_reference is not None:
        tags[Tag.MODEL] = trial.model_reference
    if trial.reused_from is not None:
        tags[Tag.REUSED_FROM] = trial.reused_from
    if trial.kept_epoch is not None:
        tags[Tag.KEPT_EPOCH] = str(trial.kept_epoch)
    return {**tags, **non_finite_tags(end.report.metrics() if end.report else {})}


def non_finite_tags(values: Mapping[str, float]) -> dict[str, str]:
    """A tag that names the values left out because they are no numbers."""
    names = sorted(values.keys() - finite(values).keys())
    return {Tag.NON_FINITE: ", ".join(names)[:SHOWN_MESSAGE]} if names else {}


def outcome_tags(outcome: Outcome) -> dict[str, str]:
    if isinstance(outcome, Failed):
        return {
            Tag.STATE: "failed",
            Tag.FAILURE_KIND: outcome.kind,
            Tag.FAILURE_MESSAGE: outcome.message[:SHOWN_MESSAGE],
        }
    if isinstance(outcome, Pruned):
        return {Tag.STATE: "pruned", Tag.PRUNED_EPOCH: str(outcome.epoch)}
    return {Tag.STATE: "completed"}


def is_whole(run: Run) -> bool:
    """Whether a trial's run ended as a trial does: it runs no more and was not interrupted."""
    tags = run.data.tags
    return run.info.status in ENDED and Tag.INTERRUPTED not in tags and Tag.STATE in tags


def trial_of(run: Run) -> Trial:
    """The trial that a whole run records.

    Raises:
        DataError: The run was written by another version of this program.
    """
    tags, metrics = run.data.tags, run.data.metrics
    try:
        outcome = _outcome(tags)
        return Trial(
            number=int(tags[Tag.NUMBER]),
            role=Role(tags[Tag.ROLE]),
            arm=tags[Tag.ARM],
            recipe=recipe_from_dict(json.loads(tags[Tag.RECIPE])),
            fingerprint=tags[Tag.FINGERPRINT],
            outcome=outcome,
            metrics={} if isinstance(outcome, Failed) else scores(metrics),
            seconds=metrics.get("seconds", 0.0),
            peak_memory=round(metrics.get("peak_memory_mb", 0.0) * _MEBIBYTE),
            run_id=run.info.run_id,
            model_reference=None if Tag.COLLECTED in tags else tags.get(Tag.MODEL),
            reused_from=tags.get(Tag.REUSED_FROM),
            kept_epoch=int(tags[Tag.KEPT_EPOCH]) if Tag.KEPT_EPOCH in tags else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"run {run.info.run_name}",
            f"MLflow run {run.info.run_id}",
            f"its tags are no trial of this version: {error}",
            "use the version that wrote it, or give the experiment another name",
        ) from error


def _outcome(tags: Mapping[str, str]) -> Outcome:
    state = tags[Tag.STATE]
    if state == "failed":
        return Failed(tags[Tag.FAILURE_KIND], tags[Tag.FAILURE_MESSAGE])
    if state == "pruned":
        return Pruned(int(tags[Tag.PRUNED_EPOCH]))
    if state == "completed":
        return Completed()
    raise ValueError(f"state is {state!r}")
