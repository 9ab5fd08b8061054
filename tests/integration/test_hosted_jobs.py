"""A job is followed from its submission to its model, whatever the provider does meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedsweep.backends.hosted.settings import HostedSettings
from embedsweep.backends.model_file import MODEL_FILE
from embedsweep.core.bill import Bill, Price
from embedsweep.core.errors import StoreError
from embedsweep.core.jobs import JobState
from embedsweep.core.ports import StopTraining
from embedsweep.core.recipe import LOOPBACK
from embedsweep.core.trial import TrialFailure
from tests.integration.hosted_parts import PROVIDER, RECIPE, Desk, price_for, score_of

CREATE = ("POST", "/fine_tuning/jobs")
CANCEL = ("POST", "/fine_tuning/jobs/ftjob-1/cancel")
LONG = replace(RECIPE, epochs=4)
RUNNING = ["validating_files", "running", "running", "running", "running", "succeeded"]


@pytest.fixture
def desk(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, prices=price_for(3.0))
    yield desk
    desk.book.close()


def stop(end):
    raise StopTraining


def interrupt(end):
    raise KeyboardInterrupt


def test_metrics_steps_and_epochs_are_told_once_and_in_order(provider, desk):
    provider.tell(statuses=RUNNING)
    folder = desk.train(LONG)
    losses = [{"train/loss": 1 / step} for step in (1, 2, 3, 4)]
    assert desk.heard.metrics == list(zip((1, 2, 3, 4), losses, strict=True))
    assert desk.heard.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert desk.heard.epochs == list(zip((1, 2, 3, 4), losses, strict=True))
    assert desk.heard.lines == []
    assert set(desk.heard.facts) == {
        "job_key",
        "job_id",
        "file_id",
        "fine_tuned_model",
        "trained_tokens",
    }
    values = json.loads((folder / MODEL_FILE).read_text())
    assert values["model"] == desk.heard.facts["fine_tuned_model"]
    assert (values["job_id"], values["provider"]) == ("ftjob-1", PROVIDER)
    assert values["base_model"] == RECIPE.base_model
    assert score_of(desk.backend.open(folder)) == desk.heard.scores[-1]


def test_a_checkpoint_can_be_kept(provider, desk, tmp_path):
    provider.tell(statuses=RUNNING)
    desk.train(LONG, on_epoch=lambda end: end.save(tmp_path / f"epoch-{end.epoch}"))
    kept = [desk.backend.open(tmp_path / f"epoch-{epoch}").model.name for epoch in (1, 4)]
    assert kept == [f"ft:{RECIPE.base_model}:ftjob-1:step-1", desk.heard.facts["fine_tuned_model"]]


@pytest.mark.parametrize("settings", [{"checkpoints": False}, {"served_checkpoints": False}])
def test_without_checkpoints_the_last_epoch_is_told(provider, desk, settings):
    provider.tell(statuses=RUNNING, **settings)
    desk.train(LONG)
    assert [epoch for epoch, _ in desk.heard.epochs] == [4]
    unserved = "served_checkpoints" in settings
    assert [line.startswith("epoch 1 cannot be measured") for line in desk.heard.lines][:1] == (
        [True] if unserved else []
    )


def test_an_unknown_status_is_taken_for_work_and_told_once(provider, desk):
    provider.tell(statuses=["queued", "compressing", "compressing", "compressing", "succeeded"])
    desk.train()
    told = [line for line in desk.heard.lines if "compressing" in line]
    assert len(told) == 1
    assert desk.book.find(desk.heard.facts["job_key"]).state is JobState.SUCCEEDED


def test_a_success_without_a_model_is_a_failure_that_keeps_the_job(provider, desk):
    provider.tell(model=False)
    with pytest.raises(TrialFailure, match="job ftjob-1 succeeded but names no model") as caught:
        desk.train()
    assert caught.value.kind == "no_model_name"
    assert desk.heard.facts["job_id"] == "ftjob-1"
    assert desk.heard.scores[2:] == []
    with pytest.raises(TrialFailure, match="names no model"):
        desk.train()
    assert len(provider.jobs()) == 1


def test_a_model_named_late_is_found_the_next_time(provider, desk):
    provider.tell(model=False)
    with pytest.raises(TrialFailure):
        desk.train()
    provider.tell(model=True)
    desk.train()
    assert len(provider.jobs()) == 1


def test_the_providers_own_error_is_shown_as_it_is(provider, desk):
    error = {"code": "invalid_training_file", "message": "Line 7: no label", "param": "file"}
    provider.tell(statuses=["validating_files", "failed"], error=error)
    with pytest.raises(TrialFailure) as caught:
        desk.train()
    assert caught.value.kind == "provider"
    expected = "job ftjob-1 failed: Line 7: no label (code invalid_training_file, param file)"
    assert caught.value.message == expected
    record = desk.book.find(desk.heard.facts["job_key"])
    assert (record.state, record.cost) == (JobState.FAILED, 0.0)
    assert record.message == "Line 7: no label (code invalid_training_file, param file)"
    assert desk.meter.bill.trained_tokens == 0


def test_what_failed_is_submitted_anew_the_next_time(provider, desk):
    provider.tell(statuses=["failed"])
    for _ in range(2):
        with pytest.raises(TrialFailure, match="failed: no reason told"):
            desk.train()
    assert len(provider.jobs()) == 2
    assert desk.book.find(desk.heard.facts["job_key"]).attempt == 2


def test_a_job_cancelled_elsewhere_is_a_failure(provider, desk):
    provider.tell(statuses=["running", "cancelled"])
    with pytest.raises(TrialFailure, match="ftjob-1 was cancelled at the provider") as caught:
        desk.train()
    assert caught.value.kind == "cancelled"
    assert desk.book.spent("sweep") == 3.0


def test_a_pruned_trial_cancels_its_job(provider, desk):
    provider.tell(statuses=RUNNING)
    with pytest.raises(StopTraining):
        desk.train(LONG, on_epoch=stop)
    assert [job["status"] for job in provider.jobs()] == ["cancelled"]
    assert desk.book.find(desk.heard.facts["job_key"]).state is JobState.CANCELLED
    assert [epoch for epoch, _ in desk.heard.epochs] == [1]


def test_a_trial_whose_checkpoint_is_worth_no_score_cancels_its_job(provider, desk):
    provider.tell(statuses=RUNNING, embeddings="nan", batch=2)
    with pytest.raises(TrialFailure, match="NaN"):
        desk.train(LONG)
    assert [job["status"] for job in provider.jobs()] == ["cancelled"]


def test_a_job_that_ended_before_it_was_cancelled_is_kept(provider, desk):
    """The last look showed it running; it has succeeded by the time it is to be cancelled."""
    provider.tell(statuses=["running", "succeeded"])
    with pytest.raises(StopTraining):
        desk.train(LONG, on_epoch=lambda end: (provider_looks(desk), stop(end)))
    record = desk.book.find(desk.heard.facts["job_key"])
    assert (record.state, record.model is None) == (JobState.SUCCEEDED, False)
    desk.train(LONG)
    assert len(provider.jobs()) == 1


def provider_looks(desk):
    provider = desk.backend._providers[RECIPE.provider]
    provider.once(lambda client: client.fine_tuning.jobs.with_raw_response.retrieve("ftjob-1"))


def test_ctrl_c_leaves_the_job_and_says_how_to_go_on(provider, desk):
    provider.tell(statuses=RUNNING)
    with pytest.raises(KeyboardInterrupt):
        desk.train(LONG, on_epoch=interrupt)
    assert [job["status"] for job in provider.jobs()] == ["validating_files"]
    assert provider.times_asked(*CANCEL) == 0
    said = f"job ftjob-1 goes on at {PROVIDER}; run the same command again to follow it"
    assert desk.heard.lines[-1].startswith(said)
    desk.train(LONG)
    assert len(provider.jobs()) == 1
    assert desk.heard.epochs[-1][0] == 4


def test_ctrl_c_cancels_the_job_where_that_is_asked_for(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, settings=HostedSettings(cancel_on_interrupt=True))
    provider.tell(statuses=RUNNING)
    with pytest.raises(KeyboardInterrupt):
        desk.train(LONG, on_epoch=interrupt)
    assert [job["status"] for job in provider.jobs()] == ["cancelled"]
    assert desk.heard.lines[-1] == f"job ftjob-1 was cancelled at {PROVIDER}"


def test_a_store_that_fails_leaves_the_job(provider, desk):
    def fail(end):
        raise StoreError("the tracking store", "mlflow.db", "it is gone", "bring it back")

    provider.tell(statuses=RUNNING)
    with pytest.raises(StoreError, match="it is gone"):
        desk.train(LONG, on_epoch=fail)
    assert provider.times_asked(*CANCEL) == 0


def test_a_job_that_takes_too_long_is_cancelled(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, settings=HostedSettings(deadline=30.0))
    provider.tell(statuses=["queued"])
    with pytest.raises(TrialFailure, match="job ftjob-1 is still 'queued' after 30 s") as caught:
        desk.train()
    assert caught.value.kind == "deadline"
    assert [job["status"] for job in provider.jobs()] == ["cancelled"]


def test_polls_grow_apart_up_to_their_bound(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, settings=HostedSettings(poll=0.3))
    provider.tell(statuses=["running"] * 5 + ["succeeded"])
    desk.train()
    assert desk.slept == pytest.approx([0.25, 0.275, 0.3, 0.3, 0.3])


def test_the_end_of_a_job_is_seen_within_a_tenth_of_its_time(provider, desk):
    provider.tell(statuses=["running"] * 39 + ["succeeded"])
    desk.train()
    assert sum(desk.slept) > 90
    assert all(
        pause <= 0.26 + sum(desk.slept[:place]) / 10 for place, pause in enumerate(desk.slept)
    )
    assert max(desk.slept) > 9


def test_a_job_at_the_service_of_this_machine_is_looked_at_twice_a_second(provider, desk):
    provider.tell(statuses=["running"] * 39 + ["succeeded"])
    desk.train(replace(RECIPE, provider=LOOPBACK))
    assert max(desk.slept) == pytest.approx(0.5)


def test_a_provider_that_fails_while_a_job_runs_is_waited_for(provider, desk):
    provider.tell(status=[503, 30, "/fine_tuning/jobs/", None], times=3)
    desk.train()
    assert desk.slept[:3] == [30.0, 30.0, 30.0]
    assert len(provider.jobs()) == 1


def test_a_job_that_succeeded_is_taken_as_it_is(provider, desk, tmp_path):
    desk.train()
    for file in tmp_path.glob("model-*/*"):
        file.unlink()
    again = Desk(provider.url, tmp_path, prices=price_for(3.0))
    again.train()
    assert len(provider.jobs()) == 1
    assert again.heard.scores[-1] == desk.heard.scores[-1]
    assert again.heard.facts == desk.heard.facts
    assert again.heard.metrics == desk.heard.metrics
    assert provider.times_asked("POST", "/files") == 1
    assert again.book.spent("sweep") == 3.0


def test_a_job_the_provider_has_forgotten_is_told_with_the_way_on(provider, desk):
    provider.tell(statuses=RUNNING)
    with pytest.raises(KeyboardInterrupt):
        desk.train(LONG, on_epoch=interrupt)
    provider.reset()
    key = desk.heard.facts["job_key"]
    with pytest.raises(StoreError, match=f"embedsweep jobs resubmit {key} --yes"):
        desk.train(LONG)
    desk.book.resubmit(key)
    desk.train(LONG)
    assert len(provider.jobs()) == 1


def test_the_bill_is_what_the_provider_counted(provider, tmp_path):
    prices = {RECIPE.base_model: Price(embedding=1e6, training=2e6)}
    desk = Desk(provider.url, tmp_path, prices=prices)
    provider.tell(tokens=50, checkpoints=False)
    desk.train()
    embedded = len("apple") + len("pear")
    assert desk.meter.bill == Bill(embedded, 50, 100.0 + embedded)
    assert desk.book.spent("sweep") == 100.0 + embedded
    assert desk.heard.facts["trained_tokens"] == "50"
