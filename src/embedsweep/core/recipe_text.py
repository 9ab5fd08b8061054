"""A recipe as one line of text."""

from __future__ import annotations

from embedsweep.core.recipe import (
    AdapterRecipe,
    BaselineRecipe,
    HostedRecipe,
    LocalRecipe,
    Recipe,
    TunedRecipe,
)


def recipe_in_words(recipe: Recipe, kept_epoch: int | None = None) -> str:
    """The recipe on one line, for people.

    Args:
        recipe: The recipe.
        kept_epoch: The epoch that was kept, where the recipe leaves a choice and it was made.
    """
    if isinstance(recipe, BaselineRecipe):
        return f"{recipe.method} {recipe.base}" if recipe.base else recipe.method
    loss = recipe.loss.value if recipe.loss else "the server's loss"
    common = f"{loss}, {_epochs_in_words(recipe, kept_epoch)}"
    if isinstance(recipe, HostedRecipe):
        rate = f"lr x {recipe.learning_rate_multiplier:.3g}"
        return f"job: {common}, {rate}, batch {recipe.batch_size}"
    knobs = ((name, getattr(recipe, name)) for name in recipe.loss.knobs)
    own = "".join(f", {name} {value:g}" for name, value in knobs if value is not None)
    own += ", with prompts" if recipe.prompts else ""
    rate = f"lr {recipe.learning_rate:.2e}"
    return f"{_part_in_words(recipe)}{common}, {rate}, batch {recipe.batch_size}{own}"


def _part_in_words(recipe: LocalRecipe | AdapterRecipe) -> str:
    """What is trained, where that is not the whole model."""
    if isinstance(recipe, AdapterRecipe):
        return f"{recipe.head.value}{f' {recipe.width}' if recipe.width else ''} head: "
    count = recipe.train_layers
    layers = f"last {f'{count} layers' if count > 1 else 'layer'}" if count else ""
    rank = f"LoRA of rank {recipe.lora_rank}" if recipe.lora_rank else ""
    part = f"{rank} in the {layers}" if rank and layers else rank or layers
    return f"{part}: " if part else ""


def _epochs_in_words(recipe: TunedRecipe, kept_epoch: int | None) -> str:
    if isinstance(recipe, HostedRecipe) or recipe.keep_from is None:
        return _counted(recipe.epochs)
    choice = f"{recipe.keep_from} to {recipe.epochs}"
    return f"{_counted(kept_epoch)} of {choice}" if kept_epoch else f"{choice} epochs"


def _counted(epochs: int) -> str:
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"
