"""What trainings of adapters share: the same numbers as without it, and bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.backends.adapter.inputs import HeldVectors, Inputs, PlacedBatch, TrainingVectors
from embedsweep.backends.rows import Rows
from embedsweep.core.dataset import LabelledText, Pair, TrainingSet
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import AdapterRecipe, DataForm, Head, Loss
from embedsweep.core.roles import TextRole
from tests.unit.hash_embedder import DIMENSION, HashEmbedder, vector_of

PAIRS = TrainingSet(
    pairs=tuple(Pair(f"question {i // 2}", f"answer {i}", (f"no answer {i}",)) for i in range(60))
)
TEXTS = TrainingSet(texts=tuple(LabelledText(f"text {i}", f"class {i % 5}") for i in range(60)))
FORMS = [(data, form) for data in (PAIRS, TEXTS) for form in DataForm if form in data.forms]


def recipe(loss: Loss = Loss.MULTIPLE_NEGATIVES_RANKING, **knobs: object) -> AdapterRecipe:
    settings: dict[str, object] = {
        "base_model": "m",
        "head": Head.MLP,
        "width": 4,
        "epochs": 3,
        "learning_rate": 1e-2,
        "batch_size": 16,
        "seed": 3,
    }
    return AdapterRecipe(loss=loss, **{**settings, **knobs})  # type: ignore[arg-type]


def weights_after(backend: AdapterBackend, chosen: AdapterRecipe, data: TrainingSet) -> np.ndarray:
    seen: list[np.ndarray] = []
    listener = TrainingListener(on_epoch=lambda end: seen.append(end.embedder.embed(["a", "b"])))
    backend.train(chosen, data, None, listener)
    return np.stack(seen)


def backend_over(model: HashEmbedder) -> AdapterBackend:
    return AdapterBackend(lambda base: model, lambda base: "digest")


def same(left: PlacedBatch, right: PlacedBatch) -> bool:
    return (left.columns, left.roles, left.targets) == (
        right.columns,
        right.roles,
        right.targets,
    ) and np.array_equal(left.blocked, right.blocked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("data", "form"), FORMS)
@pytest.mark.parametrize("room", [2**20, 0], ids=["remembered", "drawn anew"])
def test_batches_are_those_that_are_drawn_without_it(
    data: TrainingSet, form: DataForm, room: int
) -> None:
    inputs = Inputs(HashEmbedder(), data, room)
    plain = Rows(data, form, 16, seed=5)
    for _ in range(2):
        rows = inputs.rows(form, 16, 5)
        assert rows.steps_per_epoch == plain.steps_per_epoch
        for epoch in (1, 0):
            pairs = list(zip(rows.epoch(epoch), plain.epoch(epoch), strict=True))
            assert all(same(ours, theirs) for ours, theirs in pairs)  # type: ignore[arg-type]
            for batch, drawn in pairs:
                assert torch.equal(inputs.vectors.of(batch), inputs.vectors.of(drawn))


def test_an_epoch_is_remembered_while_there_is_room() -> None:
    inputs = Inputs(HashEmbedder(), PAIRS, 2**20)
    first = list(inputs.rows(DataForm.PAIRS, 16, 5).epoch(0))
    left = inputs.bytes_left
    assert 0 < left < 2**20
    again = list(inputs.rows(DataForm.PAIRS, 16, 5).epoch(0))
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert inputs.bytes_left == left
    full = Inputs(HashEmbedder(), PAIRS, 100)
    first, again = (list(full.rows(DataForm.PAIRS, 16, 5).epoch(0)) for _ in range(2))
    assert not any(one is other for one, other in zip(first, again, strict=True))
    assert full.bytes_left == 100


def test_an_epoch_that_was_broken_off_is_not_remembered() -> None:
    inputs = Inputs(HashEmbedder(), PAIRS, 2**20)
    rows = inputs.rows(DataForm.PAIRS, 16, 5)
    next(iter(rows.epoch(0)))
    assert len(list(rows.epoch(0))) == rows.steps_per_epoch


def test_a_trial_repeats_whatever_ran_before_it() -> None:
    shared = backend_over(HashEmbedder())
    others = [recipe(Loss.COSENT), recipe(batch_size=8), recipe(seed=4), recipe()]
    for other in others:
        weights_after(shared, other, PAIRS)
    ours = weights_after(shared, recipe(), PAIRS)
    assert np.array_equal(ours, weights_after(backend_over(HashEmbedder()), recipe(), PAIRS))
    assert not np.array_equal(ours, weights_after(shared, recipe(seed=4), PAIRS))


def test_another_training_set_has_inputs_of_its_own() -> None:
    shared = backend_over(HashEmbedder())
    for data in (PAIRS, TEXTS, PAIRS):
        ours = weights_after(shared, recipe(), data)
        alone = weights_after(backend_over(HashEmbedder()), recipe(), data)
        assert np.array_equal(ours, alone)
        assert len(shared._inputs) == 1


def test_a_frozen_model_that_changed_is_opened_again() -> None:
    models = {
        "one": HashEmbedder(),
        "other": HashEmbedder(answers={"a": np.eye(DIMENSION, dtype=np.float32)[0]}),
    }
    now = "one"
    backend = AdapterBackend(lambda base: models[now], lambda base: now)
    before = weights_after(backend, recipe(), PAIRS)
    now = "other"
    assert not np.array_equal(weights_after(backend, recipe(), PAIRS), before)


def test_texts_seen_before_are_not_asked_for_again() -> None:
    model = HashEmbedder()
    held = HeldVectors(model)
    first = held.embed(("a", "b"))
    # An equal list of other objects, and a role that comes to the same.
    assert held.embed(["".join("a"), "b"], TextRole.DOCUMENT) is first
    assert np.array_equal(first, [vector_of(text, TextRole.PLAIN) for text in ("a", "b")])
    assert len(model.calls) == 1
    held.embed(("b", "a"))
    held.embed(("a", "b"), TextRole.QUERY)
    assert len(model.calls) == 3


def test_the_vectors_held_have_a_bound_and_the_oldest_go() -> None:
    model = HashEmbedder()
    held = HeldVectors(model, held_bytes=2 * 4 * DIMENSION)
    for text in ("a", "b", "a", "c", "a"):
        held.embed([text])
    assert [call for (call,) in model.calls] == ["a", "b", "c"]
    held.embed(["b"])
    held.embed(["c", "d", "e"])
    held.embed(["c", "d", "e"])
    assert model.calls[3:] == [["b"], ["c", "d", "e"], ["c", "d", "e"]]


def test_control_without_holding_every_call_reaches_the_model() -> None:
    model = HashEmbedder()
    embedder = AdapterEmbedder(model, ResidualHead(Head.LINEAR, DIMENSION, None))
    for _ in range(3):
        embedder.embed(("a", "b"))
    assert len(model.calls) == 3


def test_a_head_leaves_the_frozen_vectors_as_they_are() -> None:
    held = HeldVectors(HashEmbedder())
    before = held.embed(("a", "b")).copy()
    head = ResidualHead(Head.LINEAR, DIMENSION, None)
    torch.nn.init.normal_(head.residual[0].weight)  # type: ignore[arg-type]
    AdapterEmbedder(held, head).embed(("a", "b"))[:] = 0
    assert np.array_equal(held.embed(("a", "b")), before)


def test_places_are_those_of_the_texts_in_their_roles() -> None:
    vectors = TrainingVectors(HashEmbedder(), PAIRS)
    batch = next(iter(Rows(PAIRS, DataForm.TRIPLETS, 8, seed=1).epoch(0)))
    assert torch.equal(vectors.of(batch), vectors._matrix[vectors.places(batch)])


def test_what_is_recalled_is_the_models_own_and_asked_for_once(tmp_path: Path) -> None:
    model = HashEmbedder()
    backend = backend_over(model)
    for place, seed in enumerate((1, 2)):
        folder = tmp_path / str(place)
        backend.train(recipe(seed=seed), PAIRS, folder, TrainingListener())
        calls = len(model.calls)
        opened = backend.open(folder)
        vectors = opened.recalling.embed(["a", "b"])
        assert len(model.calls) - calls == (place == 0)
        # The control: the opened model itself asks every time, as a server has to.
        assert np.array_equal(opened.embed(["a", "b"]), vectors)
        assert len(model.calls) - calls == (place == 0) + 1
    assert AdapterEmbedder(model, ResidualHead(Head.LINEAR, DIMENSION, None)).recalling


def test_nothing_is_recalled_of_a_frozen_model_that_changed(tmp_path: Path) -> None:
    models = {
        "one": HashEmbedder(),
        "other": HashEmbedder(answers={"a": np.eye(DIMENSION, dtype=np.float32)[0]}),
    }
    now = "one"
    backend = AdapterBackend(lambda base: models[now], lambda base: now)
    seen = []
    for now in ("one", "other"):
        backend.train(recipe(), PAIRS, tmp_path / now, TrainingListener())
        opened = backend.open(tmp_path / now)
        seen.append(opened.recalling.embed(["a"]))
        assert np.array_equal(seen[-1], opened.embed(["a"]))
    assert not np.array_equal(seen[0], seen[1])


def test_steps_are_of_one_thread_and_measuring_is_of_all() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        steps: list[int] = []
        epochs: list[int] = []
        listener = TrainingListener(
            on_step=lambda done, total: steps.append(torch.get_num_threads()) if done else None,
            on_epoch=lambda end: epochs.append(torch.get_num_threads()),
        )
        backend_over(HashEmbedder()).train(recipe(), PAIRS, None, listener)
        assert set(steps) == {1}
        assert set(epochs) == {2}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
