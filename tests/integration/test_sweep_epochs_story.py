"""A sweep over epochs on a quick backend: one training a recipe, and the best epoch of it kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import optuna
import pytest

from embedsweep.core.canaries import CANARIES_FILE
from embedsweep.core.dataset import Split
from embedsweep.core.experiment import Experiment, PrunerKind, Sampler
from embedsweep.core.finalists import FinalistPlan, finalists
from embedsweep.core.ports import Embedder, OpenSweep
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.roles import TextRole
from embedsweep.core.space import Arm, Choice, SearchSpace
from embedsweep.core.trial import Role, Trial
from embedsweep.evaluation import evaluate, selection_optimism
from embedsweep.evaluation.sample import QUERIES, for_epochs
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.compare import leaderboard, optimism_of
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import SweepOptions, run_sweep
from tests.integration.table_backend import TableBackend, TableEmbedder, benchmark
from tests.integration.table_story import DATASET, MRR, experiment, services_of

KEY, LOSS = MRR.key("valid"), "train/loss"
BEST = 2
WORSE_BY_EPOCH = {1: 1.0, BEST: 0.0, 3: 0.6, 4: 2.0}
"""What the noise grows by: the second of the epochs is the best one."""


@pytest.fixture
def backend() -> TableBackend:
    return TableBackend(overtraining=WORSE_BY_EPOCH.__getitem__)


@pytest.fixture
def services(tmp_path: Path, backend: TableBackend) -> Services:
    return services_of(tmp_path, backend)


def over(keep_from: int | None, **changes: object) -> Experiment:
    """Four epochs, of which those from one on may be kept."""
    knobs = {**experiment().space.arms[0].knobs, "epochs": Choice((4,))}
    if keep_from is not None:
        knobs["keep_from"] = Choice((keep_from,))
    return experiment(space=SearchSpace((Arm("local", "local", knobs),), seed=7), **changes)


def swept(services: Services, of: Experiment) -> tuple[OpenSweep, list[Trial]]:
    sweep = run_sweep(of, DATASET, services)
    trials = services.ledger.trials(sweep)
    return sweep, [trial for trial in trials if trial.role is Role.TRIAL]


def kept_files(services: Services, trial: Trial) -> Path:
    assert isinstance(services.ledger, MemoryLedger)
    assert trial.model_reference is not None
    return services.ledger.models / trial.model_reference.removeprefix("models:/")


def noise_of(services: Services, trial: Trial) -> float:
    (config,) = kept_files(services, trial).rglob("config.json")
    noise = json.loads(config.read_text())["noise"]
    assert isinstance(noise, float)
    return noise


def test_the_best_epochs_model_and_report_are_the_trials(services: Services) -> None:
    _, trials = swept(services, over(1, trials=4))
    assert len(trials) == 4
    for trial in trials:
        assert isinstance(trial.recipe, LocalRecipe)
        curve = dict(services.ledger.curves(trial.run_id, [KEY])[KEY])
        assert sorted(curve) == [1, 2, 3, 4]
        assert trial.kept_epoch == BEST
        assert trial.score(MRR) == curve[BEST] == max(curve.values())
        assert services.ledger.report(trial.run_id).means[MRR] == curve[BEST]
        assert noise_of(services, trial) == 1.0 + trial.recipe.learning_rate * 1e4
        assert "2 epochs of 1 to 4" in trial.recipe_in_words
        assert trial.as_dict()["kept_epoch"] == BEST
    best = leaderboard(services.ledger, "topics").best
    assert best is not None
    assert best.as_dict()["recipe"]["keep_from"] == 1


def test_without_a_choice_the_last_epochs_model_is_the_trials(services: Services) -> None:
    _, trials = swept(services, over(None, trials=2))
    for trial in trials:
        assert isinstance(trial.recipe, LocalRecipe)
        assert trial.kept_epoch is None
        last = 1.0 + trial.recipe.learning_rate * 1e4 + WORSE_BY_EPOCH[4]
        assert noise_of(services, trial) == last
        assert "4 epochs, lr" in trial.recipe_in_words


def study_of(services: Services, sweep: OpenSweep) -> optuna.study.Study:
    sampler, pruner = optuna.samplers.RandomSampler(), optuna.pruners.NopPruner()
    return services.open_study(f"{sweep.name}/{sweep.run_id}", sampler, pruner)


@pytest.mark.parametrize(
    ("keep_from", "pruner", "asked"),
    [
        (1, PrunerKind.NONE, [1, 2, 3, 4]),
        (3, PrunerKind.NONE, [3, 4]),
        (3, PrunerKind.MEDIAN, [1, 2, 3, 4]),
        (None, PrunerKind.NONE, [1, 2, 3, 4]),
    ],
)
def test_optuna_is_told_what_every_epoch_is_worth_and_draws_none(
    keep_from: int | None, pruner: PrunerKind, asked: list[int], services: Services
) -> None:
    sweep, trials = swept(services, over(keep_from, trials=3, pruner=pruner))
    told = study_of(services, sweep).get_trials()
    assert len(told) == 3
    for trial, of_optuna in zip(trials, told, strict=True):
        curve = dict(services.ledger.curves(trial.run_id, [KEY])[KEY])
        assert of_optuna.intermediate_values == {epoch: curve[epoch] for epoch in asked}
        assert of_optuna.value == trial.score(MRR)
        assert set(of_optuna.params) == {"local.loss", "local.learning_rate"}
        losses = dict(services.ledger.curves(trial.run_id, [LOSS])[LOSS])
        assert sorted(losses) == [1, 2, 3, 4]


def test_a_grid_trains_each_recipe_once_for_all_its_epochs(
    services: Services, backend: TableBackend
) -> None:
    knobs = {**over(1).space.arms[0].knobs, "learning_rate": Choice((1e-5, 1e-4))}
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    grid = over(1, sampler=Sampler.GRID, trials=50)
    run_sweep(replace(grid, space=space), DATASET, services)
    assert len(backend.trained) == 4
    # The control: drawn, the four numbers of epochs take sixteen trainings.
    drawn = {**knobs, "epochs": Choice((1, 2, 3, 4))}
    del drawn["keep_from"]
    space = SearchSpace((Arm("local", "local", drawn),), seed=7)
    run_sweep(replace(grid, space=space), DATASET, services, SweepOptions(new_study=True))
    assert len(backend.trained) == 4 + 16


def test_a_reused_trial_kept_what_its_origin_kept(services: Services) -> None:
    knobs = {**over(1).space.arms[0].knobs, "learning_rate": Choice((1e-5,))}
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    grid = replace(over(1, sampler=Sampler.GRID, trials=2), space=space)
    swept(services, grid)
    sweep = run_sweep(grid, DATASET, services, SweepOptions(new_study=True))
    again = [trial for trial in services.ledger.trials(sweep) if trial.role is Role.TRIAL]
    assert [(trial.kept_epoch, bool(trial.reused_from)) for trial in again] == [(BEST, True)] * 2


def test_finalists_end_after_the_epoch_their_trial_kept(services: Services) -> None:
    planned = over(1, trials=3, finalists=FinalistPlan(top=2, seeds=2))
    sweep, trials = swept(services, planned)
    repeats = [each for each in services.ledger.trials(sweep) if each.role is Role.FINALIST]
    assert len(repeats) == 4
    for repeat in repeats:
        assert isinstance(repeat.recipe, LocalRecipe)
        assert (repeat.recipe.epochs, repeat.recipe.keep_from) == (BEST, None)
        assert repeat.kept_epoch is None
    ranked = finalists([*trials, *repeats], MRR)
    assert [len(each.repeats) for each in ranked] == [2, 2]
    assert {each.trial.run_id for each in ranked} <= {trial.run_id for trial in trials}


def test_a_winners_optimism_counts_the_epochs_it_was_chosen_among(services: Services) -> None:
    _, trials = swept(services, over(1, trials=4))
    reports = [services.ledger.report(trial.run_id) for trial in trials]
    counted = optimism_of(trials, MRR, services.ledger)
    assert counted is not None
    assert counted == selection_optimism(reports, MRR, passed_over=4 * 3)
    alone = selection_optimism(reports, MRR)
    assert alone is not None
    assert counted > alone
    # The control: where nothing was chosen, the trials alone count.
    unchosen = [replace(trial, kept_epoch=None) for trial in trials]
    assert optimism_of(unchosen, MRR, services.ledger) == alone


def test_canaries_are_of_the_kept_model_as_it_is_served(
    services: Services, backend: TableBackend
) -> None:
    opened: list[Path] = []

    def open_live(folder: Path) -> Embedder:
        opened.append(folder)
        # Served, a model computes a little otherwise than it is measured.
        return TableEmbedder(backend.open(folder).noise + 0.25)

    _, trials = swept(replace(services, open_live=open_live), over(1, trials=2))
    assert len(opened) == 1 + 2  # the untuned model's and each trial's, once
    for trial in trials:
        (path,) = kept_files(services, trial).rglob(CANARIES_FILE)
        rows = json.loads(path.read_text())["canaries"]
        served = TableEmbedder(noise_of(services, trial) + 0.25)
        expected = [served.embed([row["text"]], TextRole(row["role"]))[0] for row in rows]
        assert np.array_equal([row["vector"] for row in rows], expected)
        measured = TableEmbedder(noise_of(services, trial)).embed([rows[0]["text"]])[0]
        assert not np.allclose(rows[0]["vector"], measured, atol=1e-3)


def test_epochs_are_compared_on_a_sample_of_a_large_split_and_the_kept_one_measured_in_full(
    services: Services, backend: TableBackend
) -> None:
    valid = benchmark(Split.VALID, QUERIES + 50)
    sweep = run_sweep(over(1, trials=1), replace(DATASET, valid=valid), services)
    trial = services.ledger.trials(sweep)[-1]
    report = services.ledger.report(trial.run_id)
    embedder = TableEmbedder(noise_of(services, trial))
    whole, part = (evaluate(embedder, each, MRR).means for each in (valid, for_epochs(valid)))
    assert (report.benchmark, report.means) == (valid.fingerprint, whole)
    assert (trial.kept_epoch, trial.score(MRR)) == (BEST, whole[MRR])
    assert dict(services.ledger.curves(trial.run_id, [KEY])[KEY])[BEST] == part[MRR]
    # The control: the two do differ.
    assert part[MRR] != whole[MRR]


@pytest.mark.parametrize("pruner", [PrunerKind.NONE, PrunerKind.MEDIAN])
def test_a_single_epoch_is_measured_in_full_at_once_unless_a_pruner_compares_it(
    pruner: PrunerKind, services: Services
) -> None:
    valid = benchmark(Split.VALID, QUERIES + 50)
    knobs = {**experiment().space.arms[0].knobs, "epochs": Choice((1,))}
    space = SearchSpace((Arm("local", "local", knobs),), seed=7)
    planned = experiment(space=space, trials=1, pruner=pruner)
    sweep = run_sweep(planned, replace(DATASET, valid=valid), services)
    trial = services.ledger.trials(sweep)[-1]
    embedder = TableEmbedder(noise_of(services, trial))
    whole, part = (evaluate(embedder, each, MRR).means[MRR] for each in (valid, for_epochs(valid)))
    assert whole != part
    assert trial.score(MRR) == whole
    [(epoch, value)] = services.ledger.curves(trial.run_id, [KEY])[KEY]
    assert (epoch, value) == (1, whole if pruner is PrunerKind.NONE else part)


class Recalling:
    """A served model that is not to be asked itself."""

    def __init__(self, noise: float) -> None:
        self.recalling = TableEmbedder(noise)


def test_a_model_that_recalls_its_canaries_need_not_embed_them(
    services: Services, backend: TableBackend
) -> None:
    def open_live(folder: Path) -> Embedder:
        return cast("Embedder", Recalling(backend.open(folder).noise))

    _, (trial,) = swept(replace(services, open_live=open_live), over(1, trials=1))
    (path,) = kept_files(services, trial).rglob(CANARIES_FILE)
    rows = json.loads(path.read_text())["canaries"]
    recalled = TableEmbedder(noise_of(services, trial))
    expected = [recalled.embed([row["text"]], TextRole(row["role"]))[0] for row in rows]
    assert np.array_equal([row["vector"] for row in rows], expected)
