"""The page of a real sweep: gathered from the ledger, kept with it, and the test split sealed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.cli.publication import publish
from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import UsageError
from embedsweep.core.trial import Role, TrialFailure
from embedsweep.evaluation import Difference
from embedsweep.reporting.page import sweep_page
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.compare import Leaderboard
from embedsweep.workflows.promote import promote
from embedsweep.workflows.report import ABOVE, BELOW, MARKS, arms_of, findings, standings
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import run_sweep
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import DATASET, MRR, experiment, services_of
from tests.unit.sweep_findings import NDCG, baseline, trial

TRIALS = 3
SAID: list[str] = []
PAGES: list[str] = []


@pytest.fixture
def backend() -> TableBackend:
    return TableBackend()


@pytest.fixture
def services(tmp_path: Path, backend: TableBackend) -> Services:
    return services_of(tmp_path, backend)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A sweep, for those who only read it."""
    services = services_of(tmp_path_factory.mktemp("swept"), TableBackend())
    run_sweep(experiment(trials=TRIALS), DATASET, services)
    return services


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A sweep and its promotion, and the page as it was before and after."""
    services = services_of(tmp_path_factory.mktemp("promoted"), TableBackend())
    run_sweep(experiment(trials=TRIALS), DATASET, services)
    for step in (lambda: None, lambda: promote(experiment(), DATASET, services)):
        step()
        publish(experiment(), DATASET, services, SAID.append)
        PAGES.append(attached(services))
    return services


def gathered(services: Services, dataset: Dataset = DATASET, **changes):
    return findings(experiment(**changes), dataset, services.ledger, services.registry)


def sealed() -> Dataset:
    """The data with a test split that cannot be opened."""

    def opened():
        raise AssertionError("the test split was opened")

    return replace(DATASET, sealed_test=opened)


def attached(services: Services) -> str:
    assert isinstance(services.ledger, MemoryLedger)
    (page,) = (text for (_, name), text in services.ledger.attached.items() if "html" in name)
    return page


def test_a_sweep_is_found_whole_without_opening_the_test_split(swept: Services) -> None:
    found = gathered(swept, sealed())
    assert [row.trial.role for row in found.standings].count(Role.TRIAL) == TRIALS
    scores = [row.score for row in found.standings]
    assert scores == sorted(scores, reverse=True)
    tried = [row.trial for row in found.standings if row.trial.role is Role.TRIAL]
    assert found.best == tried[0]
    assert found.untuned is not None
    assert found.decision is None
    assert found.splits == []
    assert found.optimism is not None
    assert 0 < found.optimism < 0.2
    assert [arm.knobs for arm in found.arms] == [
        arm.knobs for arm in experiment().space.arms
    ]  # fmt: skip
    assert len(found.curves) == TRIALS
    for curve in found.curves:
        assert [step for step, _ in curve.objective] == [step for step, _ in curve.loss]
        assert curve.objective[-1][1] == curve.trial.score(MRR)
    assert found.importances[0].reason.startswith("3 completed trials")


def test_the_hardest_examples_are_of_the_validation_split(promoted: Services) -> None:
    found = gathered(promoted)
    page = sweep_page(found)
    assert found.hard
    scores = [each.score for each in found.hard]
    assert scores == sorted(scores)
    assert all(each.text.startswith("topic valid") for each in found.hard)
    assert all(each.expected[0].startswith("topic valid") for each in found.hard)
    assert "topic valid" in page
    assert "topic test" not in page
    assert any(text.startswith("topic test") for text in DATASET.sealed_test().every_text())


def test_a_promotion_is_told_with_both_models_on_both_splits(promoted: Services) -> None:
    (decision,) = promoted.registry.history("topics")
    found = gathered(promoted, sealed())
    assert found.decision == decision
    assert decision.comparison is not None
    candidate, champion = found.splits
    assert found.best is not None
    assert found.untuned is not None
    assert candidate.valid == found.best.score(MRR)
    assert champion.valid == found.untuned.score(MRR)
    assert (candidate.test, champion.test) == (
        decision.comparison.candidate,
        decision.comparison.rival,
    )
    assert found.optimism == decision.comparison.optimism


def test_every_score_has_an_interval_and_the_marks_are_explained(swept: Services) -> None:
    found = gathered(swept)
    for row in found.standings:
        assert row.interval is not None
        assert row.score is not None
        assert row.interval[0] <= row.score <= row.interval[1]
    assert found.marks == MARKS


def test_the_marks_say_what_is_better_than_untuned_and_what_is_like_the_best() -> None:
    best, second, worst, untuned = trial(0, 0.9), trial(2, 0.8), trial(4, 0.2), baseline(0.5)
    board = Leaderboard(
        experiment="support",
        objective=NDCG,
        baselines=(untuned,),
        trials=(best, second, worst),
        differences=(
            Difference(best.run_id, second.run_id, 0.1, 0.3),
            Difference(best.run_id, worst.run_id, 0.7, 0.001),
            Difference(best.run_id, untuned.run_id, 0.4, 0.001),
            Difference(second.run_id, untuned.run_id, 0.3, 0.2),
            Difference(untuned.run_id, worst.run_id, 0.3, 0.01),
        ),
    )
    assert [(row.trial.number, row.mark) for row in standings(board)] == [
        (best.number, f"best {ABOVE}"),
        (second.number, "="),
        (untuned.number, "worse"),
        (worst.number, f"worse {BELOW}"),
    ]


def test_slices_of_the_data_are_told_one_by_one(services: Services) -> None:
    queries = DATASET.valid.retrieval.queries if DATASET.valid.retrieval else {}
    slices = {query: f"slice {place % 3}" for place, query in enumerate(queries)}
    valid = replace(DATASET.valid, slices=slices)
    digests = {**DATASET.digests, Split.VALID: valid.fingerprint}
    dataset = replace(DATASET, valid=valid, digests=digests)
    run_sweep(experiment(trials=1), dataset, services)
    found = gathered(services, dataset)
    assert {each.name for each in found.slices} == {"slice 0", "slice 1", "slice 2"}
    assert sum(each.n for each in found.slices) == 60
    assert "By slice" in sweep_page(found)


def test_texts_of_other_data_are_never_put_beside_the_scores(swept: Services) -> None:
    changed = replace(DATASET, digests={**DATASET.digests, Split.VALID: "f" * 64})
    found = gathered(swept, changed)
    assert found.hard == []
    assert "changed since" in found.facts["valid split"]


def test_failed_trials_have_a_place_and_a_reason(services: Services, backend: TableBackend) -> None:
    def fail_some(recipe) -> None:
        if recipe.epochs == 1:
            raise TrialFailure("collapsed", "all vectors are equal")

    backend.before_training = fail_some
    run_sweep(experiment(trials=4), DATASET, services)
    page = sweep_page(gathered(services))
    failed = [row for row in gathered(services).standings if row.score is None]
    assert failed
    assert page.count('class="cross') == len(failed)
    assert "collapsed: all vectors are equal" in page


def test_a_sweep_without_any_score_is_a_page_too(services: Services, backend: TableBackend) -> None:
    def fail(recipe) -> None:
        raise TrialFailure("collapsed", "all vectors are equal")

    backend.before_training = fail
    run_sweep(experiment(trials=1), DATASET, services)
    found = gathered(services)
    assert found.best is None
    assert "No trial completed" in sweep_page(found)


def test_the_page_is_kept_with_the_sweep_and_replaced(promoted: Services) -> None:
    before, after = PAGES
    assert "has not been judged" in before
    assert "has not been judged" not in after
    assert attached(promoted) == after
    assert len(SAID) == 2
    assert all(line.startswith("report: report.html of run-") for line in SAID)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ValueError("no such colour"),
            "unexpected ValueError in report.html, without which the sweep is kept: no such colour",
        ),
        (UsageError("artefact", "the store", "it is full", "make room"), "error: artefact in"),
    ],
)
def test_a_page_that_cannot_be_kept_is_told_and_takes_nothing(
    swept: Services, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def refuse(*_: object) -> str:
        raise error

    monkeypatch.setattr(swept.ledger, "attach", refuse)
    said: list[str] = []
    publish(experiment(), DATASET, swept, said.append)
    assert told in said[-1]
    assert "report: " not in "".join(said)
    assert len(gathered(swept).standings) == TRIALS + 2


def test_an_interruption_of_the_drawing_goes_through(
    swept: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(swept.ledger, "attach", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(experiment(), DATASET, swept, SAID.append)


def test_the_arms_are_read_back_as_they_were_written() -> None:
    space = experiment().space
    assert arms_of({"space": space.as_dict()}) == list(space.arms)
    assert arms_of({}) == []
    assert re.fullmatch(r"[a-z_]+", space.arms[0].name)
