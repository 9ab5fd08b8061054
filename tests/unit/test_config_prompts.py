"""Prompts of an arm: what they become, and how faulty ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.recipe import recipe_as_dict, recipe_fingerprint, recipe_from_dict
from embedsweep.core.roles import Prompts
from tests.unit.arm_writing import ADAPTER, HEAD, LOCAL, Lowest, load, refused


@pytest.mark.parametrize("kind", [LOCAL, ADAPTER])
def test_prompts_belong_to_the_arm_its_bases_and_its_recipes(tmp_path: Path, kind: str):
    given = 'prompts: {query: "query: ", plain: ""}'
    space = load(tmp_path, f"{HEAD}{kind}      {given}\n").space
    prompts = Prompts(query="query: ", plain="")
    (arm,) = space.arms
    assert arm.prompts == prompts
    assert [base.prompts for base in space.bases()] == [prompts]
    _, recipe = space.draw(Lowest())
    assert recipe.base.prompts == prompts
    assert recipe_as_dict(recipe)["prompts"] == {"query": "query: ", "plain": ""}
    assert recipe_from_dict(recipe_as_dict(recipe)) == recipe
    # The control: without them the space, the recipe and the base are others.
    bare = load(tmp_path, f"{HEAD}{kind}").space
    _, plain = bare.draw(Lowest())
    assert "prompts" not in recipe_as_dict(plain)
    assert bare.fingerprint != space.fingerprint
    assert recipe_fingerprint(plain) != recipe_fingerprint(recipe)
    assert str(plain.base) != str(recipe.base)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("prompts: {}", "it names no prompt"),
        ("prompts: {query: 3}", "3, expected text"),
        ('prompts: {question: "q: "}', "no such key here, expected query, document, plain"),
        ('prompts: "query: "', "expected keys with values"),
        ('prompts: [{query: "q: "}]', "expected keys with values"),
    ],
)
def test_faulty_prompts_are_told(tmp_path: Path, given: str, why: str):
    (fault,) = refused(tmp_path, f"{HEAD}{LOCAL}      {given}\n")
    assert why in fault.why
