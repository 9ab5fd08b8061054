"""The sweep's story on a quick backend: continue, reuse, fail, prune, repeat finalists."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.core.errors import Refusal, UsageError
from embedsweep.core.experiment import Budget, PrunerKind, Sampler
from embedsweep.core.finalists import FinalistPlan, candidate_of, finalists
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, SearchSpace
from embedsweep.core.trial import Role, Trial
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.compare import leaderboard
from embedsweep.workflows.promote import promote
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import SweepOptions, run_sweep
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import DATASET, MRR, experiment, services_of


@pytest.fixture
def backend() -> TableBackend:
    return TableBackend()


@pytest.fixture
def services(tmp_path: Path, backend: TableBackend) -> Services:
    return services_of(tmp_path, backend)


def drawn(services: Services, name: str = "topics") -> list[Trial]:
    sweep = services.ledger.latest(name)
    assert sweep is not None
    return [trial for trial in services.ledger.trials(sweep) if trial.role is Role.TRIAL]


def statuses(services: Services) -> list[str]:
    assert isinstance(services.ledger, MemoryLedger)
    return list(services.ledger.status.values())


def test_baselines_come_first_and_trials_are_counted(
    services: Services, backend: TableBackend
) -> None:
    sweep = run_sweep(experiment(), DATASET, services)
    trials = services.ledger.trials(sweep)
    methods = [trial.as_dict()["recipe"].get("method") for trial in trials[:2]]
    assert methods == ["untuned", "bm25"]
    assert [trial.number for trial in trials[2:]] == list(range(6))
    assert len(backend.trained) == 6
    assert set(statuses(services)) == {"FINISHED"}
    assert not list(services.work.iterdir())


def test_a_finished_sweep_does_nothing_and_a_longer_one_goes_on(
    services: Services, backend: TableBackend
) -> None:
    run_sweep(experiment(), DATASET, services)
    first = [trial.run_id for trial in drawn(services)]
    run_sweep(experiment(), DATASET, services)
    assert len(backend.trained) == 6
    run_sweep(experiment(trials=9), DATASET, services)
    assert len(backend.trained) == 9
    assert [trial.run_id for trial in drawn(services)][:6] == first
    assert len({trial.fingerprint for trial in drawn(services)}) == 9


def first_parts(services: Services, count: int) -> list[int]:
    """Which part of the rate's range, evenly in the logarithm, each of the first trials is from."""
    rates = [trial.recipe.learning_rate for trial in drawn(services)[:count]]
    return sorted(int(math.log10(rate / 1e-5) / 2 * count) for rate in rates)


def test_a_sampler_begins_with_trials_from_every_part_of_the_range(services: Services) -> None:
    run_sweep(experiment(trials=12), DATASET, services)
    assert first_parts(services, 4) == [0, 1, 2, 3]


def test_they_are_not_begun_anew_by_a_sweep_taken_up_again(
    services: Services, backend: TableBackend
) -> None:
    calls = iter(range(100))

    def interrupt_the_third(recipe: LocalRecipe) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    backend.before_training = interrupt_the_third
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment(trials=12), DATASET, services)
    run_sweep(experiment(trials=12), DATASET, services)
    assert first_parts(services, 4) == [0, 1, 2, 3]


def test_control_drawn_at_random_they_are_not_spread(services: Services) -> None:
    run_sweep(experiment(trials=12, sampler=Sampler.RANDOM), DATASET, services)
    assert first_parts(services, 4) != [0, 1, 2, 3]


def test_an_interrupted_trial_is_run_again_with_its_own_recipe(
    services: Services, backend: TableBackend
) -> None:
    asked: list[LocalRecipe] = []

    def interrupt_the_fourth(recipe: LocalRecipe) -> None:
        asked.append(recipe)
        if len(asked) == 4:
            raise KeyboardInterrupt

    backend.before_training = interrupt_the_fourth
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment(), DATASET, services)
    assert len(drawn(services)) == 3
    assert sorted(statuses(services)).count("KILLED") == 2  # the trial and the sweep
    run_sweep(experiment(), DATASET, services)
    assert [trial.number for trial in drawn(services)] == list(range(6))
    assert backend.trained[3] == asked[3]
    assert len(backend.trained) == len(set(backend.trained)) == 6
    assert "RUNNING" not in statuses(services)


def test_a_failure_is_recorded_with_its_reason_and_the_sweep_goes_on(
    services: Services, backend: TableBackend
) -> None:
    calls = iter(range(100))

    def fail_the_second(recipe: LocalRecipe) -> None:
        if next(calls) == 1:
            raise RuntimeError("the disk of the accelerator caught fire")

    backend.before_training = fail_the_second
    run_sweep(experiment(), DATASET, services)
    trials = drawn(services)
    assert [trial.state for trial in trials].count("failed") == 1
    assert trials[1].as_dict()["failure"] == {
        "kind": "RuntimeError",
        "message": "the disk of the accelerator caught fire",
    }
    assert trials[1].metrics == {}
    assert len(trials) == 6
    board = leaderboard(services.ledger, "topics")
    assert board.best is not None
    assert board.trials[-1].number == 1


def test_a_collapsed_model_is_a_failure_and_never_the_best(
    services: Services, backend: TableBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(self: object, texts: list[str], role: object = None) -> object:
        import numpy as np

        return np.ones((len(texts), 16), dtype=np.float32) / 4

    monkeypatch.setattr("tests.integration.table_backend.TableEmbedder.embed", constant)
    run_sweep(experiment(trials=2), DATASET, services)
    trials = drawn(services)
    assert {trial.state for trial in trials} == {"failed"}
    assert {trial.as_dict()["failure"]["kind"] for trial in trials} == {"collapsed"}
    with pytest.raises(Refusal, match="no trial has a score"):
        promote(experiment(), DATASET, services)


def test_a_grid_is_tried_whole_and_once(services: Services, backend: TableBackend) -> None:
    knobs = {
        **experiment().space.arms[0].knobs,
        "learning_rate": Choice((1e-5, 1e-4)),
        "epochs": Choice((1, 2)),
    }
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    run_sweep(experiment(space=space, sampler=Sampler.GRID, trials=50), DATASET, services)
    assert len(backend.trained) == len(set(backend.trained)) == 8


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.RANDOM])
def test_a_small_space_ends_when_it_is_exhausted(
    sampler: Sampler, services: Services, backend: TableBackend
) -> None:
    knobs = {
        **experiment().space.arms[0].knobs,
        "learning_rate": Choice((1e-5, 1e-4)),
        "epochs": Choice((1,)),
    }
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    run_sweep(experiment(space=space, sampler=sampler, trials=50), DATASET, services)
    assert len(backend.trained) == 4


def test_a_new_study_reuses_the_results_of_the_old_one(
    services: Services, backend: TableBackend
) -> None:
    knobs = {**experiment().space.arms[0].knobs, "learning_rate": Choice((1e-5, 1e-4))}
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    small = experiment(space=space, sampler=Sampler.GRID, trials=12)
    run_sweep(small, DATASET, services)
    assert len(backend.trained) == 12
    run_sweep(small, DATASET, services, SweepOptions(new_study=True))
    assert len(backend.trained) == 12
    assert all(trial.reused_from for trial in drawn(services))
    assert leaderboard(services.ledger, "topics").best is not None


def test_the_pruner_stops_what_falls_behind(services: Services, backend: TableBackend) -> None:
    long = {**experiment().space.arms[0].knobs, "epochs": Choice((6,))}
    space = SearchSpace((Arm("local", "local", long),), seed=7)
    run_sweep(experiment(space=space, pruner=PrunerKind.MEDIAN, trials=12), DATASET, services)
    states = [trial.state for trial in drawn(services)]
    assert states.count("pruned") >= 2
    assert len(backend.trained) == states.count("completed")
    assert len(states) == 12


@pytest.mark.parametrize(
    ("change", "word"),
    [({"objective": Measure("ndcg", 5)}, "objective was mrr@10, is ndcg@5"), ({}, "space was")],
)
def test_a_changed_experiment_is_refused_unless_a_new_study_is_asked_for(
    change: dict[str, object], word: str, services: Services
) -> None:
    run_sweep(experiment(trials=1), DATASET, services)
    if not change:
        change = {"space": replace(experiment().space, seed=8)}
    with pytest.raises(UsageError, match=word):
        run_sweep(experiment(trials=1, **change), DATASET, services)
    run_sweep(experiment(trials=1, **change), DATASET, services, SweepOptions(new_study=True))


def test_no_trial_begins_when_the_minutes_are_spent(
    services: Services, backend: TableBackend
) -> None:
    run_sweep(experiment(budget=Budget(minutes=1e-9)), DATASET, services)
    assert backend.trained == []


def repeats(services: Services) -> list[Trial]:
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    return [trial for trial in services.ledger.trials(sweep) if trial.role is Role.FINALIST]


def test_finalists_are_trained_on_further_seeds_and_luck_in_one_wins_nothing(
    services: Services, backend: TableBackend
) -> None:
    # Half of the noise away, but on the seed of the search alone.
    lucky = {"multiple_negatives_ranking"}
    backend.luck = lambda recipe: 0.9 if recipe.seed == 7 and recipe.loss.value in lucky else 0.0
    plain = experiment(trials=8)
    run_sweep(plain, DATASET, services)
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    chosen_by_luck = candidate_of(services.ledger.trials(sweep), MRR)
    planned = experiment(trials=8, finalists=FinalistPlan(top=3, seeds=3))
    run_sweep(planned, DATASET, services)
    assert len(repeats(services)) == 9
    seeds = [trial.recipe.seed for trial in repeats(services)]  # type: ignore[union-attr]
    assert 7 not in seeds
    assert [seeds.count(seed) for seed in set(seeds)] == [3, 3, 3]
    ranked = finalists(services.ledger.trials(sweep), MRR)
    means = [each.mean(MRR) or 0.0 for each in ranked]
    assert means == sorted(means, reverse=True)
    assert chosen_by_luck is not None
    assert chosen_by_luck.role is Role.TRIAL
    assert max(means) < (chosen_by_luck.score(MRR) or 0.0)
    candidate = candidate_of(services.ledger.trials(sweep), MRR)
    assert candidate is not None
    assert candidate in ranked[0].repeats


def test_finalists_interrupted_go_on_where_they_stopped(
    services: Services, backend: TableBackend
) -> None:
    planned = experiment(trials=4, finalists=FinalistPlan(top=2, seeds=2))

    def interrupt_the_sixth(recipe: LocalRecipe) -> None:
        if len(backend.trained) == 5:
            raise KeyboardInterrupt

    backend.before_training = interrupt_the_sixth
    with pytest.raises(KeyboardInterrupt):
        run_sweep(planned, DATASET, services)
    assert [trial.number for trial in repeats(services)] == [0]
    backend.before_training = lambda recipe: None
    run_sweep(planned, DATASET, services)
    run_sweep(planned, DATASET, services)
    assert [trial.number for trial in repeats(services)] == [0, 1, 2, 3]
    assert len(backend.trained) == 8
