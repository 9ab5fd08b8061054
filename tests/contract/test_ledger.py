"""What every ledger owes, asked of the twin in memory and of MLflow."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.trial import Completed, Failed, Pruned
from tests.contract.store_cases import (
    ACCURACY,
    NDCG,
    STORES,
    baseline,
    dataset,
    decision,
    open_stores,
    report,
    run_trial,
    start,
    sweep,
    write_model,
)


@pytest.fixture(params=STORES)
def stores(request, tmp_path, tmp_path_factory):
    # A page of two runs: whatever is read is read over several pages.
    return open_stores(request.param, tmp_path / "store", tmp_path_factory.getbasetemp(), page=2)


@pytest.fixture
def ledger(stores):
    return stores.ledger


def test_a_sweep_is_found_again_as_it_began(ledger):
    assert ledger.latest("support-search") is None
    opened = ledger.begin(sweep())
    assert ledger.latest("support-search") == opened
    assert opened.identity == sweep().identity
    assert opened.digest == sweep().digest
    assert opened.objective == "ndcg@10"
    assert ledger.latest("another") is None


def test_the_latest_sweep_is_the_newest(ledger):
    ledger.begin(sweep(trials=1))
    second = ledger.begin(sweep(trials=2))
    assert ledger.latest("support-search") == second


def test_names_are_those_of_all_sweeps_sorted(ledger):
    assert ledger.names() == []
    for name in ("c", "a", "b", "a"):
        ledger.begin(sweep(name))
    assert ledger.names() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "..", "x" * 101, "a b", "ü"])
def test_a_name_that_no_store_can_hold_is_refused(ledger, name):
    with pytest.raises(UsageError, match="1 to 100"):
        ledger.begin(sweep(name))


def test_a_completed_trial_reads_back_as_it_was_returned(stores, ledger):
    opened = ledger.begin(sweep())
    trial = run_trial(stores, opened, start(), 0.61)
    assert ledger.trials(opened) == [trial]
    assert trial.outcome == Completed()
    assert trial.recipe == start().recipe
    assert trial.metrics == {"valid/ndcg_at_10": 0.61, "valid/accuracy": 0.25}
    assert (trial.seconds, trial.peak_memory) == (1.5, 123_456_789)
    assert trial.model_reference is not None
    assert trial.model_reference.startswith("models:/m-")
    assert ledger.report(trial.run_id) == report(0.61)


def test_the_final_report_overrides_what_the_last_epoch_said(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": 0.9, "train/loss": 1.0})
    ledger.epoch(run_id, 2, {"valid/ndcg_at_10": 0.8, "train/loss": 0.5})
    trial = ledger.finish(run_id, start(), TrialEnd(Completed(), 1.0, report=report(0.4)))
    assert trial.metrics["valid/ndcg_at_10"] == 0.4
    assert "train/loss" not in trial.metrics
    assert ledger.trials(opened) == [trial]


def test_a_pruned_trial_keeps_its_last_measures_and_no_model(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": 0.3})
    ledger.epoch(run_id, 2, {"valid/ndcg_at_10": 0.2})
    trial = ledger.finish(run_id, start(), TrialEnd(Pruned(2), 3.0))
    assert trial.outcome == Pruned(2)
    assert trial.metrics == {"valid/ndcg_at_10": 0.2}
    assert trial.model_reference is None
    assert ledger.trials(opened) == [trial]


def test_a_failed_trial_has_a_reason_and_no_score(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": 0.9})
    failure = Failed("collapsed", "all vectors are equal")
    trial = ledger.finish(run_id, start(), TrialEnd(failure, 3.0))
    assert trial.outcome == failure
    assert trial.metrics == {}
    assert trial.score(NDCG) is None
    assert ledger.trials(opened) == [trial]


def test_trials_come_baselines_first_then_by_number(ledger):
    opened = ledger.begin(sweep())
    for started in (start(2), start(0), baseline(1, "bm25"), start(1), baseline(0)):
        run_id = ledger.start(opened, dataset(), started)
        ledger.finish(run_id, started, TrialEnd(Completed(), 1.0, report=report()))
    found = [(trial.role.value, trial.number) for trial in ledger.trials(opened)]
    assert found == [("baseline", 0), ("baseline", 1), ("trial", 0), ("trial", 1), ("trial", 2)]


def test_an_interrupted_trial_counts_as_never_run(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": 0.9})
    ledger.abandon(run_id)
    assert ledger.trials(opened) == []
    assert ledger.find("support-search", start().fingerprint) is None
    assert ledger.resume(opened) == []


def test_resuming_ends_what_was_left_running_and_nothing_else(stores, ledger):
    opened = ledger.begin(sweep())
    other = ledger.begin(sweep("other"))
    kept = run_trial(stores, opened, start(0))
    for number in (2, 1):
        ledger.start(opened, dataset(), start(number))
    ledger.start(other, dataset(), start(5))
    ledger.end(opened, "FAILED", {})
    assert ledger.resume(opened) == [1, 2]
    assert ledger.resume(opened) == []
    assert ledger.trials(opened) == [kept]
    again = run_trial(stores, opened, start(1))
    assert ledger.trials(opened) == [kept, again]
    assert ledger.resume(other) == [5]


def test_find_gives_the_completed_trial_of_any_sweep_of_the_experiment(stores, ledger):
    first = ledger.begin(sweep())
    trial = run_trial(stores, first, start(0))
    failed = ledger.start(first, dataset(), start(1))
    ledger.finish(failed, start(1), TrialEnd(Failed("oom", "no memory"), 1.0))
    ledger.start(first, dataset(), start(2))
    ledger.begin(sweep(trials=9))
    assert ledger.find("support-search", trial.fingerprint) == trial
    assert ledger.find("support-search", start(1).fingerprint) is None
    assert ledger.find("support-search", start(2).fingerprint) is None
    assert ledger.find("support-search", "0" * 64) is None
    ledger.begin(sweep("other"))
    assert ledger.find("other", trial.fingerprint) is None


def test_a_trial_whose_model_is_gone_is_not_found_and_an_equal_one_is(stores, ledger):
    opened = ledger.begin(sweep())
    trial = run_trial(stores, opened, start(0))
    shutil.rmtree(stores.model_folder(trial.model_reference))
    assert ledger.find("support-search", trial.fingerprint) is None
    again = run_trial(stores, ledger.begin(sweep(trials=9)), start(0))
    assert ledger.find("support-search", trial.fingerprint) == again


def test_companions_are_kept_beside_the_model_and_in_its_manifest(stores, ledger, tmp_path):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    companions = {"canaries.json": '{"text": "größe"}', "README.md": "# Card\n"}
    model = write_model(tmp_path / "trained")
    end = TrialEnd(Completed(), 1.0, report=report(), model=model, companions=companions)
    trial = ledger.finish(run_id, start(), end)
    opened_at = stores.registry.fetch(trial.model_reference, tmp_path / "fetched")
    kept = {name: (tmp_path / "fetched" / name).read_text("utf-8") for name in companions}
    assert kept == companions
    assert (opened_at / "README.md").read_text() == "# A model\n"
    (stores.model_folder(trial.model_reference) / "canaries.json").unlink()
    with pytest.raises(DataError, match=r"canaries\.json"):
        stores.registry.fetch(trial.model_reference, tmp_path / "again")


def test_a_companion_that_may_hold_code_fails_the_trial(stores, ledger, tmp_path):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    model, companions = write_model(tmp_path / "trained"), {"evil.py": "raise SystemExit"}
    end = TrialEnd(Completed(), 1.0, report=report(), model=model, companions=companions)
    trial = ledger.finish(run_id, start(), end)
    assert isinstance(trial.outcome, Failed)
    assert "evil.py" in trial.outcome.message


def test_a_reused_trial_carries_the_result_and_the_model_of_its_equal(stores, ledger):
    opened = ledger.begin(sweep())
    original = run_trial(stores, opened, start(0), 0.7)
    again = replace(start(0), number=1)
    run_id = ledger.start(opened, dataset(), again)
    reused = ledger.finish(run_id, again, TrialEnd(Completed(), 0.0, reused=original))
    assert reused.metrics == original.metrics
    assert reused.model_reference == original.model_reference
    assert reused.reused_from == original.run_id
    assert ledger.report(reused.run_id) == report(0.7)
    assert ledger.trials(opened) == [original, reused]
    assert ledger.find("support-search", again.fingerprint) == original

    third = replace(start(0), number=2)
    run_id = ledger.start(opened, dataset(), third)
    assert ledger.finish(run_id, third, TrialEnd(Completed(), 0.0, reused=reused)).reused_from == (
        original.run_id
    )


def test_what_is_no_number_is_never_a_score(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": float("inf"), "train/loss": float("nan")})
    broken = replace(report(), means={NDCG: float("nan"), ACCURACY: 0.5})
    trial = ledger.finish(run_id, start(), TrialEnd(Completed(), 1.0, report=broken))
    assert trial.metrics == {"valid/accuracy": 0.5}
    assert ledger.trials(opened) == [trial]


def test_a_model_that_may_hold_code_is_not_kept(stores, ledger, tmp_path):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    model = write_model(tmp_path / "trained")
    (model / "modeling.py").write_text("print('hello')\n")
    trial = ledger.finish(run_id, start(), TrialEnd(Completed(), 1.0, report=report(), model=model))
    assert isinstance(trial.outcome, Failed)
    assert trial.outcome.kind == "store"
    assert "modeling.py" in trial.outcome.message
    assert trial.model_reference is None
    assert ledger.trials(opened) == [trial]
    assert not list(stores.folder.rglob("modeling.py"))


def test_a_promotion_is_kept_beside_the_trials_and_is_none(stores, ledger):
    opened = ledger.begin(sweep())
    trial = run_trial(stores, opened, start())
    reports = {"candidate": report(0.6, "test"), "rival": report(0.5, "test")}
    run_id = ledger.record_promotion(opened, decision("support"), reports)
    assert run_id
    assert ledger.trials(opened) == [trial]
    assert ledger.latest("support-search") == opened
    assert ledger.resume(opened) == []


def test_many_trials_are_all_read(ledger):
    opened = ledger.begin(sweep())
    for number in range(7):
        run_id = ledger.start(opened, dataset(), start(number))
        ledger.finish(run_id, start(number), TrialEnd(Completed(), 1.0, report=report()))
    assert [trial.number for trial in ledger.trials(opened)] == list(range(7))
    assert ledger.find("support-search", start(0).fingerprint).number == 0
    assert ledger.find("support-search", start(6).fingerprint).number == 6
