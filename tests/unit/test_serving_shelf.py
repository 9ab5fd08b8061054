from __future__ import annotations

import gc
import logging

import numpy as np
import pytest

from embedsweep.core.errors import DataError, StoreError
from embedsweep.serving.shelf import ModelShelf, fault_of
from tests.integration.serving_twins import (
    NAME,
    MemoryRegistry,
    TellingEmbedder,
    open_model,
    shelf_of,
)

EVERY_TEXT = ""
"""Is in every text, the probe's too: a fault on it is a fault on all."""


@pytest.fixture
def registry() -> MemoryRegistry:
    registry = MemoryRegistry()
    registry.crown_new()
    return registry


def served(shelf: ModelShelf, model_id: str = NAME) -> int | None:
    listing = shelf.find(model_id)
    return None if listing is None else listing.model.version.number


def ids(shelf: ModelShelf) -> list[str]:
    return [listing.id for listing in shelf.listings()]


def test_the_champion_answers_to_its_name_its_alias_and_its_number(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    assert [shelf.find(key).id for key in (NAME, f"{NAME}@champion", f"{NAME}/1")] == [
        f"{NAME}@champion",
        f"{NAME}@champion",
        f"{NAME}/1",
    ]
    assert ids(shelf) == [f"{NAME}@champion", f"{NAME}/1"]


@pytest.mark.parametrize(
    "key", ["", "/", "@", "@champion", f"{NAME}@", f"{NAME}/", f"{NAME}/01", f"{NAME}/2", "other"]
)
def test_nobody_answers_to_anything_else(registry, tmp_path, key):
    assert shelf_of(registry, tmp_path).find(key) is None


def test_no_champion_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match=r"no champion .*'nobody'.* Fix: promote") as caught:
        shelf_of(MemoryRegistry(), tmp_path, "nobody")
    assert caught.value.exit_code == 4


def test_a_new_champion_takes_over_and_the_former_stays_under_its_number(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    registry.crown_new()
    assert served(shelf) == 1
    shelf.refresh()
    assert served(shelf) == 2
    assert ids(shelf) == [f"{NAME}@champion", f"{NAME}/2", f"{NAME}/1"]
    assert not shelf.degraded


def test_only_one_former_champion_is_kept_unless_told_otherwise(registry, tmp_path):
    shelves = [ModelShelf(registry, open_model, tmp_path, keep) for keep in (0, 1, 2)]
    for shelf in shelves:
        shelf.load(NAME)
    for _ in range(3):
        registry.crown_new()
        for shelf in shelves:
            shelf.refresh()
    assert [ids(shelf)[1:] for shelf in shelves] == [
        [f"{NAME}/4"],
        [f"{NAME}/4", f"{NAME}/3"],
        [f"{NAME}/4", f"{NAME}/3", f"{NAME}/2"],
    ]


def test_a_rollback_takes_the_former_champion_off_the_shelf_without_loading_it(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    registry.crown_new()
    shelf.refresh()
    before = shelf.find(f"{NAME}/1").model
    registry.crown(registry.resolve(NAME, "1"), 2)
    shelf.refresh()
    assert shelf.find(NAME).model is before
    assert ids(shelf) == [f"{NAME}@champion", f"{NAME}/1", f"{NAME}/2"]
    assert len(registry.fetched) == 2


def test_nothing_is_fetched_while_the_alias_rests(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    for _ in range(5):
        shelf.refresh()
    assert len(registry.fetched) == 1


def test_several_names_are_followed_apart(registry, tmp_path):
    registry.crown_new("other")
    shelf = shelf_of(registry, tmp_path)
    shelf.load("other")
    registry.crown_new("other", zero_on=EVERY_TEXT)
    registry.crown_new()
    shelf.refresh()
    assert (served(shelf), served(shelf, "other")) == (2, 1)
    assert shelf.degraded


def alter(registry: MemoryRegistry) -> None:
    registry.models[registry.crown_new().model_reference] += b" "


def lose(registry: MemoryRegistry) -> None:
    del registry.models[registry.crown_new().model_reference]


def garble(registry: MemoryRegistry) -> None:
    """Published as it is: its digest fits, but no backend opens it."""
    registry.models["models:/garbled"] = b"{"
    registry.crown(registry.register(NAME, "run", "print", "models:/garbled"), 1)


BAD = {
    "gave a zero vector": lambda registry: registry.crown_new(zero_on=EVERY_TEXT),
    "not finite": lambda registry: registry.crown_new(nan_on=EVERY_TEXT),
    "cannot embed": lambda registry: registry.crown_new(break_on=EVERY_TEXT),
    "it has 8, the clients' indexes have 4": lambda registry: registry.crown_new(dimension=8),
    "altered file": alter,
    "KeyError: 'models:/m-support-search-2'": lose,
    "Expecting property name": garble,
}


@pytest.mark.parametrize(("said", "spoil"), BAD.items(), ids=BAD)
def test_a_bad_champion_leaves_the_old_one_and_is_told_once(
    registry, tmp_path, caplog, said, spoil
):
    shelf = shelf_of(registry, tmp_path)
    spoil(registry)
    with caplog.at_level(logging.INFO, "embedsweep.serving"):
        for _ in range(10):
            shelf.refresh()
    assert served(shelf) == 1
    assert shelf.degraded
    [record] = caplog.records
    assert record.getMessage().startswith(f"{NAME} version 1 serves on: version 2 will not: ")
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1, "the files of a model that is not served stay"


@pytest.mark.parametrize("spoil", [BAD["not finite"], alter, garble])
def test_the_same_bad_champion_is_an_error_where_there_is_no_old_one(registry, tmp_path, spoil):
    """The control: without an old version to keep, the fault is there to be seen."""
    spoil(registry)
    with pytest.raises((DataError, ValueError)):
        shelf_of(registry, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_version_is_tried_less_and_less_often_until_it_is_mended(registry, tmp_path, caplog):
    shelf = shelf_of(registry, tmp_path)
    version = registry.crown_new()
    good = registry.models.pop(version.model_reference)
    tried = []
    for number in range(12):
        before = len(registry.fetched)
        shelf.refresh()
        tried += [number] * (len(registry.fetched) - before)
    assert tried == [0, 2, 6]
    registry.models[version.model_reference] = good
    with caplog.at_level(logging.INFO, "embedsweep.serving"):
        for _ in range(3):
            shelf.refresh()
    assert served(shelf) == 2
    assert not shelf.degraded
    assert caplog.messages[1:] == [f"{NAME} version 2 serves, after version 1"]


def test_a_good_champion_after_a_bad_one_takes_over_at_once(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    registry.crown_new(nan_on=EVERY_TEXT)
    shelf.refresh()
    registry.crown_new()
    shelf.refresh()
    assert served(shelf) == 3
    assert not shelf.degraded
    assert ids(shelf)[1:] == [f"{NAME}/3", f"{NAME}/1"]


def test_going_back_from_a_bad_champion_mends_the_shelf(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    registry.crown_new(nan_on=EVERY_TEXT)
    shelf.refresh()
    registry.crown(registry.resolve(NAME, "1"), 2)
    shelf.refresh()
    assert not shelf.degraded


def go_down(registry: MemoryRegistry) -> None:
    registry.is_down = True


def come_up(registry: MemoryRegistry) -> None:
    registry.is_down = False


def uncrown(registry: MemoryRegistry) -> None:
    del registry.aliases[NAME, "champion"]


def crown_again(registry: MemoryRegistry) -> None:
    registry.aliases[NAME, "champion"] = 1


@pytest.mark.parametrize(("cause", "cure"), [(go_down, come_up), (uncrown, crown_again)])
def test_an_outage_is_told_once_and_served_through(registry, tmp_path, caplog, cause, cure):
    shelf = shelf_of(registry, tmp_path)
    cause(registry)
    for _ in range(5):
        shelf.refresh()
    assert served(shelf) == 1
    assert shelf.degraded
    assert len(caplog.messages) == 1
    cure(registry)
    shelf.refresh()
    assert not shelf.degraded


def test_a_model_keeps_its_files_while_somebody_holds_it(registry, tmp_path):
    shelf = ModelShelf(registry, open_model, tmp_path / "models", keep_previous=0)
    held = shelf.load(NAME)
    [first] = (tmp_path / "models").iterdir()
    registry.crown_new()
    shelf.refresh()
    gc.collect()
    assert first.is_dir()
    del held
    gc.collect()
    assert [folder.name[:2] for folder in (tmp_path / "models").iterdir()] == ["2-"]


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], None),
        ([[1.0, 0.0]], "shape (1, 2), expected (2, 2)"),
        ([[1.0], [1.0]], "shape (2, 1), expected (2, 2)"),
        ([[1.0, 0.0], [0.0, 0.0]], "a zero vector"),
        ([[1.0, 0.0], [np.nan, 0.0]], "not finite"),
        ([[1.0, 0.0], [np.inf, 0.0]], "not finite"),
    ],
)
def test_what_is_wrong_with_vectors(vectors, said):
    fault = fault_of(np.array(vectors, dtype=np.float32), texts=2, dimension=2)
    assert (fault is None) if said is None else (said in str(fault))


def test_the_embedder_of_these_tests_tells_texts_apart():
    vectors = TellingEmbedder(3).embed(["ab", "ba", "abc"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert not np.allclose(vectors[0], vectors[2])
