"""Scouts stand in for full fine-tunes, and the best of them come first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedsweep.core.design import Point
from embedsweep.core.recipe import Head, LocalRecipe, Loss, recipe_from_dict
from embedsweep.core.scouts import (
    HEAD_RATES,
    LOCAL_RATES,
    TAKEN,
    Scout,
    best_scouts,
    head_rate,
    led_by,
    scout_of,
)

RECIPE = LocalRecipe(
    base_model="m",
    loss=Loss.BATCH_HARD_TRIPLET,
    epochs=3,
    keep_from=1,
    learning_rate=2e-5,
    batch_size=64,
    seed=11,
    warmup=0.2,
    weight_decay=0.1,
    margin=0.4,
    train_tokens=64,
    train_layers=2,
)


def scout(score: float | None, arm: str = "local", rate: float = 1e-5) -> Scout:
    point = Point(arm, {f"{arm}.learning_rate": rate})
    return Scout(point, replace(RECIPE, learning_rate=rate), score)


def test_a_scout_has_what_its_recipe_has() -> None:
    found = scout_of(RECIPE)
    assert found.head is Head.LINEAR
    assert found.width is None
    shared = ("base_model", "loss", "epochs", "keep_from", "batch_size", "seed", "warmup")
    for name in (*shared, "weight_decay", "margin", "scale"):
        assert getattr(found, name) == getattr(RECIPE, name)


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_has_a_scout_that_can_be_trained(loss: Loss) -> None:
    found = scout_of(replace(RECIPE, loss=loss, mini_batch_size=8))
    assert found.loss is not Loss.CACHED_MULTIPLE_NEGATIVES_RANKING
    assert found.loss.needs is loss.needs


def test_rates_go_up_with_rates() -> None:
    for local, head in zip(LOCAL_RATES, HEAD_RATES, strict=True):
        assert head_rate(local) == pytest.approx(head)
    rates = [head_rate(10.0**power) for power in range(-7, 1)]
    assert rates[:6] == sorted(set(rates[:6]))
    assert 0 < min(rates) < max(rates) <= 1


def test_the_best_of_each_arm_are_taken_and_failed_ones_never() -> None:
    found = [scout(0.1), scout(0.9, "wide"), scout(None), scout(0.5), scout(0.7), scout(0.6)]
    best = best_scouts(found)
    assert [each.score for each in best["local"]] == [0.7, 0.6, 0.5]
    assert len(best["local"]) == TAKEN
    assert [each.score for each in best["wide"]] == [0.9]
    assert best_scouts([scout(None)]) == {}


def test_of_equals_the_first_is_taken() -> None:
    found = [scout(0.5, rate=rate) for rate in (1e-5, 2e-5)]
    assert best_scouts(found)["local"] == found


def test_scouts_and_spread_points_of_an_arm_take_turns() -> None:
    design = [Point(arm, {"place": place}) for place in range(5) for arm in ("local", "adapter")]
    best = [scout(0.9), scout(0.8)]
    led = led_by(design, {"local": best})
    assert [point for point in led if point.arm == "adapter"] == design[1::2]
    spread = design[0::2]
    own = [point for point in led if point.arm == "local"]
    assert own == [best[0].point, spread[1], best[1].point, spread[3], spread[4]]
    assert led_by(design, {}) == design


def test_what_is_kept_of_a_scout_can_be_read_again() -> None:
    found = scout(0.5)
    kept = found.as_dict()
    assert recipe_from_dict(kept["recipe"]) == found.recipe
    assert recipe_from_dict(kept["scout"]) == scout_of(found.recipe)
    assert (kept["arm"], kept["score"]) == ("local", 0.5)
