"""Two models of a sweep side by side: which they are, how far apart, and the texts that show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedsweep.cli.output import print_side_by_side
from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.experiment import DataSpec, Experiment
from embedsweep.core.report import Measure
from embedsweep.core.space import SearchSpace
from embedsweep.core.trial import Completed, Failed, Pruned, Role
from embedsweep.stores.memory import MemoryRegistry
from embedsweep.workflows.side_by_side import Asked, SideBySide, side_by_side
from tests.integration.recorded_sweep import (
    BM25,
    DATASET,
    MACRO_F1,
    QUERIES,
    UNTUNED,
    Swept,
    local,
    report_of,
)

EXPERIMENT = Experiment(
    name="topics",
    path=Path("topics.yaml"),
    text="name: topics\n",
    data=DataSpec("topics", builtin="memory"),
    objective=Measure("mrr", 10),
    space=SearchSpace((), seed=7),
    trials=4,
    model="topics",
)
FLAT = [0.5] * QUERIES


def moved(**scores: float) -> list[float]:
    return [scores.get(f"q{row}", 0.5) for row in range(QUERIES)]


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    made = Swept(tmp_path)
    made.add(Role.BASELINE, 0, FLAT, UNTUNED)
    made.add(Role.BASELINE, 1, [0.2] * QUERIES, BM25)
    made.add(Role.TRIAL, 0, moved(q3=1.0, q5=0.9, q9=0.8, q7=0.1, q8=0.4))
    made.add(Role.TRIAL, 1, Failed("collapsed", "all vectors are one"))
    made.add(Role.TRIAL, 2, Pruned(2))
    made.add(Role.TRIAL, 3, list(np.linspace(0, 1, QUERIES)))
    made.add(Role.FINALIST, 0, moved(q1=0.9))
    return made


@pytest.fixture
def registry(swept: Swept) -> MemoryRegistry:
    return MemoryRegistry(swept.ledger.models)


def shown(
    swept: Swept, registry: MemoryRegistry, *words: str, data: Dataset = DATASET, **asked: Any
) -> SideBySide:
    first, second = words
    return side_by_side(
        EXPERIMENT, lambda: data, swept.ledger, registry, Asked(first, second, **asked)
    )


def test_examples_come_by_how_far_the_models_are_apart(
    swept: Swept, registry: MemoryRegistry
) -> None:
    found = shown(swept, registry, "t0", "b0")
    assert [each.example.id for each in found.first_better] == ["q3", "q5", "q9"]
    assert [each.example.id for each in found.second_better] == ["q7", "q8"]
    assert [each.difference for each in found.first_better] == pytest.approx([0.5, 0.4, 0.3])
    pair = found.comparison
    assert (pair.wins, pair.ties, pair.losses) == (3, QUERIES - 5, 2)
    assert pair.gain == pytest.approx(0.7 / QUERIES)
    assert pair.interval[0] < pair.gain < pair.interval[1]
    # Of the 32 patterns of signs of five queries that differ, 9 go as far up and 9 as far down.
    assert found.p_value == 18 / 32
    turned = shown(swept, registry, "b0", "t0")
    assert turned.comparison.gain == -pair.gain
    assert turned.p_value == found.p_value
    assert turned.second_better[0].example.id == "q3"


def test_top_bounds_what_is_shown(swept: Swept, registry: MemoryRegistry) -> None:
    found = shown(swept, registry, "t0", "b0", top=1)
    assert [each.example.id for each in found.first_better] == ["q3"]
    assert [each.example.id for each in found.second_better] == ["q7"]


def test_the_texts_are_the_query_and_its_relevant_document(
    swept: Swept, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(swept, registry, "t0", "b0")
    row = found.as_dict()["a_better"][0]
    assert row["texts"] == [
        {"name": "query", "text": "topic valid3: ask 3"},
        {"name": "relevant", "text": "topic valid3: tell 3"},
    ]
    assert (row["id"], row["a"], row["b"], row["more_relevant"]) == ("q3", 1.0, 0.5, 0)
    print_side_by_side(found)
    out = capsys.readouterr().out
    assert "+0.5000  t0 1.0000, b0 0.5000  (q3)\n    query: topic valid3: ask 3\n" in out
    assert "better/equal/worse 3/55/2" in out
    assert "not corrected" in out


def test_equal_models_differ_nowhere(
    swept: Swept, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    swept.add(Role.TRIAL, 4, FLAT)
    found = shown(swept, registry, "t4", "b0")
    assert (found.p_value, found.first_better, found.second_better) == (1.0, (), ())
    print_side_by_side(found)
    assert "where b0 is better: nowhere" in capsys.readouterr().out


def test_slices_are_told_with_both_sides_tested(
    swept: Swept, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = {f"q{row}": "even" if row % 2 == 0 else "odd" for row in range(QUERIES)}
    better = [0.9 if row % 2 else 0.4 for row in range(QUERIES)]
    swept.add(Role.TRIAL, 5, replace(report_of(better), slices=slices))
    swept.add(Role.TRIAL, 6, replace(report_of(FLAT), slices=slices))
    found = shown(swept, registry, "t5", "t6")
    assert [(each.name, each.n) for each in found.slices] == [("even", 30), ("odd", 30)]
    assert all(each.p_value < 0.01 for each in found.slices)
    assert found.first_better[0].slice == "odd"
    print_side_by_side(found)
    assert "+0.4000" in capsys.readouterr().out
    assert found.as_dict()["slices"][0]["name"] == "even"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("t9", "it has t0 to t3, b0 to b1, f0; champion, models:/… and runs:/…"),
        ("T0", "did you mean t0?"),
        ("champoin", "did you mean champion?"),
        ("t1", "t1 failed (collapsed: all vectors are one) and has no scores"),
        ("t2", "t2 was pruned after epoch 2 and has no scores"),
        ("b0", "they are one model, b0"),
        ("champion", "model 'champion'"),
        ("runs:/nope", "model 'runs:/nope'"),
        ("models:/topics", "model 'models:/topics'"),
        ("models:/m-" + "0" * 32, "it has t0 to t3"),
        ("models:/topics@champion", "it has t0 to t3"),
        ("models:/../x", "model name"),
    ],
)
def test_a_name_of_no_model_is_refused_before_data_is_read(
    swept: Swept, registry: MemoryRegistry, word: str, said: str
) -> None:
    def unread() -> Dataset:
        raise AssertionError("the data was read")

    asked = Asked(word, "b0")
    with pytest.raises(UsageError) as error:
        side_by_side(EXPERIMENT, unread, swept.ledger, registry, asked)
    assert said in str(error.value)


def test_both_names_are_told_at_once(swept: Swept, registry: MemoryRegistry) -> None:
    with pytest.raises(UsageError) as error:
        shown(swept, registry, "t9", "t1")
    assert len(error.value.faults) == 2


def test_a_model_is_found_by_any_of_its_names(swept: Swept, registry: MemoryRegistry) -> None:
    trial = next(each for each in swept.board().trials if each.number == 3)
    registry.crown(registry.publish("topics", trial), expected=None)
    words = {
        "t3": "t3",
        "champion": "t3, champion (version 1)",
        "models:/topics@champion": "t3, models:/topics@champion (version 1)",
        "models:/topics/1": "t3, models:/topics/1 (version 1)",
        str(trial.model_reference): "t3",
        f"runs:/{trial.run_id}": "t3",
    }
    for word, name in words.items():
        found = shown(swept, registry, word, "f0")
        assert (found.first.name, found.first.trial) == (name, trial)
        assert found.comparison.candidate == pytest.approx(0.5)


def test_a_champion_of_an_earlier_sweep_is_known_and_its_reuse_too(
    swept: Swept, registry: MemoryRegistry
) -> None:
    trial = next(each for each in swept.board().trials if each.number == 3)
    registry.crown(registry.publish("topics", trial), expected=None)
    swept.sweep = swept.begin()
    swept.add(Role.TRIAL, 0, FLAT, local(20))
    found = shown(swept, registry, "champion", "t0")
    assert (found.first.name, found.first.trial.run_id) == ("champion (version 1)", trial.run_id)
    again = swept.add(Role.TRIAL, 1, Completed(), local(3), reused=trial)
    found = shown(swept, registry, "champion", "t0")
    assert found.first.trial == again
    assert shown(swept, registry, f"runs:/{trial.run_id}", "t0").first.name == "t1"
    assert found.first_better[0].example.id == "q59"


def test_data_that_changed_since_is_refused(swept: Swept, registry: MemoryRegistry) -> None:
    changed = replace(DATASET, digests={**DATASET.digests, Split.VALID: "0" * 64})
    with pytest.raises(DataError, match="it changed since the sweep"):
        shown(swept, registry, "t0", "b0", data=changed)


def test_reports_on_different_benchmarks_are_refused(
    swept: Swept, registry: MemoryRegistry
) -> None:
    swept.add(Role.TRIAL, 4, replace(report_of(FLAT), benchmark="c" * 64))
    with pytest.raises(DataError, match="different benchmarks"):
        shown(swept, registry, "t0", "t4")


def test_an_id_that_the_split_does_not_hold_is_refused(
    swept: Swept, registry: MemoryRegistry
) -> None:
    swept.add(Role.TRIAL, 4, [*FLAT, 0.9])
    swept.add(Role.TRIAL, 5, [*FLAT, 0.4])
    with pytest.raises(DataError, match="the validation split does not hold it"):
        shown(swept, registry, "t4", "t5")


def test_another_measure_can_be_asked_for_and_one_without_scores_cannot(
    swept: Swept, registry: MemoryRegistry
) -> None:
    recall = Measure("recall", 10)
    plain = report_of(FLAT)
    for number, gain in ((4, 0.5), (5, 0.0)):
        scores = {f"q{row}": gain for row in range(QUERIES)}
        both = {**plain.scores, recall: scores}
        swept.add(Role.TRIAL, number, replace(plain, scores=both))
    assert shown(swept, registry, "t4", "t5", measure=recall).comparison.gain == 0.5
    with pytest.raises(UsageError, match=r"both reports hold mrr@10, recall@10\. Fix: give --mea"):
        shown(swept, registry, "t4", "t5", measure=MACRO_F1)
    with pytest.raises(UsageError, match=r"recall@10 .* both reports hold mrr@10"):
        shown(swept, registry, "t4", "b0", measure=recall)
