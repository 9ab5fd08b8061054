"""The search space draws whole recipes and nothing that hangs on another loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from embedsweep.core.recipe import (
    AdapterRecipe,
    Base,
    BaselineRecipe,
    FileForm,
    Head,
    HostedRecipe,
    LocalRecipe,
    Loss,
    Recipe,
    TunedRecipe,
    kept_among,
    recipe_as_dict,
    recipe_fingerprint,
    recipe_from_dict,
    with_epoch,
)
from embedsweep.core.recipe_text import recipe_in_words
from embedsweep.core.space import Arm, Choice, Integers, SearchSpace, Uniform


class Dice:
    """Answers a search space at random and keeps what it was asked."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.asked: dict[str, str | int | float] = {}

    def choice(self, name: str, options: Sequence[str | int | float]) -> str | int | float:
        return self.asked.setdefault(name, self._random.choice(options))

    def uniform(self, name: str, low: float, high: float, *, log: bool) -> float:
        return float(self.asked.setdefault(name, self._random.uniform(low, high)))

    def integer(self, name: str, low: int, high: int, *, log: bool) -> int:
        return int(self.asked.setdefault(name, self._random.randint(low, high)))


def arm(name: str = "local", **knobs: object) -> Arm:
    domains = {
        "base_model": Choice(("m",)),
        "loss": Choice(("multiple_negatives_ranking", "triplet", "cosine_similarity")),
        "epochs": Integers(1, 3),
        "learning_rate": Choice((1e-5, 3e-5)),
        "batch_size": Choice((16,)),
        "scale": Choice((10.0, 20.0)),
        "margin": Choice((0.2, 0.4, 0.6)),
    }
    return Arm(name, "local", {**domains, **knobs})  # type: ignore[dict-item]


def test_loss_specific_knobs_are_drawn_only_with_their_loss() -> None:
    space = SearchSpace((arm(),), seed=7)
    seen = set()
    for seed in range(60):
        dice = Dice(seed)
        name, recipe = space.draw(dice)
        assert isinstance(recipe, LocalRecipe)
        assert name == "local"
        assert recipe.seed == 7
        assert ("local.scale" in dice.asked) == (recipe.loss is Loss.MULTIPLE_NEGATIVES_RANKING)
        assert ("local.margin" in dice.asked) == (recipe.loss is Loss.TRIPLET)
        assert (recipe.margin is not None) == (recipe.loss is Loss.TRIPLET)
        seen.add(recipe.loss)
    assert len(seen) == 3


def test_constants_are_not_asked_for() -> None:
    dice = Dice(0)
    SearchSpace((arm(),), seed=7).draw(dice)
    assert "local.batch_size" not in dice.asked
    assert "arm" not in dice.asked


def test_arms_carry_their_name_into_their_knobs() -> None:
    dice = Dice(1)
    space = SearchSpace((arm("a"), arm("b")), seed=7)
    name, _ = space.draw(dice)
    assert dice.asked["arm"] == name
    assert {key.split(".")[0] for key in dice.asked if "." in key} == {name}


def test_a_finite_space_is_listed_whole() -> None:
    space = SearchSpace((arm("a"), arm("b")), seed=7)
    per_arm = 3 * 2 * 2 + 3 * 2 * 3 + 3 * 2
    assert space.size() == 2 * per_arm
    recipes = set()
    for assignment in space.assignments():
        given = Dice(0)
        given.asked.update(assignment)
        before = dict(given.asked)
        name, recipe = space.draw(given)
        assert given.asked == before  # the assignment answers every question
        recipes.add((name, recipe))
    assert len(recipes) == space.size()


def adapter(**knobs: object) -> Arm:
    domains = {
        "base_model": Choice(("m",)),
        "provider": Choice(("openai",)),
        "dimensions": Choice((256, 512)),
        "head": Choice(("linear", "low_rank", "mlp")),
        "width": Choice((8, 16)),
        "loss": Choice(("multiple_negatives_ranking", "triplet")),
        "margin": Choice((0.2, 0.4)),
        "epochs": Choice((5,)),
        "learning_rate": Choice((1e-3,)),
        "batch_size": Choice((32,)),
    }
    return Arm("heads", "adapter", {**domains, **knobs})  # type: ignore[dict-item]


def hosted(**knobs: object) -> Arm:
    domains = {
        "base_model": Choice(("m",)),
        "provider": Choice(("loopback",)),
        "form": Choice(("pairs", "triplets")),
        "epochs": Choice((1, 2, 3)),
        "learning_rate_multiplier": Choice((1.0,)),
        "batch_size": Choice((16,)),
    }
    return Arm("jobs", "hosted", {**domains, **knobs})  # type: ignore[dict-item]


def test_a_width_is_drawn_only_with_a_head_that_has_one() -> None:
    seen = set()
    for seed in range(60):
        dice = Dice(seed)
        _, recipe = SearchSpace((adapter(),), seed=7).draw(dice)
        assert isinstance(recipe, AdapterRecipe)
        assert ("heads.width" in dice.asked) == (recipe.head is not Head.LINEAR)
        assert (recipe.width is None) == (recipe.head is Head.LINEAR)
        assert ("heads.margin" in dice.asked) == (recipe.loss is Loss.TRIPLET)
        assert recipe.base == Base("m", "openai", recipe.dimensions)
        seen.add((recipe.head, recipe.loss))
    assert len(seen) == 6


def test_a_job_may_leave_its_loss_to_the_server() -> None:
    _, recipe = SearchSpace((hosted(),), seed=7).draw(Dice(0))
    assert isinstance(recipe, HostedRecipe)
    assert recipe.loss is None
    assert recipe.form in FileForm
    _, recipe = SearchSpace((hosted(loss=Choice(("triplet",))),), seed=7).draw(Dice(0))
    assert recipe.loss is Loss.TRIPLET


def test_a_finite_space_of_all_kinds_is_listed_whole() -> None:
    space = SearchSpace((arm(), adapter(), hosted()), seed=7)
    heads = 2 * (1 + 2 * 2) * (1 + 2)
    assert space.size() == (3 * 2 * 2 + 3 * 2 * 3 + 3 * 2) + heads + 2 * 3
    recipes = set()
    for assignment in space.assignments():
        given = Dice(0)
        given.asked.update(assignment)
        recipes.add(space.draw(given))
        assert given.asked == assignment
    assert len(recipes) == space.size()


def test_every_base_is_named_once() -> None:
    again = Arm("again", "hosted", hosted().knobs)
    assert SearchSpace((arm(), adapter(), hosted(), again), seed=7).bases() == (
        Base("m"),
        Base("m", "openai", 256),
        Base("m", "openai", 512),
        Base("m", "loopback"),
    )


def test_a_space_with_a_real_number_has_no_size() -> None:
    space = SearchSpace((arm(learning_rate=Uniform(1e-5, 1e-4, log=True)),), seed=7)
    assert space.size() is None
    with pytest.raises(ValueError, match="cannot be listed"):
        list(space.assignments())


def test_a_space_is_known_by_its_content() -> None:
    same = [SearchSpace((arm(),), seed=7).fingerprint for _ in range(2)]
    assert same[0] == same[1]
    others = {
        SearchSpace((arm(),), seed=8).fingerprint,
        SearchSpace((arm("b"),), seed=7).fingerprint,
        SearchSpace((arm(epochs=Integers(1, 4)),), seed=7).fingerprint,
    }
    assert len(others | {same[0]}) == 4


RECIPE = LocalRecipe(
    base_model="m",
    loss=Loss.TRIPLET,
    epochs=2,
    learning_rate=2e-5,
    batch_size=32,
    seed=7,
    margin=0.4,
)


HEAD = AdapterRecipe(
    base_model="m",
    provider="openai",
    dimensions=256,
    head=Head.MLP,
    width=8,
    loss=Loss.COSENT,
    epochs=5,
    learning_rate=1e-3,
    batch_size=32,
    seed=7,
)
JOB = HostedRecipe(
    base_model="m",
    provider="loopback",
    form=FileForm.TRIPLETS,
    epochs=2,
    learning_rate_multiplier=0.5,
    batch_size=16,
    seed=7,
)


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        HEAD,
        replace(HEAD, provider=None, dimensions=None, head=Head.LINEAR, width=None),
        replace(HEAD, keep_from=2),
        replace(RECIPE, keep_from=1),
        JOB,
        replace(JOB, loss=Loss.TRIPLET),
        BaselineRecipe(method="bm25"),
        BaselineRecipe(method="untuned", base_model="m"),
        BaselineRecipe(method="untuned", base_model="m", provider="openai", dimensions=256),
    ],
)
def test_a_recipe_comes_back_from_json(recipe: Recipe) -> None:
    assert recipe_from_dict(json.loads(json.dumps(recipe_as_dict(recipe)))) == recipe


@pytest.mark.parametrize("values", [{"kind": "other"}, {}, {**recipe_as_dict(RECIPE), "speed": 3}])
def test_an_unknown_recipe_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kind|unknown fields"):
        recipe_from_dict(values)


def test_a_recipes_identity_hangs_on_all_of_it_and_on_its_context() -> None:
    marks = {
        recipe_fingerprint(RECIPE, "data", "base"),
        recipe_fingerprint(RECIPE, "data", "other base"),
        recipe_fingerprint(RECIPE, "database", ""),
        recipe_fingerprint(
            recipe_from_dict({**recipe_as_dict(RECIPE), "margin": 0.41}), "data", "base"
        ),
    }
    assert len(marks) == 4
    assert recipe_fingerprint(RECIPE, "data", "base") in marks


@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (RECIPE, [2]),
        (replace(RECIPE, keep_from=1), [1, 2]),
        (replace(HEAD, keep_from=3), [3, 4, 5]),
        (replace(HEAD, keep_from=5), [5]),
        (JOB, [2]),
    ],
)
def test_what_may_be_kept_are_the_epochs_of_a_choice_or_the_last(
    recipe: TunedRecipe, epochs: list[int]
) -> None:
    assert list(kept_among(recipe)) == epochs


def test_a_choice_of_epochs_is_part_of_a_recipe_and_said_of_it() -> None:
    choice = replace(RECIPE, keep_from=1)
    assert recipe_fingerprint(choice) != recipe_fingerprint(RECIPE)
    assert recipe_in_words(RECIPE).startswith("triplet, 2 epochs, lr")
    last, rank = replace(RECIPE, train_layers=3), replace(RECIPE, lora_rank=8)
    assert recipe_in_words(last).startswith("last 3 layers: triplet")
    assert recipe_in_words(rank).startswith("LoRA of rank 8: triplet")
    both = replace(last, lora_rank=8)
    assert recipe_in_words(both).startswith("LoRA of rank 8 in the last 3 layers: triplet")
    assert "triplet, 1 to 2 epochs, lr" in recipe_in_words(choice)
    assert "triplet, 1 epoch of 1 to 2, lr" in recipe_in_words(choice, kept_epoch=1)


def test_the_kept_epochs_recipe_is_the_training_ended_there() -> None:
    assert with_epoch(replace(HEAD, keep_from=2), 4) == replace(HEAD, epochs=4)
    # The controls: nothing was chosen, and a job's model is that of its own number of epochs.
    assert with_epoch(RECIPE, None) == RECIPE
    assert with_epoch(JOB, 1) == JOB


def test_knobs_default_to_their_loss() -> None:
    plain = LocalRecipe(
        base_model="m", loss=Loss.TRIPLET, epochs=1, learning_rate=1e-5, batch_size=8, seed=0
    )
    assert plain.knob("margin") == Loss.TRIPLET.knobs["margin"]
    assert RECIPE.knob("margin") == 0.4
