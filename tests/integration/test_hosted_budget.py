"""A cap is spent to the last job that fits, by however many workers, and never beyond."""

from __future__ import annotations

import threading

import pytest

from embedsweep.core.errors import Refusal
from embedsweep.core.trial import TrialFailure
from tests.integration.hosted_parts import Desk, other, price_for


def desks_with(provider, folder, cap):
    return [Desk(provider.url, folder, cap=cap, prices=price_for(3.0)) for _ in range(8)]


def worked(desks):
    """What came of one job for each desk, all at the same time."""
    results = []

    def work(desk, number):
        try:
            desk.train(other(number))
            results.append("done")
        except Refusal as refusal:
            results.append((refusal.exit_code, refusal.faults[0].what))

    threads = [
        threading.Thread(target=work, args=(desk, number)) for number, desk in enumerate(desks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_of_eight_jobs_of_3_a_cap_of_10_pays_for_three(provider, tmp_path):
    desks = desks_with(provider, tmp_path, 10.0)
    results = worked(desks)
    assert len(provider.jobs()) == 3
    assert results.count("done") == 3
    assert results.count((5, "budget reached (9.00 of 10.00)")) == 5
    assert desks[0].book.spent("sweep") == 9.0
    assert sum(desk.meter.bill.cost for desk in desks) == 9.0


def test_without_a_cap_all_eight_are_submitted(provider, tmp_path):
    """The control."""
    assert worked(desks_with(provider, tmp_path, None)) == ["done"] * 8
    assert len(provider.jobs()) == 8


def test_a_job_that_cost_less_makes_room_for_another(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, cap=5.0, prices=price_for(3.0))
    provider.tell(tokens=0)
    desk.train(other(1))
    desk.train(other(2))
    assert desk.book.spent("sweep") == 0.0
    provider.tell(tokens=None)
    desk.train(other(3))
    with pytest.raises(Refusal, match=r"budget reached \(3.00 of 5.00\)"):
        desk.train(other(4))
    assert len(provider.jobs()) == 3


def test_what_is_unclear_stays_debited(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, cap=5.0, prices=price_for(3.0))
    provider.tell(create="500-after", list="none")
    with pytest.raises(Refusal, match="ambiguous"):
        desk.train(other(1))
    with pytest.raises(Refusal, match="budget reached"):
        desk.train(other(2))
    desk.book.resubmit(desk.book.jobs()[0].key)
    provider.tell(create="400")
    with pytest.raises(TrialFailure):
        desk.train(other(2))
    assert desk.book.spent("sweep") == 0.0


def test_another_sweep_takes_a_paid_job_for_nothing(provider, tmp_path):
    first = Desk(provider.url, tmp_path, prices=price_for(3.0))
    first.train()
    second = Desk(provider.url, tmp_path, prices=price_for(3.0), scope="another sweep", cap=0.0)
    second.train()
    assert len(provider.jobs()) == 1
    assert (first.meter.bill.cost, second.meter.bill.cost) == (3.0, 0.0)
    assert second.book.spent("another sweep") == 0.0
