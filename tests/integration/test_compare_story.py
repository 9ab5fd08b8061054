"""The leaderboard with its evidence, and two models side by side, over a ledger in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedsweep.cli.output import one_line, print_leaderboard
from embedsweep.core.errors import StoreError
from embedsweep.core.finalists import seeded
from embedsweep.core.recipe import BaselineRecipe
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Failed, Pruned, Role
from embedsweep.workflows.compare import Leaderboard
from tests.integration.recorded_sweep import (
    BM25,
    MACRO_F1,
    MRR,
    QUERIES,
    UNTUNED,
    Swept,
    gained,
    local,
    report_of,
)

ACCURACY = Measure("accuracy")


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    """t1 is the best, t0 as good, t2 worse, t3 failed; b1 is BM25, far behind."""
    made = Swept(tmp_path)
    made.add(Role.BASELINE, 0, gained(0.0, 0), UNTUNED)
    made.add(Role.BASELINE, 1, gained(-0.1, 1), BM25)
    made.add(Role.TRIAL, 0, gained(0.099, 2))
    made.add(Role.TRIAL, 1, gained(0.1, 3))
    made.add(Role.TRIAL, 2, gained(0.05, 4))
    made.add(Role.TRIAL, 3, Failed("collapsed", "all vectors are one"))
    return made


def real_pairs(board: Leaderboard) -> dict[str, bool]:
    names = board.names
    return {f"{names[d.first]}-{names[d.second]}": d.real for d in board.differences}


def test_every_pair_of_models_with_scores_is_tested_and_bm25_is_one(swept: Swept) -> None:
    found = real_pairs(swept.board())
    assert len(found) == 10
    assert [pair for pair, real in found.items() if not real] == ["t1-t0"]
    assert not any("t3" in pair for pair in found)


def test_intervals_hold_the_means_and_failures_have_none(swept: Swept) -> None:
    board = swept.board()
    scored = [trial for trial in (*board.trials, *board.baselines) if trial.state == "completed"]
    assert len(scored) == 5
    assert set(board.intervals) == {trial.run_id for trial in scored}
    for trial in scored:
        low, high = board.intervals[trial.run_id]
        assert low < trial.metrics["valid/mrr_at_10"] < high
    assert board.notes == ()


def test_json_says_all_that_the_table_does(swept: Swept) -> None:
    document = swept.board().as_dict()
    assert document["candidate"] == "t1"
    assert document["best"] == 1
    assert [len(trial["interval"] or ()) for trial in document["trials"]] == [2, 2, 2, 0]
    first = document["differences"][0]
    assert (first["a"], first["b"], first["real"]) == ("t1", "t0", False)
    assert set(first) == {"a", "b", "gain", "p_value", "real"}
    assert document["finalists"] == document["notes"] == []


def test_the_table_marks_what_cannot_be_told_from_the_best(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    print_leaderboard(swept.board())
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r" {2,}", line.strip()) for line in lines[2:8]]
    marks = {row[0]: row[3] for row in rows}
    assert marks == {
        "t1": "best",
        "t0": "=",
        "t2": "worse",
        "b0": "worse",
        "b1": "worse",
        "t3": "-",
    }
    assert "9 of 10 pairs of models really differ" in "\n".join(lines)
    assert lines[-1] == "for promotion: t1, the best trial"


def test_a_baseline_that_really_beats_the_best_trial_is_marked_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Swept(tmp_path)
    made.add(Role.BASELINE, 0, gained(0.1, 0), UNTUNED)
    made.add(Role.TRIAL, 0, gained(0.0, 1))
    print_leaderboard(made.board())
    assert re.split(r" {2,}", capsys.readouterr().out.splitlines()[3].strip())[3] == "better"


def test_a_reused_trial_is_paired_by_the_report_of_its_origin(swept: Swept) -> None:
    origin = swept.ledger.find("topics", f"{local(1)}")
    swept.sweep = swept.begin()
    swept.add(Role.TRIAL, 0, gained(0.0, 5))
    again = swept.add(Role.TRIAL, 1, Completed(), reused=origin)
    board = swept.board()
    assert again.reused_from is not None
    assert real_pairs(board) == {"t1-t0": True}
    assert set(board.intervals) == {trial.run_id for trial in board.trials}


def test_a_measure_without_scores_has_a_plain_table_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Swept(tmp_path, MACRO_F1)
    made.add(Role.TRIAL, 0, gained(0.0, 0))
    made.add(Role.TRIAL, 1, gained(0.1, 1))
    board = made.board()
    assert (board.differences, dict(board.intervals)) == ((), {})
    print_leaderboard(board)
    out = capsys.readouterr().out
    assert "note: macro_f1 has no score per example" in out
    assert "95% interval" not in out
    assert "vs best" not in out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"benchmark": "c" * 64}, "another validation split than the rest"),
        ({"groups": {"q0": "g"}}, "another validation split than the rest"),
        ({"scores": {}}, "t7 is left out of intervals and pairs: it is not there"),
        ({"scores": {MRR: {"q0": float("nan")}}}, "1 scores are not finite"),
    ],
)
def test_a_report_that_cannot_be_paired_is_left_out_with_a_note(
    swept: Swept, spoil: Mapping[str, Any], said: str
) -> None:
    before = real_pairs(swept.board())
    odd = swept.add(Role.TRIAL, 7, replace(report_of(gained(0.2, 6)), **spoil))
    board = swept.board()
    assert real_pairs(board) == before
    assert odd.run_id not in board.intervals
    [note] = board.notes
    assert said in note
    assert "t7" in note


def test_a_report_that_is_gone_costs_its_own_row_alone(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = swept.board().trials[0].run_id
    read = swept.ledger.report

    def report(run_id: str) -> Report:
        if run_id == gone:
            raise StoreError("report.json", "the artifacts", "no such file", "restore it")
        return read(run_id)

    monkeypatch.setattr(swept.ledger, "report", report)
    board = swept.board()
    assert board.notes == ("t1 is left out of intervals and pairs: no such file",)
    assert len(board.differences) == 6
    assert board.trials[0].run_id == gone


def test_a_single_group_shows_no_spread(tmp_path: Path) -> None:
    groups = {f"q{row}": "one" for row in range(QUERIES)}
    made = Swept(tmp_path)
    for number in (0, 1):
        made.add(Role.TRIAL, number, report_of(gained(0.1, number), groups=groups))
    board = made.board()
    assert (board.differences, dict(board.intervals)) == ((), {})
    assert "single group" in board.notes[0]


def test_a_sweep_without_any_score_has_a_leaderboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Swept(tmp_path)
    made.add(Role.TRIAL, 0, Failed("collapsed", "all vectors are one"))
    made.add(Role.TRIAL, 1, Pruned(2))
    print_leaderboard(made.board())
    assert capsys.readouterr().out.count("\n") == 4
    assert made.board().as_dict()["candidate"] is None


@pytest.fixture
def with_finalists(swept: Swept) -> Swept:
    """t0 holds its score on other seeds; t1 had luck."""
    rows = [(0, 1, 0.097), (1, 1, 0.04), (0, 2, 0.103), (1, 2, 0.05), (0, 3, 0.099), (1, 3, 0.06)]
    for number, (of, repeat, gain) in enumerate(rows):
        swept.add(Role.FINALIST, number, gained(gain, 5), seeded(local(of), repeat))
    return swept


def test_finalists_are_ranked_by_their_mean_and_the_median_seed_is_promoted(
    with_finalists: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    board = with_finalists.board()
    document = board.as_dict()
    assert [each["of"] for each in document["finalists"]] == ["t0", "t1"]
    assert document["finalists"][0]["numbers"] == [0, 2, 4]
    assert document["finalists"][0]["deviation"] == pytest.approx(0.00306, abs=1e-4)
    assert all(each["interval"] for each in document["finalists"][1]["repeats"])
    assert document["candidate"] == "f4"
    assert document["best"] == 1
    # Further seeds are no models of their own: there are as many pairs as without them.
    assert len(document["differences"]) == 10
    print_leaderboard(board)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].split()[:3] == ["t0", _shown(board, "t0"), "0.0031"]
    assert "f0 " in lines[-3]
    assert lines[-1] == "for promotion: f4, the median seed of t0, which has the best mean"


def _shown(board: Leaderboard, name: str) -> str:
    means = {board.names[each.trial.run_id]: each.mean(MRR) for each in board.finalists}
    return f"{means[name]:.4f}"


def test_a_finalist_with_a_failed_seed_has_no_mean(
    with_finalists: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    with_finalists.add(Role.FINALIST, 6, Failed("nan", "not finite"), seeded(local(0), 4))
    print_leaderboard(with_finalists.board())
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[:3] == ["t0", "-", "-"]
    assert "f6 failed" in lines[-2]
    assert "the median seed of t1" in lines[-1]


def test_no_text_can_break_the_line_it_is_shown_on() -> None:
    assert one_line("a\n\n b\tc") == "a b c"
    assert one_line("\x1b[31mred\u202e\ud800") == "?[31mred??"
    assert one_line("x" * 500) == "x" * 119 + "…"


def also(mrr: float, accuracy: float, noise: int) -> Report:
    """A report whose examples also have hits and misses at the rate `accuracy`."""
    plain = report_of(gained(mrr, noise))
    hits = {f"h{row}": float(row < accuracy * QUERIES) for row in range(QUERIES)}
    return replace(
        plain,
        means={**plain.means, ACCURACY: accuracy},
        scores={**plain.scores, ACCURACY: hits},
    )


def test_a_trial_is_held_against_the_untuned_model_of_its_own_base(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    small, large = (
        BaselineRecipe(method="untuned", base_model=name) for name in ("table", "large")
    )
    made.add(Role.BASELINE, 0, also(0.0, 0.5, 0), small)
    made.add(Role.BASELINE, 1, also(0.1, 0.9, 1), large)
    made.add(Role.TRIAL, 0, also(0.2, 0.6, 2))
    made.add(Role.TRIAL, 1, also(0.2, 0.6, 3), replace(local(1), base_model="large"))
    # No baseline of its base: the best untuned model takes its place.
    made.add(Role.TRIAL, 2, also(0.2, 0.6, 4), replace(local(2), base_model="elsewhere"))
    rows = {row["number"]: row["worse_in"] for row in made.board().as_dict()["trials"]}
    assert rows == {0: [], 1: ["accuracy"], 2: ["accuracy"]}


def test_without_an_untuned_model_nothing_is_marked(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    made.add(Role.BASELINE, 0, also(0.0, 0.9, 0), BM25)
    made.add(Role.BASELINE, 1, Failed("collapsed", "all vectors are one"), UNTUNED)
    made.add(Role.TRIAL, 0, also(0.2, 0.1, 2))
    assert made.board().losses == {}


def test_a_failed_or_pruned_trial_has_no_mark(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    made.add(Role.BASELINE, 0, also(0.0, 0.9, 0), UNTUNED)
    made.add(Role.TRIAL, 0, Pruned(1))
    made.add(Role.TRIAL, 1, Failed("collapsed", "all vectors are one"))
    made.add(Role.TRIAL, 2, also(-0.3, 0.9, 2))
    board = made.board()
    assert all(row["worse_in"] == [] for row in board.as_dict()["trials"])
    assert board.candidate is not None
    assert board.candidate.number == 2
