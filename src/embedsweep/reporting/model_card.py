"""The model card: what a model is, how it was made, and on what evidence it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from embedsweep.core.promotion import Comparison, Decision
from embedsweep.core.recipe import (
    AdapterRecipe,
    BaselineRecipe,
    LocalRecipe,
    Recipe,
    recipe_as_dict,
)
from embedsweep.core.trial import Trial

SHOWN_REASONS = 6
SHOWN_REASON = 200
"""Of a decision: reasons, and characters of each. MLflow keeps 5000 characters of a description."""

WEIGHTS_FOLDER = "model.sentence_transformer"
"""Where in a kept model the weights lie; MLflow's flavour names it so."""


def model_card(
    trial: Trial,
    decision: Decision | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The card of a trial's model as Markdown.

    Args:
        trial: The trial that made it.
        decision: What came of judging it on the test split; None if nobody has.
        provenance: What is kept of where it comes from. With it the card is that of a folder of
            files and begins with the lines that the Hugging Face hub reads; without, it is a
            description of at most 5000 characters.
    """
    parts = [
        _title(trial, decision),
        _recipe(trial),
        _data(provenance) if provenance else [],
        _measures(trial),
        _evidence(decision) if decision else [],
        _use(trial, decision, is_folder=provenance is not None),
        _limits(trial, decision),
    ]
    body = "\n\n".join("\n".join(part) for part in parts if part)
    return f"{_front(trial) if provenance else ''}{body}\n"


def _front(trial: Trial) -> str:
    lines = ["---", "tags: [embedsweep, sentence-transformers, feature-extraction]"]
    if _has_weights(trial.recipe):
        lines += ["library_name: sentence-transformers", "pipeline_tag: feature-extraction"]
    base = trial.recipe.base
    if base is not None and base.provider is None and base.model.count("/") == 1:
        lines.append(f"base_model: {json.dumps(base.model)}")
    return "\n".join([*lines, "---", "", ""])


def _title(trial: Trial, decision: Decision | None) -> list[str]:
    name = f"{decision.model} version {decision.version}: " if decision else ""
    what = f"{trial.role.value} {trial.number}"
    base = trial.recipe.base
    if isinstance(trial.recipe, BaselineRecipe):
        kind = f"The embedding model {base} as it comes, measured and not tuned."
    elif isinstance(trial.recipe, LocalRecipe):
        kind = f"The embedding model {base}, fine-tuned; all of its weights are here."
    elif isinstance(trial.recipe, AdapterRecipe):
        kind = f"A small head on the vectors of {base}, which stays as it is and is not here."
    else:
        kind = f"A fine-tune of {base} that its provider holds; here is what finds it again."
    return [f"# {name}{what}", "", kind]


def _recipe(trial: Trial) -> list[str]:
    knobs = recipe_as_dict(trial.recipe)
    shown = ", ".join(f"{name} {value}" for name, value in knobs.items() if name != "kind")
    return [
        "## How it was made",
        "",
        f"{trial.recipe_in_words} (arm {trial.arm}).",
        "",
        f"Recipe: {shown}.",
        f"Fingerprint of recipe, data and base: `{trial.fingerprint}`. MLflow run: "
        f"`{trial.run_id}`.",
    ]


def _data(provenance: Mapping[str, Any]) -> list[str]:
    data, base = provenance["data"], provenance["base_model"] or {}
    lines = [
        "## What it comes from",
        "",
        f"Data set {data['name']} ({data['format']}), experiment {provenance['experiment']}:",
        "",
        "| split | rows | SHA-256 |",
        "|---|---|---|",
        *(
            f"| {split} | {told['rows']} | `{told['sha256']}` |"
            for split, told in data["splits"].items()
        ),
        "",
    ]
    if data.get("score_range"):
        lines.append("The scale of the scores is {:g} to {:g}.".format(*data["score_range"]))
    known = {name: base.get(name) for name in ("digest", "commit", "package")}
    named = [f"{name} `{value}`" for name, value in known.items() if value]
    if named:
        lines.append(f"Base model: {', '.join(named)}.")
    if (code := provenance.get("code")) is not None:
        state = {True: ", with changes", False: "", None: ", changes unknown"}[code["dirty"]]
        lines.append(f"The project's commit: `{code['commit']}`{state}.")
    return [*lines, "The rest is in `provenance.json`."]


def _measures(trial: Trial) -> list[str]:
    return [
        "## Measured on the validation split",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in sorted(trial.metrics.items())),
        "",
        "The sweep chose among its trials by these values: the best one's are too high by the luck "
        "of having been picked.",
    ]


def _evidence(decision: Decision) -> list[str]:
    lines = [
        "## Evidence on the sealed test split",
        "",
        f"**{decision.verdict.value}**, {decision.at}, by {decision.by}; look {decision.look} at "
        f"this test split, the best of {decision.trials_tried} trials.",
        "",
    ]
    if (found := decision.comparison) is not None:
        lines += [*_numbers(found), "", *_differences(found)]
    reasons = [reason[:SHOWN_REASON] for reason in decision.reasons[:SHOWN_REASONS]]
    return [*lines, *(f"- {reason}" for reason in reasons)]


def _numbers(found: Comparison) -> Iterator[str]:
    low, high = found.interval
    yield f"| {found.measure} | value |"
    yield "|---|---|"
    yield f"| this model | {found.candidate:.4f} |"
    yield f"| champion before | {found.rival:.4f} |"
    yield f"| gain | {found.gain:+.4f} |"
    yield f"| {found.confidence:.0%} interval | {low:+.4f} to {high:+.4f} |"
    yield f"| p (one-sided) | {found.p_value:.4g} |"
    yield f"| n | {found.n} |"
    yield f"| better / equal / worse | {found.wins} / {found.ties} / {found.losses} |"
    yield f"| smallest detectable gain | {found.smallest_detectable:.4f} |"


def _differences(found: Comparison) -> Iterator[str]:
    """Yield the changes of the other headline metrics."""
    if not found.differences:
        return
    yield f"| other metric | this model | champion before | gain, {found.confidence:.0%} interval |"
    yield "|---|---|---|---|"
    for each in found.differences:
        low, high = each.interval
        yield (
            f"| {each.measure} | {each.candidate:.4f} | {each.champion:.4f} | {each.gain:+.4f}, "
            f"{low:+.4f} to {high:+.4f}{each.remark} |"
        )
    yield ""


def _use(trial: Trial, decision: Decision | None, *, is_folder: bool) -> list[str]:
    reference = f"models:/{decision.model}/{decision.version}" if decision else ""
    named = reference or f"runs:/{trial.run_id}"
    lines = ["## How to use it", "", "```sh"]
    if decision:
        lines.append(f"embedsweep serve {decision.model}   # the champion, over the OpenAI API")
    lines += [
        f"embedsweep embed {named} < texts.txt",
        f"embedsweep export {named} FOLDER",
        "```",
    ]
    place = '"."' if is_folder else f'"{named}"'
    code = []
    if is_folder or decision:
        code += [
            "import mlflow",
            f"model = mlflow.pyfunc.load_model({place})",
            'vectors = model.predict(["a text"], params={"input_type": "query"})',
        ]
    if _has_weights(trial.recipe):
        folder = WEIGHTS_FOLDER if is_folder else "FOLDER"
        code += [
            "from sentence_transformers import SentenceTransformer",
            f'vectors = SentenceTransformer("{folder}").encode(["a text"])',
        ]
    if not code:
        return lines
    return [*lines, "", "```python", *code, "```"]


def _limits(trial: Trial, decision: Decision | None) -> list[str]:
    lines = ["## Limits", ""]
    if decision is None:
        lines.append("- Not judged on the test split by this card: the registry's description has")
        lines.append("  the verdict, if there is one.")
    lines += [
        "- Its measures hold for texts like those of its data set, and for no others.",
        "- An index built with its vectors can be searched with this version's alone.",
        "- `canaries.json` holds texts of the validation split: who may read the model reads them.",
    ]
    if not _has_weights(trial.recipe):
        lines.append("- It works as long as the model it stands on is there and unchanged.")
    return lines


def _has_weights(recipe: Recipe) -> bool:
    base = recipe.base
    if isinstance(recipe, BaselineRecipe):
        return base is not None and base.provider is None
    return isinstance(recipe, LocalRecipe)
