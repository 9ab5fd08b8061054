"""Two processes that promote at once."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest

from embedsweep.config import StoreLocations
from embedsweep.core.errors import Refusal
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_registry import MlflowRegistry
from embedsweep.stores.registry_locks import turns_at
from tests.contract.store_cases import decision, open_stores, run_trial, start, sweep


@pytest.fixture
def stores(tmp_path, tmp_path_factory):
    return open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())


def _promote(settings, versions, rounds, barrier, results):
    """Crown the two versions in turn, each time over the champion seen when the round began.

    After each round both say what alias and record say then.
    """
    registry = MlflowRegistry(open_client(settings), turns_at("", settings.home / "locks"))
    for turn in range(rounds):
        seen, mine = registry.resolve("support"), versions[turn % 2]
        made = replace(
            decision("support", turn),
            version=mine.number,
            previous_version=seen.number,
            champion_version=mine.number,
        )
        barrier.wait()
        try:
            registry.crown(mine, seen.number, made)
            won = mine.number
        except Refusal:
            won = None
        barrier.wait()
        told = registry.resolve("support").number, registry.history("support")[-1].champion_version
        results.put((turn, seen.number, won, told))
        barrier.wait()


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_of_two_promoters_in_a_race_one_wins_each_round(stores, rounds):
    opened = stores.ledger.begin(sweep())
    versions = [
        stores.registry.publish("support", run_trial(stores, opened, start(number)))
        for number in range(5)
    ]
    stores.registry.crown(versions[4], None)
    settings = StoreLocations(
        tracking_uri=stores.ledger.client.tracking_uri,
        artifacts=stores.ledger.artifacts,
        study_url="",
        home=stores.folder,
    )
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    promoters = [
        context.Process(
            target=_promote, args=(settings, pair, rounds, barrier, results), daemon=True
        )
        for pair in (versions[:2], versions[2:4])
    ]
    for promoter in promoters:
        promoter.start()
    told_by_both = [results.get(timeout=120) for _ in range(2 * rounds)]
    for promoter in promoters:
        promoter.join()

    champion, previous, agreed = 5, None, 0
    for turn in range(rounds):
        of_turn = [row for row in told_by_both if row[0] == turn]
        assert [seen for _, seen, _, _ in of_turn] == [champion, champion]
        winners = [won for _, _, won, _ in of_turn if won is not None]
        assert len(winners) == 1
        champion, previous = winners[0], champion
        agreed += [told for _, _, _, told in of_turn] == [(champion, champion)] * 2
    assert agreed == rounds
    history = stores.registry.history("support")
    assert [made.look for made in history] == list(range(rounds))
    assert stores.registry.resolve("support").number == champion
    assert stores.registry.resolve("support", "previous").number == previous


def test_mlflow_alone_lets_both_promoters_win(stores):
    """The control: an alias moves whatever it was."""
    opened = stores.ledger.begin(sweep())
    for number in range(3):
        stores.registry.publish("support", run_trial(stores, opened, start(number)))
    client = stores.ledger.client
    client.set_registered_model_alias("support", "champion", "1")
    seen = client.get_model_version_by_alias("support", "champion").version
    assert int(seen) == 1
    for number in ("2", "3"):
        client.set_registered_model_alias("support", "champion", number)
    assert stores.registry.resolve("support").number == 3
