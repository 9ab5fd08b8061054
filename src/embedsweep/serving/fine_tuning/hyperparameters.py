"""From the hyperparameters of a job and the data it trains on to a recipe."""

from __future__ import annotations

from collections.abc import Mapping

from embedsweep.core.dataset import TrainingSet, unfit
from embedsweep.core.recipe import DataForm, LocalRecipe, Loss

AUTO = "auto"
STANDARD = ("n_epochs", "batch_size", "learning_rate_multiplier")
"""OpenAI's own."""

EPOCHS = 3
BATCH_SIZE = 32
LEARNING_RATE = 2e-5
"""What a learning_rate_multiplier of 1 is."""

Value = int | float | str


class Unfit(Exception):
    """The hyperparameters and the training file do not go together; says why."""


def stray_knob(loss: Loss, values: Mapping[str, Value]) -> str | None:
    """What is wrong with the knobs beside the loss, or None."""
    for name in ("scale", "margin"):
        if name in values and name not in loss.knobs:
            own = ", ".join(loss.knobs) or "no knobs"
            return f"{name}: the loss {loss.value} has no {name}; it has {own}"
    return None


def resolved(
    values: Mapping[str, Value], base_model: str, seed: int, data: TrainingSet
) -> tuple[LocalRecipe, dict[str, Value]]:
    """The recipe, and the hyperparameters with nothing left open.

    Args:
        values: By name; `AUTO` for what is left open.
        base_model: Its name.
        seed: The job's.
        data: What is trained on; decides the loss and the batch size where they are left open.

    Raises:
        Unfit: The data cannot feed the loss, or a knob is none of the loss's.
    """

    def number(name: str, default: float) -> float:
        value = values.get(name, AUTO)
        return default if isinstance(value, str) else value

    loss = Loss(str(values["loss"])) if "loss" in values else suitable_loss(data)
    if stray := stray_knob(loss, values):
        raise Unfit(stray)
    multiplier = number("learning_rate_multiplier", 1.0)
    knobs = {name: float(values[name]) for name in ("scale", "margin") if name in values}
    recipe = LocalRecipe(
        base_model=base_model,
        loss=loss,
        epochs=int(number("n_epochs", EPOCHS)),
        learning_rate=LEARNING_RATE * multiplier,
        batch_size=int(number("batch_size", max(2, min(BATCH_SIZE, len(data))))),
        seed=seed,
        scale=knobs.get("scale"),
        margin=knobs.get("margin"),
    )
    if (why := unfit(recipe, data)) is not None:
        raise Unfit(why)
    settled: dict[str, Value] = {
        "n_epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate_multiplier": multiplier,
        "loss": loss.value,
        **knobs,
    }
    return recipe, settled


def suitable_loss(data: TrainingSet) -> Loss:
    """What to train with where nobody says.

    Triplets train on their negatives, scored pairs on their order. Pairs, and labels of which one
    has two texts, train on the other texts of the batch, which suits few rows as well as many; a
    data set in which every text has a label of its own can but learn to tell the labels apart.
    """
    if data.pairs and all(pair.negatives for pair in data.pairs):
        return Loss.TRIPLET
    if data.scored:
        return Loss.COSENT
    if DataForm.PAIRS in data.forms:
        return Loss.MULTIPLE_NEGATIVES_RANKING
    return Loss.SOFTMAX
