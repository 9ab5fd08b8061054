"""How a trial went and what is kept with a sweep, asked of both ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.bill import Bill
from embedsweep.core.ports import TrialEnd
from embedsweep.core.trial import Completed, Pruned
from embedsweep.stores.memory import MemoryLedger
from tests.contract.store_cases import STORES, dataset, open_stores, report, start, sweep

NDCG, LOSS = "valid/ndcg_at_10", "train/loss"


@pytest.fixture(params=STORES)
def ledger(request, tmp_path, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    return open_stores(request.param, tmp_path / "store", base).ledger


def trained(ledger, opened, number=0):
    """A trial of two epochs, whose report is of neither."""
    run_id = ledger.start(opened, dataset(), start(number))
    ledger.epoch(run_id, 1, {NDCG: 0.3, LOSS: 2.0})
    ledger.epoch(run_id, 2, {NDCG: 0.4, LOSS: 1.0})
    end = TrialEnd(Completed(), 1.0, report=report(0.45), bill=Bill(10, 20, 0.5))
    return ledger.finish(run_id, start(number), end)


def test_a_curve_is_in_order_and_what_an_epoch_told_stands_beside_the_end(ledger):
    trial = trained(ledger, ledger.begin(sweep()))
    curves = ledger.curves(trial.run_id, [NDCG, LOSS, "valid/none", "cost", "trained_tokens"])
    assert curves == {
        NDCG: [(1, 0.3), (2, 0.4)],
        LOSS: [(1, 2.0), (2, 1.0)],
        "cost": [(2, 0.5)],
        "trained_tokens": [(2, 20.0)],
    }


def test_a_pruned_trial_keeps_its_curve(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {NDCG: 0.3})
    ledger.finish(run_id, start(), TrialEnd(Pruned(1), 1.0))
    assert ledger.curves(run_id, [NDCG, LOSS]) == {NDCG: [(1, 0.3)]}


def test_a_reused_trial_went_as_its_origin_did(ledger):
    opened = ledger.begin(sweep())
    origin = trained(ledger, opened)
    run_id = ledger.start(opened, dataset(), start(1))
    end = TrialEnd(Completed(), 0.0, reused=origin)
    again = ledger.finish(run_id, start(1), end)
    assert ledger.curves(again.run_id, [LOSS]) == ledger.curves(origin.run_id, [LOSS])


def test_the_epoch_kept_is_remembered_and_is_a_reused_trials_too(ledger):
    opened = ledger.begin(sweep())
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {NDCG: 0.5})
    ledger.epoch(run_id, 2, {NDCG: 0.4})
    end = TrialEnd(Completed(), 1.0, report=report(0.5), kept_epoch=1)
    trial = ledger.finish(run_id, start(), end)
    again_id = ledger.start(opened, dataset(), start(1))
    ledger.finish(again_id, start(1), TrialEnd(Completed(), 0.0, reused=trial))
    unchosen = trained(ledger, opened, 2)
    told = [(each.kept_epoch, each.metrics[NDCG]) for each in ledger.trials(opened)]
    assert told == [(1, 0.5), (1, 0.5), (None, 0.45)]
    assert trial.kept_epoch == 1
    assert trial.as_dict()["kept_epoch"] == 1
    # What is kept of an earlier epoch bends no curve.
    assert ledger.curves(run_id, [NDCG]) == {NDCG: [(1, 0.5), (2, 0.4)]}
    if not isinstance(ledger, MemoryLedger):
        kept = [
            ledger.client.get_run(each).data.params.get("kept_epoch")
            for each in (run_id, again_id, unchosen.run_id)
        ]
        assert kept == ["1", "1", None]
        # The run's own value, as MLflow's tables show it, is the kept model's.
        assert ledger.client.get_run(run_id).data.metrics[NDCG] == 0.5


def test_a_file_of_a_sweep_is_replaced_and_lies_where_it_is_said_to(ledger):
    opened = ledger.begin(sweep())
    ledger.attach(opened, "report.html", "<p>first</p>")
    place = ledger.attach(opened, "report.html", "<p>sécond \ud800</p>")
    other = ledger.attach(opened, "leakage/rows.json", "[]")
    assert place != other
    assert ledger.latest("support-search") == opened
    if isinstance(ledger, MemoryLedger):
        assert ledger.attached[opened.run_id, "report.html"] == "<p>sécond ?</p>"
    else:
        assert Path(place).read_text(encoding="utf-8") == "<p>sécond ?</p>"
