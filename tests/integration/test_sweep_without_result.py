"""A sweep without a completed trial says whose fault it is, and ends in that error's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Role
from embedsweep.workflows.sweep.no_result import without_result
from tests.integration.recorded_sweep import Swept, gained

PATH = Path("topics.yaml")
NAN = Failed("non_finite_loss", "the training loss became nan")
DOWN = Failed("provider", "it answers with 500")
FULL = Failed("store", "no space left on device")


@pytest.mark.parametrize(
    ("outcomes", "code", "said"),
    [
        ([NAN, NAN], 3, "2 of 2 trials failed (2 non_finite_loss); the first: the training loss"),
        ([DOWN, FULL], 4, "2 of 2 trials failed (1 provider, 1 store); the first: it answers"),
        ([DOWN, NAN, NAN], 3, "3 of 3 trials failed (2 non_finite_loss, 1 provider)"),
        ([Pruned(1), NAN], 3, "1 of 2 trials failed"),
        ([Failed("RuntimeError", "?")], 3, "1 of 1 trials failed (1 RuntimeError)"),
        ([], 5, "the budget's minutes ended before the first trial"),
    ],
)
def test_the_code_says_whose_fault_it_is(
    tmp_path: Path, outcomes: list[Outcome], code: int, said: str
) -> None:
    swept = Swept(tmp_path)
    swept.add(Role.BASELINE, 0, gained(0.0, 0))
    for number, outcome in enumerate(outcomes):
        swept.add(Role.TRIAL, number, outcome)
    error = without_result(swept.board().trials, PATH)
    assert error is not None
    assert error.exit_code == code
    assert said in str(error)
    assert "`embedsweep sweep EXPERIMENT.yaml" in str(error)


def test_one_completed_trial_is_a_result(tmp_path: Path) -> None:
    swept = Swept(tmp_path)
    swept.add(Role.TRIAL, 0, NAN)
    swept.add(Role.TRIAL, 1, gained(0.1, 1))
    trials = swept.board().trials
    assert any(isinstance(trial.outcome, Completed) for trial in trials)
    assert without_result(trials, PATH) is None
