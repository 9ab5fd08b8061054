"""What the benchmarks reckon and keep: fitted exponents, merged documents, and spans of time."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest

from tests.benchmarks.results import Document, Figure, Results, exponent, merged, table
from tests.benchmarks.spans import Rule, Spans

SIZES = (1_000, 10_000, 100_000)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(power: float) -> None:
    values = [3 * size**power for size in SIZES]
    assert exponent(SIZES, values) == pytest.approx(power)


def test_the_exponent_of_noisy_values_is_that_of_the_nearest_line() -> None:
    # Logs to the base of 10: sizes 0, 1, 2 and values 0, 2, 1; least squares give a slope of 1/2.
    assert exponent((1, 10, 100), (1, 100, 10)) == pytest.approx(0.5)


def test_a_fixed_cost_makes_the_exponent_less() -> None:
    assert exponent(SIZES, [size + 5_000 for size in SIZES]) < 0.8


@pytest.mark.parametrize(
    ("sizes", "values"),
    [((1,), (1,)), ((5, 5), (1, 2)), ((1, 2), (1,)), ((1, 2), (0.0, 1)), ((0, 2), (1, 1))],
)
def test_what_no_line_goes_through_is_refused(
    sizes: tuple[float, ...], values: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"no line goes through|above 0"):
        exponent(sizes, values)


def figure(name: str, *rounds: float) -> Figure:
    return Figure(name, "s", rounds)


def two_runs(second: Figure) -> Document:
    first = merged({}, "monday", {"threads": 2}, [figure("a", 3, 1, 2), figure("b", 5)])
    return merged(first, "tuesday", {"threads": 4}, [second])


def test_a_figure_keeps_all_its_rounds() -> None:
    kept = figure("a", 3, 1, 8).as_dict("monday")
    assert kept["rounds"] == [3, 1, 8]
    assert (kept["median"], kept["mean"], kept["min"], kept["max"]) == (3, 4, 1, 8)


def test_a_run_replaces_the_figures_it_measured_and_no_other() -> None:
    document = two_runs(figure("a", 9))
    assert {name: kept["median"] for name, kept in document["figures"].items()} == {"a": 9, "b": 5}
    assert {name: kept["run"] for name, kept in document["figures"].items()} == {
        "a": "tuesday",
        "b": "monday",
    }
    assert document["runs"] == {"monday": {"threads": 2}, "tuesday": {"threads": 4}}


def test_another_name_replaces_nothing() -> None:
    assert sorted(two_runs(figure("c", 9))["figures"]) == ["a", "b", "c"]


def test_a_run_that_no_figure_is_of_is_forgotten() -> None:
    document = merged(two_runs(figure("a", 9)), "friday", {}, [figure("b", 1)])
    assert sorted(document["runs"]) == ["friday", "tuesday"]


@pytest.mark.parametrize("rounds", [(), (math.nan,), (1.0, math.inf)])
def test_a_figure_of_nothing_or_of_no_number_is_refused(rounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        Figure("a", "s", rounds)


def test_runs_of_single_files_meet_in_one_document(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    Results(path, "monday", {}).record("a", "s", [1, 2], pairs=512)
    Results(path, "tuesday", {}).record("b", "s", [3])
    document = json.loads(path.read_text())
    assert sorted(document["figures"]) == ["a", "b"]
    assert document["figures"]["a"]["detail"] == {"pairs": 512}
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]


def test_a_figure_of_more_rounds_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    results = Results(path, "monday", {})
    results.record("a", "s", [1])
    results.record("a", "s", [1, 2])
    assert [figure.rounds for figure in results.figures] == [(1, 2)]
    assert json.loads(path.read_text("utf-8"))["figures"]["a"]["rounds"] == [1, 2]


def test_every_figure_has_a_line_in_the_table() -> None:
    head, first, second = table([figure("long/name", 1, 2, 3), figure("b", 4)]).splitlines()
    assert head.split() == ["figure", "median", "min..max", "rounds", "unit"]
    assert first.split() == ["long/name", "2", "1..3", "3", "s"]
    assert second.split() == ["b", "4", "4..4", "1", "s"]


class Clock:
    """Goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def go(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()


def outer() -> None:
    CLOCK.go(2)
    inner()
    CLOCK.go(4)


def inner() -> None:
    CLOCK.go(8)


def failing() -> None:
    CLOCK.go(16)
    raise LookupError


def spans_of(*rules: Rule) -> dict[str, float]:
    spans = Spans(rules, clock=lambda: CLOCK.now)
    with spans.watching():
        CLOCK.go(1)
        outer()
        with suppress(LookupError):
            failing()
        CLOCK.go(32)
    return {name: seconds for name, seconds in spans.seconds.items() if seconds}


HERE = "unit/test_benchmark_results.py"


def test_time_belongs_to_the_innermost_span() -> None:
    seconds = spans_of(Rule("out", HERE, ("outer",)), Rule("in", HERE, ("inner",)))
    assert seconds == {"other": 1 + 16 + 32, "out": 2 + 4, "in": 8}


def test_a_whole_span_keeps_what_is_inside_it() -> None:
    seconds = spans_of(Rule("out", HERE, ("outer",), whole=True), Rule("in", HERE, ("inner",)))
    assert seconds == {"other": 1 + 16 + 32, "out": 2 + 8 + 4}


def test_a_span_ends_with_what_is_raised_in_it() -> None:
    assert spans_of(Rule("bad", HERE, ("failing",))) == {"other": 1 + 2 + 8 + 4 + 32, "bad": 16}


def test_a_function_of_another_file_or_of_none_opens_no_span() -> None:
    elsewhere, in_c = Rule("out", "unit/elsewhere.py", ("outer",)), Rule("out", "", ("outer",))
    assert spans_of(elsewhere, in_c) == {"other": 1 + 2 + 8 + 4 + 16 + 32}


def test_functions_in_c_are_told_by_their_names() -> None:
    def named(name: str) -> dict[str, float]:
        ticks = iter(range(1_000_000))
        spans = Spans([Rule("root", "", (name,))], clock=lambda: float(next(ticks)))
        with spans.watching():
            math.sqrt(4)
        return spans.seconds

    assert named("sqrt")["root"] > 0
    assert "root" not in named("cbrt")
