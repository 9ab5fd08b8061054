"""Two processes that promote at once."""

from __future__ import annotations

import multiprocessing

import pytest

from embedsweep.config import StoreLocations
from embedsweep.core.errors import Refusal
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_registry import MlflowRegistry
from tests.contract.store_cases import decision, open_stores, run_trial, start, sweep


@pytest.fixture
def stores(tmp_path, tmp_path_factory):
    return open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())


ROUNDS = 10


def _promote(settings, versions, barrier, results):
    """Crown the two versions in turn, each time over the champion seen when the round began."""
    registry = MlflowRegistry(open_client(settings), settings.home / "locks")
    for turn in range(ROUNDS):
        seen = registry.resolve("support")
        barrier.wait()
        try:
            registry.crown(versions[turn % 2], seen.number)
            registry.record(decision("support", turn))
            results.put((turn, seen.number, versions[turn % 2].number))
        except Refusal:
            results.put((turn, seen.number, None))
        barrier.wait()


def test_of_two_promoters_in_a_race_one_wins_each_round(stores):
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
        context.Process(target=_promote, args=(settings, pair, barrier, results), daemon=True)
        for pair in (versions[:2], versions[2:4])
    ]
    for promoter in promoters:
        promoter.start()
    rounds = [results.get(timeout=120) for _ in range(2 * ROUNDS)]
    for promoter in promoters:
        promoter.join()

    champion, previous = 5, None
    for turn in range(ROUNDS):
        of_turn = [row for row in rounds if row[0] == turn]
        assert [seen for _, seen, _ in of_turn] == [champion, champion]
        winners = [made for _, _, made in of_turn if made is not None]
        assert len(winners) == 1
        champion, previous = winners[0], champion
    looks = [made.look for made in stores.registry.history("support")]
    assert looks == list(range(ROUNDS))
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
