"""A sweep and its leaderboard on a terminal, and off it."""

from __future__ import annotations

import re
import sys

import pytest

from tests.conftest import ROOT
from tests.e2e.projects import PAIRS, Project
from tests.e2e.terminal import CONTROL, STYLE, Screen, on_terminal
from tests.integration.tiny_models import make_tiny_base

EXPERIMENT = """
name: shown
data: {{train: pairs.jsonl, split: {{valid: 0.3, test: 0.3}}}}
objective: ndcg@10
search:
  trials: 2
  arms:
    - backend: local
      base_model: {base}
      loss: [multiple_negatives_ranking]
      epochs: 25
      learning_rate: {{low: 1.0e-6, high: 1.0e-4, log: true}}
      batch_size: 4
"""
SWEEP = ("sweep", "shown.yaml", "--no-promote")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project; the tests of this file run its sweep in their order, each further."""
    folder = tmp_path_factory.mktemp("shown")
    project = Project(folder).with_stores()
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM"):
        project.environment.pop(name, None)
    project.write_rows("pairs.jsonl", PAIRS)
    (folder / "shown.yaml").write_text(EXPERIMENT.format(base=make_tiny_base(folder / "base")))
    return project


def shown(
    project: Project, *words: str, columns: int = 80, at: str | None = None, **environment: str
) -> Screen:
    command = [sys.executable, "-m", "embedsweep", *words]
    where = project.environment | environment
    screen = on_terminal(command, project.folder, where, columns, at)
    assert "Traceback" not in "\n".join(screen.lines)
    assert screen.has_cursor
    return screen


def bars(*words: str) -> Screen:
    command = [sys.executable, "-m", "tests.e2e.bars_process", *words]
    environment = {**Project(ROOT).environment, "PYTHONPATH": f"{ROOT}/src:{':'.join(sys.path)}"}
    return on_terminal(command, ROOT, environment, 80, "ready")


def ended(screen: Screen) -> list[str]:
    """What has a line of its own, complete."""
    found = (
        re.match(r"((?:trial|baseline) \d+): ndcg@10 \d\.\d{4} in ", line) for line in screen.lines
    )
    return [each[1] for each in found if each]


def test_ctrl_c_in_mid_trial_leaves_one_whole_bar(project: Project) -> None:
    screen = shown(project, *SWEEP, at=r"trial 0 +[━╸╺]+ +[1-9]\d*/")
    assert screen.code == 130
    assert [bar.split()[0] for bar in screen.bars] == ["sweep"]
    assert "interrupted; what was done is kept" in screen.lines
    assert ended(screen) == ["baseline 0", "baseline 1"]
    # The total is there before the first step, and the time left after it.
    frames = screen.frames("trial 0")
    counts = [found[1] for frame in frames if (found := re.search(r" \d+/(\d+)", frame))]
    assert counts
    assert len(set(counts)) == 1
    assert counts[0] != "1"
    assert re.search(r" [1-9]\d*/\d+ .*\d:\d\d:\d\d left\b", frames[-1])


def test_a_sweep_ends_with_one_whole_bar_and_a_leaderboard_that_fits(project: Project) -> None:
    screen = shown(project, *SWEEP)
    assert screen.code == 0
    assert [bar.split()[2] for bar in screen.bars] == ["2/2"]
    # The baselines ended in the call before.
    assert ended(screen) == ["trial 0", "trial 1"]
    assert STYLE.search(screen.written)
    assert_fits(screen, 80)


def test_a_resumed_sweep_counts_its_speed_from_where_it_stopped(project: Project) -> None:
    screen = shown(project, *SWEEP, "--trials", "3", columns=120, NO_COLOR="1")
    assert screen.code == 0
    frames = screen.frames("sweep")
    before = [frame for frame in frames if " 2/3" in frame]
    assert before
    assert not any("each" in frame or "per s" in frame or "left" in frame for frame in before)
    # One trial was run in this call, so that its time is the time of the call's trials.
    speed = re.search(r" 3/3 +(\d+\.\d) (s each|per s) +took 0:00:(\d+) ", screen.bars[0])
    assert speed is not None
    each = float(speed[1]) if speed[2] == "s each" else 1 / float(speed[1])
    assert abs(each - int(speed[3])) <= 1
    assert not STYLE.search(screen.written)
    assert_fits(screen, 120)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_compare_fits_the_terminal(project: Project, columns: int) -> None:
    assert_fits(shown(project, "compare", "shown.yaml", columns=columns), columns)


def assert_fits(screen: Screen, columns: int) -> None:
    """No line of the leaderboard reaches the next line of the screen."""
    told = CONTROL.sub(b"", screen.written).decode().replace("\r", "").split("\n")
    start = next(place for place, line in enumerate(told) if re.match(r"shown: \d trials", line))
    end = next(place for place, line in enumerate(told) if line.startswith("for promotion: "))
    board = told[start : end + 1]
    assert max(map(len, board)) <= columns
    for name in ("t0", "t1", "b0", "b1"):
        assert sum(line.split()[:1] == [name] for line in board) == 1


def test_off_a_terminal_a_trial_is_one_plain_line(project: Project) -> None:
    ended = project.run(*SWEEP, "--trials", "4", "--json")
    assert len(ended.document["trials"]) == 4
    assert "\x1b" not in ended.err + ended.out
    assert "\r" not in ended.err
    lines = [line for line in ended.err.splitlines() if "trial" in line]
    assert lines[0].startswith("sweep: 3 of 4 trials done, best ")
    assert lines[1].startswith("trial 3: ndcg@10 ")
    assert lines[1].endswith(")")
    assert "(4 of 4 trials done, best " in lines[1]
    assert len(lines) == 2


def test_what_is_told_meanwhile_stands_above_the_bars() -> None:
    screen = bars()
    lines = [line for line in screen.lines if line]
    assert lines[:4] == [
        "record in the middle",
        "line in the middle",
        "print in the middle",
        "ready",
    ]
    assert re.match(r"sweep  [━╸╺]+  3/9  +best 0.5000$", lines[4])
    assert lines[5:] == ["interrupted"]


@pytest.mark.parametrize("undone", ["unwatched", "wide"])
def test_control_without_the_guards_lines_are_torn(undone: str) -> None:
    screen = bars(undone)
    lines = [line for line in screen.lines if line]
    assert len(lines) != 6 or "record in the middle" not in lines
