"""What stands beside a kept model: how it was made, on what, what it measured, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from embedsweep.core.dataset import Dataset
from embedsweep.core.ports import OpenSweep
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.core.report import Report
from embedsweep.core.trial import Trial
from embedsweep.workflows.services import Card

RECIPE_FILE = "recipe.json"
REPORT_FILE = "report.json"
PROVENANCE_FILE = "provenance.json"
CARD_FILE = "README.md"


def provenance(
    trial: Trial,
    sweep: OpenSweep,
    dataset: Dataset,
    surroundings: Mapping[str, Any],
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Where a trial's model comes from.

    Args:
        trial: The trial.
        sweep: Its sweep.
        dataset: What it was trained and measured on.
        surroundings: As `Services.provenance` tells them; a ``base_model`` among them is joined
            with what the sweep knows of it.
        facts: What the backend told of the training.

    Returns:
        JSON-able values. No path of this machine is among them but those the recipe names.
    """
    rest = dict(surroundings)
    told = rest.pop("base_model", {})
    base = trial.recipe.base
    digest = sweep.identity.get("base_models", {}).get(str(base))
    return {
        "experiment": sweep.name,
        "sweep": {"run_id": sweep.run_id, "digest": sweep.digest},
        "trial": {
            "run_id": trial.run_id,
            "role": trial.role.value,
            "number": trial.number,
            "arm": trial.arm,
            "fingerprint": trial.fingerprint,
            "kept_epoch": trial.kept_epoch,
        },
        "base_model": {**asdict(base), "digest": digest, **told} if base else None,
        "data": {
            "name": dataset.name,
            "format": dataset.format,
            "score_range": dataset.score_range,
            "splits": {
                split.value: {"sha256": digest, "rows": dataset.rows[split]}
                for split, digest in dataset.digests.items()
            },
        },
        "training": dict(facts),
        **rest,
    }


def companions(
    trial: Trial, report: Report, origin: Mapping[str, Any], card: Card
) -> dict[str, str]:
    """The files' contents by name.

    The report is the one that the trial's run keeps, less its scores of single queries and
    examples, which grow with the data.
    """
    return {
        RECIPE_FILE: _json(recipe_as_dict(trial.recipe)),
        REPORT_FILE: _json(_summary(report)),
        PROVENANCE_FILE: _json(origin),
        CARD_FILE: card(trial, provenance=origin),
    }


def _summary(report: Report) -> dict[str, Any]:
    values = report.as_dict()
    counts = {name: len(scores) for name, scores in values["scores"].items()}
    kept = ("benchmark", "split", "means", "per_class", "facts")
    return {**{name: values[name] for name in kept}, "n": counts}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
