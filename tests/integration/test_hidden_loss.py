"""A model that wins the objective by losing another metric: marked, passed over, rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.cli.output import decision_as_dict, print_decision, print_leaderboard
from embedsweep.core.experiment import Experiment, Sampler
from embedsweep.core.finalists import FinalistPlan
from embedsweep.core.promotion import Decision, PromotionPolicy, Verdict
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, SearchSpace
from embedsweep.core.trial import Role
from embedsweep.reporting.page import sweep_page
from embedsweep.stores.memory import MemoryLedger, MemoryRegistry
from embedsweep.workflows.collect import candidates_under_guards
from embedsweep.workflows.compare import Leaderboard, leaderboard
from embedsweep.workflows.losses import read_losses
from embedsweep.workflows.promote import Promotion, promote
from embedsweep.workflows.report import findings
from embedsweep.workflows.services import Services, Silent
from embedsweep.workflows.sweep import run_sweep
from tests.integration.polar_backend import PolarBackend, polar_dataset
from tests.integration.table_story import experiment, services_of

TRIPLETS, MRR = Measure("triplet_accuracy"), Measure("mrr", 10)
DATASET = polar_dataset()
OFF = PromotionPolicy(unguarded=frozenset({MRR}))


def polar(
    losses: Sequence[str] = ("triplet", "multiple_negatives_ranking"), **changes: object
) -> Experiment:
    """An experiment in which the triplet loss gives the best objective and the worst MRR."""
    knobs = {
        "base_model": Choice(("polar",)),
        "loss": Choice(tuple(losses)),
        "epochs": Choice((1,)),
        "learning_rate": Choice((1e-4,)),
        "batch_size": Choice((2, 8)),
    }
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    return experiment(
        name="polar",
        model="polar",
        objective=TRIPLETS,
        space=space,
        trials=2 * len(losses),
        sampler=Sampler.GRID,
        **changes,
    )


class Said(Silent):
    """Keeps the lines that stay on the screen."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def sweep(self, done: int, total: int, best: float | None, ended: str = "") -> None:
        self.lines.append(ended)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def services(tmp_path: Path, said: Said) -> Services:
    return replace(services_of(tmp_path, PolarBackend()), progress=said)


def swept(services: Services, asked: Experiment) -> Leaderboard:
    run_sweep(asked, DATASET, services)
    return leaderboard(services.ledger, asked.name, asked.policy)


def loss_of(board: Leaderboard, name: str) -> str:
    return str(board.named[name].as_dict()["recipe"]["loss"])


def test_the_sweep_marks_the_loss_and_passes_the_trial_over(
    services: Services, said: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    board = swept(services, polar())
    best, candidate = board.best, board.candidate
    assert best is not None
    assert candidate is not None
    assert board.passed_over == best
    names = board.names[best.run_id], board.names[candidate.run_id]
    assert [loss_of(board, name) for name in names] == ["triplet", "multiple_negatives_ranking"]
    document = board.as_dict()
    worse_in = {row["number"]: row["worse_in"] for row in document["trials"]}
    assert worse_in[best.number] == ["mrr@10"]
    assert worse_in[candidate.number] == []
    assert (document["candidate"], document["passed_over"]) == (names[1], names[0])
    assert all(row["worse_in"] == [] for row in document["baselines"])
    marked = [
        line for line in said.lines if "significantly worse than untuned in mrr@10 (-0." in line
    ]
    assert len(marked) == 2
    assert all(", triplet, " in line for line in marked)
    print_leaderboard(board)
    printed = capsys.readouterr().out
    assert "best*" in printed
    assert "'*': significantly worse than the untuned model in another headline metric" in printed
    assert f"for promotion: {names[1]}, " in printed
    assert f"; {names[0]} is passed over, because it is significantly worse" in printed


def test_what_is_passed_over_is_not_the_candidate_of_promotion(services: Services) -> None:
    board = swept(services, polar())
    decision = promote(polar(), DATASET, services).decision
    assert board.candidate is not None
    assert decision.candidate_run == board.candidate.run_id
    assert decision.verdict is Verdict.PROMOTED
    assert decision.comparison is not None
    found = {str(each.measure): each for each in decision.comparison.differences}
    assert list(found) == ["mrr@10", "relevance_accuracy"]
    assert all(each.gain > 0 and not each.worse for each in found.values())


def test_a_sweep_without_marks_has_the_best_trial_as_its_candidate(services: Services) -> None:
    board = swept(services, polar(["multiple_negatives_ranking"]))
    assert board.candidate == board.best
    assert board.passed_over is None
    assert board.losses == {}
    assert board.passed_over_in_words == board.losses_in_words == ""


def test_a_guard_that_is_off_passes_nothing_over_and_still_marks(services: Services) -> None:
    swept(services, polar())
    board = leaderboard(services.ledger, "polar", OFF)
    assert board.candidate == board.best
    assert board.best is not None
    assert board.mark(board.best) == "*"


@pytest.mark.parametrize(("guard", "passes"), [(-0.9, True), (-0.05, False)])
def test_a_number_as_guard_replaces_the_test(
    services: Services, guard: float, passes: bool
) -> None:
    policy = PromotionPolicy(guards={MRR: guard})
    board = swept(services, polar(["triplet"], policy=policy))
    assert board.best is not None
    lost = board.losses[board.best.run_id][0]
    assert policy.allows(lost.measure, lost.gain) is passes
    decision = forced(services, policy)
    assert (decision.verdict is Verdict.PROMOTED) is passes
    reasons = [reason for reason in decision.reasons if "mrr@10" in reason]
    assert [reason.endswith("the guard allows -0.0500") for reason in reasons] == [True] * (
        not passes
    )


def forced(services: Services, policy: PromotionPolicy) -> Decision:
    """Promotion where every trial has the loss, so that the best of them is the candidate."""
    asked = polar(["triplet"], policy=policy)
    return promote(asked, DATASET, services).decision


def test_the_loss_rejects_and_the_guard_that_it_names_allows_it(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    board = swept(services, polar(["triplet"]))
    assert board.candidate == board.best
    assert "every trial with a score has such a loss" in board.passed_over_in_words
    refused = forced(services, PromotionPolicy())
    assert refused.verdict is Verdict.REFUSED
    (reason,) = refused.reasons
    assert reason.startswith("mrr@10 is significantly worse: 0.4")
    assert reason.endswith("'guards: {mrr@10: off}' allows it")
    again = promote(polar(["triplet"]), DATASET, services)
    assert (again.recorded, again.decision) == (True, refused)

    allowed = forced(services, OFF)
    assert allowed.verdict is Verdict.PROMOTED
    assert (allowed.look, allowed.alpha) == (refused.look, refused.alpha)
    (row, *_) = decision_as_dict(allowed)["differences"]
    assert (row["metric"], row["worse"], row["guard"]) == ("mrr@10", True, "off")
    assert row["interval"][0] < row["gain"] < row["interval"][1] < -0.2
    assert row["p_worse"] < 0.001
    print_decision(Promotion(allowed, recorded=False, champion=allowed.champion_version))
    assert ", significantly worse, guard off\n" in capsys.readouterr().out
    assert promote(polar(["triplet"], policy=OFF), DATASET, services).recorded

    assert isinstance(services.registry, MemoryRegistry)
    assert allowed.version is not None
    card = services.registry.descriptions["polar", allowed.version]
    assert "| mrr@10 | 0.4" in card
    assert "significantly worse, guard off |" in card
    assert isinstance(services.ledger, MemoryLedger)
    kept = [decision for decision, _ in services.ledger.promotions.values()]
    assert kept == [refused, allowed]


def test_the_page_lists_the_differences_and_the_trial_passed_over(services: Services) -> None:
    asked = polar()
    run_sweep(asked, DATASET, services)
    promote(asked, DATASET, services)
    page = sweep_page(findings(asked, DATASET, services.ledger, services.registry))
    assert "Other headline metrics on the test split" in page
    assert "relevance_accuracy" in page
    assert "is passed over, because it is significantly worse" in page
    assert "best ▲ *" in page


def test_finalists_are_the_trials_that_are_not_barred(services: Services) -> None:
    asked = polar(finalists=FinalistPlan(top=1, seeds=2))
    board = swept(services, asked)
    (finalist,) = board.finalists
    assert loss_of(board, board.names[finalist.trial.run_id]) == "multiple_negatives_ranking"
    assert board.candidate in finalist.repeats


def test_gc_keeps_what_other_guards_would_make_the_candidate(services: Services) -> None:
    board = swept(services, polar())
    trials = services.ledger.trials(services.ledger.latest("polar"))  # type: ignore[arg-type]
    losses = read_losses(services.ledger, trials, TRIPLETS)
    kept = candidates_under_guards(
        [each for each in trials if each.role is Role.TRIAL], TRIPLETS, losses
    )
    assert kept[0] == board.best
    assert kept[-1] == board.candidate
    assert len(kept) == 2
