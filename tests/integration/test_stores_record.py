"""The record of looks and decisions in a real MLflow store: what is done to it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from embedsweep.core.errors import DataError, Refusal
from embedsweep.core.looks import AlphaPlan, Look, Spending
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_registry import HEAD_TAG, RECORD_TAG, MlflowRegistry
from embedsweep.stores.registry_locks import turns_at
from tests.contract.store_cases import decision, look_request, sqlite_settings


@pytest.fixture
def client(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return open_client(sqlite_settings(tmp_path / "store", tmp_path_factory.getbasetemp()))


@pytest.fixture
def registry(client: MlflowClient, tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(client, turns_at("", tmp_path / "locks"))


@pytest.fixture
def entries(registry: MlflowRegistry) -> list[str]:
    """The tags of a record of a look, its decision and another look."""
    registry.look(look_request("support", candidate="a"))
    registry.record(decision("support"))
    registry.look(look_request("support", candidate="b"))
    return [f"{RECORD_TAG}{number:06d}" for number in (1, 2, 3)]


def value_of(client: MlflowClient, tag: str) -> str:
    return str(client.get_registered_model("support").tags[tag])


def better_p_value(client: MlflowClient, tag: str) -> None:
    entry = json.loads(value_of(client, tag))
    for content in entry["content"].values():
        content["at"] = "1999-01-01T00:00:00+00:00"
    client.set_registered_model_tag("support", tag, json.dumps(entry))


def removed(client: MlflowClient, tag: str) -> None:
    client.delete_registered_model_tag("support", tag)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("tamper", [better_p_value, removed])
def test_an_entry_edited_or_removed_ends_all_promotion(
    client: MlflowClient,
    registry: MlflowRegistry,
    entries: list[str],
    tamper: Callable[[MlflowClient, str], None],
    place: int,
) -> None:
    assert len(registry.looks("support")) == 2
    tamper(client, entries[place])
    for read in (
        lambda: registry.history("support"),
        lambda: registry.looks("support"),
        lambda: registry.look(look_request("support", candidate="c")),
        # Another name shares the test split, and so what was spent on it.
        lambda: registry.look(look_request("other", candidate="c")),
        lambda: registry.record(decision("support")),
    ):
        with pytest.raises(DataError, match="registered model 'support'"):
            read()


def test_a_head_removed_shows(
    client: MlflowClient, registry: MlflowRegistry, entries: list[str]
) -> None:
    removed(client, HEAD_TAG)
    with pytest.raises(DataError, match="do not end where its head says"):
        registry.history("support")


def test_a_writer_that_died_before_it_moved_the_head_broke_nothing(
    client: MlflowClient, registry: MlflowRegistry, entries: list[str]
) -> None:
    before = value_of(client, HEAD_TAG)
    registry.record(decision("support", look=2))
    client.set_registered_model_tag("support", HEAD_TAG, before)
    assert len(registry.history("support")) == 2
    registry.record(decision("support", look=3))
    assert [each.look for each in registry.history("support")] == [1, 2, 3]


def test_looks_asked_for_at_once_never_spend_more_than_there_is(registry: MlflowRegistry) -> None:
    plan = AlphaPlan(0.05, 6, Spending.EVEN)

    def ask(number: int) -> Look | None:
        request = look_request(f"model-{number % 3}", candidate=str(number), plan=plan)
        try:
            return registry.look(request)
        except Refusal:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(12)))
    granted = [look for look in found if look is not None]
    assert sorted(look.number for look in granted) == [1, 2, 3, 4, 5, 6]
    assert sum(look.alpha for look in granted) == pytest.approx(0.05)
