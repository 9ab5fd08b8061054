"""Looks at a test split: what each spends, and when there is nothing left to spend."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsweep.core.errors import Refusal
from embedsweep.core.looks import (
    SKETCH_SIZE,
    AlphaPlan,
    Look,
    LookRequest,
    Spending,
    next_look,
    overlap,
    sketch_of,
)

TEST_SET = [f"question {number}" for number in range(500)]


def request(candidate: str = "a", **changes: object) -> LookRequest:
    plain = LookRequest(
        model="support",
        benchmark="test",
        sketch=sketch_of(TEST_SET),
        candidate_fingerprint=candidate,
        candidate_run="run",
        at="2026-01-01T00:00:00+00:00",
        by="someone",
        plan=AlphaPlan(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def looks(count: int, **changes: object) -> list[Look]:
    found: list[Look] = []
    for number in range(count):
        found.append(next_look(request(f"candidate {number}", **changes), found))
    return found


def test_each_look_spends_half_of_the_one_before_and_the_sixth_is_refused() -> None:
    spent = looks(5)
    assert [look.alpha for look in spent] == [0.025, 0.0125, 0.00625, 0.003125, 0.0015625]
    assert [look.number for look in spent] == [1, 2, 3, 4, 5]
    with pytest.raises(Refusal, match="5 candidates were judged"):
        next_look(request("sixth"), spent)


def test_even_looks_spend_all_alike_and_end_when_the_total_is_spent() -> None:
    plan = AlphaPlan(0.05, 4, Spending.EVEN)
    spent = looks(4, plan=plan)
    assert {look.alpha for look in spent} == {0.0125}
    with pytest.raises(Refusal, match=r"0\.05 of 0\.05 is spent"):
        next_look(request("fifth", plan=plan), spent)


@given(
    total=st.floats(0.001, 0.5),
    looks=st.integers(1, 50),
    spending=st.sampled_from(Spending),
)
def test_no_plan_spends_more_than_its_total(total: float, looks: int, spending: Spending) -> None:
    plan = AlphaPlan(total, looks, spending)
    assert sum(plan.level(number) for number in range(1, looks + 1)) <= total * (1 + 1e-9)


def test_a_plan_changed_midway_cannot_overspend() -> None:
    spent = looks(2)
    generous = AlphaPlan(0.05, 2, Spending.EVEN)
    with pytest.raises(Refusal, match="judged on this test split"):
        next_look(request("third", plan=generous), spent)


def test_what_may_be_spent_is_declared_once() -> None:
    with pytest.raises(Refusal, match=r"it was 0\.95 when this test split was first opened"):
        next_look(request("b", plan=AlphaPlan(0.2)), looks(1))


def test_the_same_candidate_gets_its_look_again_whatever_was_spent() -> None:
    spent = looks(5)
    assert next_look(request("candidate 2", at="later", by="another"), spent) == spent[2]


def test_another_name_for_the_model_buys_no_new_look() -> None:
    spent = looks(1)
    assert next_look(request("candidate 0", model="other"), spent).number == 2


def test_a_test_set_only_touched_is_the_same_one_and_a_new_one_is_new() -> None:
    spent = looks(1)
    touched = sketch_of([*TEST_SET[20:], "one more"])
    assert next_look(request("b", benchmark="touched", sketch=touched), spent).number == 2
    new = sketch_of(f"another {number}" for number in range(500))
    assert next_look(request("b", benchmark="new", sketch=new), spent).number == 1


@pytest.mark.parametrize("shared", [0, 100, 250, 400, 500])
def test_overlap_is_estimated_from_sketches(shared: int) -> None:
    estimates = []
    for repeat in range(40):
        names = [f"{repeat} {number}" for number in range(1000 - shared)]
        left, right = names[:500], names[500 - shared :]
        random.Random(repeat).shuffle(left)
        estimates.append(overlap(sketch_of(left), sketch_of(right)))
    truth = shared / (1000 - shared)
    assert sum(estimates) / len(estimates) == pytest.approx(truth, abs=0.03)


def test_sketches_are_short_and_blind_to_order_and_repeats() -> None:
    assert len(sketch_of(TEST_SET)) == SKETCH_SIZE
    assert sketch_of([*reversed(TEST_SET), *TEST_SET]) == sketch_of(TEST_SET)
    assert overlap((), ()) == 0.0


def test_a_look_comes_back_from_json() -> None:
    look = looks(1)[0]
    assert Look.from_dict(json.loads(json.dumps(look.as_dict()))) == look
