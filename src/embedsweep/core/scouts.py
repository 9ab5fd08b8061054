"""Scouts: heads on a frozen model that stand in for full fine-tunes, in a fraction of the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any

from embedsweep.core.design import Point
from embedsweep.core.recipe import AdapterRecipe, Head, LocalRecipe, Loss, recipe_as_dict

LOCAL_RATES, HEAD_RATES = (5e-6, 2e-4), (1e-5, 1e-2)
"""The rates of full fine-tunes that change little and those that may be too high, and what does as
much to a linear head. Between and beyond them one rate is a power of the other."""

_POWER = log(HEAD_RATES[1] / HEAD_RATES[0]) / log(LOCAL_RATES[1] / LOCAL_RATES[0])

TAKEN = 3
"""So many scouts of an arm are taken, at most."""


def head_rate(rate: float) -> float:
    """The rate of a linear head that stands for a full fine-tune's; at most 1."""
    return min(1.0, HEAD_RATES[0] * float((rate / LOCAL_RATES[0]) ** _POWER))


def scout_of(recipe: LocalRecipe) -> AdapterRecipe:
    """The recipe as it is tried on frozen vectors: same loss and knobs, epochs, rows and seed.

    What only a whole model has (``train_tokens``, ``train_layers``, ``lora_rank``) changes nothing.
    """
    cached = recipe.loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING
    return AdapterRecipe(
        base_model=recipe.base_model,
        revision=recipe.revision,
        head=Head.LINEAR,
        loss=Loss.MULTIPLE_NEGATIVES_RANKING if cached else recipe.loss,
        epochs=recipe.epochs,
        keep_from=recipe.keep_from,
        learning_rate=head_rate(recipe.learning_rate),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        scale=recipe.scale,
        margin=recipe.margin,
        prompts=recipe.prompts,
    )


@dataclass(frozen=True)
class Scout:
    """A recipe that was tried as a scout.

    Attributes:
        point: Where it is in the search space.
        recipe: The full fine-tune.
        score: The objective of the head's best epoch; None where it failed.
    """

    point: Point
    recipe: LocalRecipe
    score: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "arm": self.point.arm,
            "recipe": recipe_as_dict(self.recipe),
            "scout": recipe_as_dict(scout_of(self.recipe)),
            "score": self.score,
        }


def best_scouts(scouts: Iterable[Scout]) -> dict[str, list[Scout]]:
    """By arm, the `TAKEN` best, the best first; those that failed are none of them."""
    scored = [(scout.score, scout) for scout in scouts if scout.score is not None]
    best: dict[str, list[Scout]] = {}
    for _, scout in sorted(scored, key=lambda row: -row[0]):
        best.setdefault(scout.point.arm, []).append(scout)
    return {arm: own[:TAKEN] for arm, own in best.items()}


def led_by(design: Iterable[Point], best: Mapping[str, Iterable[Scout]]) -> list[Point]:
    """The design with a scout's point in place of every second one of its arm, from the first on.

    The others stay spread over the whole range, in case the scouts lead astray.
    """
    waiting = {arm: iter(own) for arm, own in best.items()}
    seen: Counter[str] = Counter()
    led = []
    for point in design:
        is_led = seen[point.arm] % 2 == 0
        scout = next(waiting.get(point.arm, iter(())), None) if is_led else None
        led.append(scout.point if scout else point)
        seen[point.arm] += 1
    return led
