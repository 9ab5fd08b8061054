"""The hosted backend at the project's own fine-tuning service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedsweep.backends.hosted.clock import Clock
from embedsweep.core.jobs import JobState
from embedsweep.core.ports import StopTraining
from embedsweep.core.recipe import Base, FileForm, Loss
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from tests.integration.fine_tuning_twins import BASE, running
from tests.integration.hosted_parts import RECIPE, Desk
from tests.integration.quick_trainer import FIRST_NUMBER, number_told

RECIPE_HERE = replace(RECIPE, base_model=BASE, epochs=3, loss=Loss.MULTIPLE_NEGATIVES_RANKING)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def desk(service, tmp_path):
    desk = Desk(f"http://127.0.0.1:{service.port}/v1", tmp_path, clock=Clock())
    yield desk
    desk.book.close()


def numbers(desk):
    """The number that each epoch's model tells, 100 and the epoch's."""
    told = []

    def on_epoch(end):
        told.append(number_told(end.embedder.embed(["apple"], TextRole.QUERY)[0]))

    return told, on_epoch


@pytest.mark.parametrize("form", FileForm)
def test_a_recipe_becomes_a_model_epoch_by_epoch(desk, service, form):
    told, on_epoch = numbers(desk)
    folder = desk.train(replace(RECIPE_HERE, form=form), on_epoch)
    assert [epoch for epoch, _ in desk.heard.epochs] == [1, 2, 3]
    assert told == [FIRST_NUMBER + 1, FIRST_NUMBER + 2, FIRST_NUMBER + 3]
    assert desk.heard.steps[-1][0] == desk.heard.steps[-1][1]
    assert all("train/loss" in metrics for _, metrics in desk.heard.metrics)
    assert desk.heard.lines == []
    opened = desk.backend.open(folder).embed(["apple"])
    assert number_told(opened[0]) == FIRST_NUMBER + 3
    job = service.client().fine_tuning.jobs.retrieve(desk.heard.facts["job_id"])
    assert job.hyperparameters.n_epochs == 3
    assert job.hyperparameters.model_extra["loss"] == "multiple_negatives_ranking"
    assert desk.heard.facts["trained_tokens"] == str(job.trained_tokens)


def test_the_same_recipe_is_one_job(desk, service):
    recipe = replace(RECIPE_HERE, seed=11)
    for _ in range(2):
        desk.train(recipe)
    key = desk.heard.facts["job_key"]
    assert len(service.client().fine_tuning.jobs.list(metadata={"job_key": key}).data) == 1


def test_a_pruned_recipe_is_cancelled_or_has_ended(desk):
    def stop(end):
        raise StopTraining

    with pytest.raises(StopTraining):
        desk.train(replace(RECIPE_HERE, seed=12), stop)
    state = desk.book.find(desk.heard.facts["job_key"]).state
    assert state in (JobState.CANCELLED, JobState.SUCCEEDED)


def test_the_services_refusal_fails_the_trial_in_its_words(desk):
    with pytest.raises(TrialFailure, match=r"n_epochs: is 1000000") as caught:
        desk.train(replace(RECIPE_HERE, epochs=1_000_000))
    assert caught.value.kind == "provider"
    assert desk.book.jobs() == []


def test_an_untuned_model_embeds(desk, tmp_path):
    desk.backend.untuned(Base(BASE, RECIPE.provider), tmp_path / "base")
    assert number_told(desk.backend.open(tmp_path / "base").embed(["apple"])[0]) == 1
