"""Heads trained on real vectors of the embedded default, and on vectors that cost nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import HEAD_FILE, ResidualHead
from embedsweep.backends.adapter.inputs import TrainingVectors
from embedsweep.backends.embedding_cache import CachedEmbedder, EmbeddingCache, model_identity
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.model_file import MODEL_FILE, kind_of, read_model_file
from embedsweep.backends.rows import Rows
from embedsweep.core.dataset import (
    Benchmark,
    LabelledText,
    Pair,
    RetrievalTask,
    ScoredPair,
    Split,
    TrainingSet,
)
from embedsweep.core.errors import DataError
from embedsweep.core.ports import Embedder, EpochEnd, StopTraining, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, DataForm, Head, LocalRecipe, Loss
from embedsweep.core.report import Measure
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from embedsweep.evaluation import evaluate
from embedsweep.serving.served import CountsTokens
from tests.unit.hash_embedder import DIMENSION, HashEmbedder, vector_of

LOSSES = [loss for loss in Loss if loss is not Loss.CACHED_MULTIPLE_NEGATIVES_RANKING]
HEADS = [(Head.LINEAR, None), (Head.LOW_RANK, 8), (Head.MLP, 8)]
SPEECH = {
    "praise": ["I love the {}", "the {} is wonderful", "what a good {} this is"],
    "blame": ["I hate the {}", "the {} is terrible", "what a bad {} this is"],
}
SEEN = ["train", "soup", "hotel", "film", "phone", "garden", "museum", "coffee", "bus", "song"]
UNSEEN = ["bread", "laptop", "beach", "novel", "lamp", "bicycle"]


def opinions(things: list[str]) -> list[LabelledText]:
    return [
        LabelledText(form.format(thing), label)
        for label, forms in SPEECH.items()
        for thing in things
        for form in forms
    ]


TEXTS = TrainingSet(texts=tuple(opinions(SEEN)))
PAIRS = TrainingSet(
    pairs=tuple(
        Pair(f"I love the {thing}", f"the {thing} is good", (f"the {thing} is bad",))
        for thing in SEEN
    )
)
FROZEN_DIGEST = "digest of the frozen model"


def recipe(loss: Loss = Loss.MULTIPLE_NEGATIVES_RANKING, **knobs: object) -> AdapterRecipe:
    settings: dict[str, object] = {
        "base_model": EMBEDDED,
        "head": Head.LINEAR,
        "epochs": 6,
        "learning_rate": 1e-3,
        "batch_size": 8,
        "seed": 3,
    }
    return AdapterRecipe(loss=loss, **{**settings, **knobs})  # type: ignore[arg-type]


def over(embedder: Embedder, digest: str = FROZEN_DIGEST) -> AdapterBackend:
    return AdapterBackend(lambda base: embedder, lambda base: digest)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    local = LocalBackend("cpu")
    base = Base(EMBEDDED)
    return CachedEmbedder(
        lambda: local.open(base_folder(EMBEDDED)),
        model_identity(base, local.base_digest(base)),
        EmbeddingCache(tmp_path_factory.mktemp("cache")),
    )


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / HEAD_FILE).read_bytes()).hexdigest()


def same_label_task(rows: list[LabelledText]) -> Benchmark:
    texts = {row.text: row.text for row in rows}
    judgements = {
        row.text: {other.text: 1 for other in rows if other.label == row.label and other != row}
        for row in rows
    }
    task = RetrievalTask(texts, texts, judgements, leave_one_out=True)
    return Benchmark("opinions", Split.VALID, retrieval=task)


@pytest.mark.parametrize(("head", "width"), HEADS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_lowers_itself_and_leaves_a_model_that_opens(
    loss: Loss, head: Head, width: int | None, frozen: Embedder, tmp_path: Path
) -> None:
    losses: list[float] = []
    listener = TrainingListener(on_epoch=lambda end: losses.append(end.losses["train/loss"]))
    data = PAIRS if loss.needs in (DataForm.PAIRS, DataForm.TRIPLETS) else TEXTS
    over(frozen).train(recipe(loss, head=head, width=width), data, tmp_path, listener)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    vectors = over(frozen).open(tmp_path).embed(["the soup is cold", "a good film"])
    assert vectors.shape == (2, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {MODEL_FILE, HEAD_FILE}


@pytest.mark.parametrize(("head", "width"), HEADS)
def test_a_fresh_head_gives_the_frozen_models_vectors(
    head: Head, width: int | None, frozen: Embedder
) -> None:
    texts = [row.text for row in opinions(UNSEEN)]
    fresh = AdapterEmbedder(frozen, ResidualHead(head, 384, width))
    for role in TextRole:
        assert np.allclose(fresh.embed(texts, role), frozen.embed(texts, role), atol=1e-6)
    assert fresh.embed([]).shape == (0, 384)


@pytest.mark.parametrize(("head", "width"), HEADS)
def test_a_trial_repeats_bit_for_bit_and_another_seed_differs(
    head: Head, width: int | None, frozen: Embedder, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    digests = []
    for place, seed in enumerate((3, 3, 4)):
        chosen = recipe(head=head, width=width, seed=seed)
        torch.rand(place)  # what else draws in this process does not matter
        over(frozen).train(chosen, TEXTS, tmp_path / str(place), TrainingListener())
        digests.append(sha256(tmp_path / str(place)))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    torch.set_rng_state(before)
    over(frozen).train(recipe(), TEXTS, tmp_path / "last", TrainingListener())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("head", "width"), [(Head.LINEAR, None), (Head.LOW_RANK, 16), (Head.MLP, 64)]
)
def test_it_beats_the_frozen_model_on_texts_it_never_saw(
    head: Head, width: int | None, frozen: Embedder, tmp_path: Path
) -> None:
    """The frozen model groups by what is spoken of; the head learns to group by how."""
    task, measure = same_label_task(opinions(UNSEEN)), Measure.parse("ndcg@10")
    chosen = recipe(head=head, width=width, epochs=12)
    over(frozen).train(chosen, TEXTS, tmp_path, TrainingListener())
    before = evaluate(frozen, task, measure).means[measure]
    after = evaluate(over(frozen).open(tmp_path), task, measure).means[measure]
    assert after > before + 0.1


def test_an_opened_model_is_the_last_one_the_listener_saw(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(end: EpochEnd) -> None:
        seen.append(end.epoch)
        end.save(tmp_path / str(end.epoch))
        vectors.append(end.embedder.embed(["a", "b"]))

    vectors: list[np.ndarray] = []
    facts: dict[str, str] = {}
    steps: list[tuple[int, int]] = []
    backend = over(HashEmbedder())
    listener = TrainingListener(
        on_epoch=look,
        on_fact=facts.__setitem__,
        on_step=lambda done, total: steps.append((done, total)),
    )
    backend.train(recipe(epochs=25), PAIRS, tmp_path / "left", listener)
    assert len(seen) == 10
    assert seen[-1] == 25
    assert sha256(tmp_path / "25") == sha256(tmp_path / "left") != sha256(tmp_path / str(seen[0]))
    assert np.array_equal(backend.open(tmp_path / "left").embed(["a", "b"]), vectors[-1])
    assert facts["head_parameters"] == str(DIMENSION**2)
    assert facts["steps"] == "50"
    assert steps[:2] == [(0, 50), (1, 50)]
    assert steps[-1] == (50, 50)


def test_the_folder_tells_what_finds_the_frozen_model_again(tmp_path: Path) -> None:
    hosted = recipe(
        base_model="small", provider="loopback", dimensions=8, head=Head.MLP, width=4, epochs=1
    )
    variables = {"loopback": "TEAM_KEY", "openai": "OPENAI_API_KEY"}
    backend = AdapterBackend(lambda base: HashEmbedder(), lambda base: FROZEN_DIGEST, variables)
    backend.train(hosted, PAIRS, tmp_path, TrainingListener())
    assert kind_of(tmp_path) == "adapter"
    assert read_model_file(tmp_path) == {
        "kind": "adapter",
        "version": 1,
        "base": {"model": "small", "provider": "loopback", "dimensions": 8},
        "base_digest": FROZEN_DIGEST,
        "head": "mlp",
        "width": 4,
        "dimension": DIMENSION,
        "key_variable": "TEAM_KEY",
    }
    asked: list[Base] = []

    def open_base(base: Base) -> Embedder:
        asked.append(base)
        return HashEmbedder()

    AdapterBackend(open_base, lambda base: FROZEN_DIGEST).open(tmp_path)
    assert asked == [Base("small", "loopback", 8)]


def test_each_text_is_embedded_once_by_all_trials(tmp_path: Path) -> None:
    model = HashEmbedder()

    def backend() -> AdapterBackend:
        cache = EmbeddingCache(tmp_path / "cache")
        return over(CachedEmbedder(lambda: model, "m", cache))

    for place, loss in enumerate((Loss.MULTIPLE_NEGATIVES_RANKING, Loss.COSENT, Loss.TRIPLET)):
        backend().train(recipe(loss), PAIRS, tmp_path / str(place), TrainingListener())
    # A query has a prompt of its own; to this model a document is a plain text.
    assert sum(map(len, model.calls)) == len(set(PAIRS.every_text()))
    control = HashEmbedder()
    for place in ("a", "b"):
        over(control).train(recipe(), PAIRS, tmp_path / place, TrainingListener())
    assert sum(map(len, control.calls)) == 2 * len(set(PAIRS.every_text()))


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (PAIRS, DataForm.PAIRS),
        (PAIRS, DataForm.TRIPLETS),
        (PAIRS, DataForm.LABELLED_PAIRS),
        (TEXTS, DataForm.LABELLED_TEXTS),
        (TEXTS, DataForm.TRIPLETS),
        (
            TrainingSet(scored=(ScoredPair("a", "b", 1.0), ScoredPair("c", "a", 2.0))),
            DataForm.SCORED_PAIRS,
        ),
    ],
)
def test_batches_get_the_vectors_of_their_texts_in_their_roles(
    data: TrainingSet, form: DataForm
) -> None:
    model = HashEmbedder()
    vectors = TrainingVectors(model, data)
    for batch in Rows(data, form, 8, seed=1).epoch(0):
        texts, roles = batch.flattened()
        expected = [
            vector_of(text, model.effective_role(role))
            for text, role in zip(texts, roles, strict=True)
        ]
        assert np.array_equal(vectors.of(batch).numpy(), expected)


def test_another_base_model_is_refused_and_both_are_named(tmp_path: Path) -> None:
    over(HashEmbedder()).train(recipe(epochs=1), PAIRS, tmp_path, TrainingListener())
    with pytest.raises(DataError) as refused:
        over(HashEmbedder(), digest="digest of another").open(tmp_path)
    assert FROZEN_DIGEST in str(refused.value)
    assert "digest of another" in str(refused.value)
    with pytest.raises(DataError, match="9 numbers, expected 8"):
        over(HashEmbedder(dimension=9)).open(tmp_path)
    values = json.loads((tmp_path / MODEL_FILE).read_text())
    (tmp_path / MODEL_FILE).write_text(json.dumps({**values, "head": "mlp", "width": 3}))
    with pytest.raises(DataError, match="adapter's head"):
        over(HashEmbedder()).open(tmp_path)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=MODEL_FILE):
        over(HashEmbedder()).open(tmp_path)
    values = {"kind": "hosted", "version": 1, "provider": "openai", "model": "m", "base_model": "m"}
    rest = {"dimensions": None, "dimension": 8, "job_id": None, "key_variable": None}
    (tmp_path / MODEL_FILE).write_text(json.dumps({**values, **rest}))
    with pytest.raises(DataError, match="'hosted', expected 'adapter'"):
        over(HashEmbedder()).open(tmp_path)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda backend, folder: backend.train(
            recipe(Loss.CACHED_MULTIPLE_NEGATIVES_RANKING), PAIRS, folder, TrainingListener()
        ),
        lambda backend, folder: backend.train(
            LocalRecipe(
                base_model=EMBEDDED,
                loss=Loss.COSENT,
                epochs=1,
                learning_rate=1e-5,
                batch_size=8,
                seed=1,
            ),
            PAIRS,
            folder,
            TrainingListener(),
        ),
        lambda backend, folder: backend.untuned(Base(EMBEDDED), folder),
    ],
    ids=["cached loss", "local recipe", "untuned"],
)
def test_what_is_not_its_own_is_refused(
    attempt: Callable[[AdapterBackend, Path], None], tmp_path: Path
) -> None:
    with pytest.raises(TypeError):
        attempt(over(HashEmbedder()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_rate_that_blows_up_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    ends: list[EpochEnd] = []
    blown = recipe(learning_rate=1e38, head=Head.MLP, width=8)
    with pytest.raises(TrialFailure) as failure:
        over(HashEmbedder()).train(blown, TEXTS, tmp_path, TrainingListener(on_epoch=ends.append))
    assert failure.value.kind in {"non_finite_loss", "non_finite_weights"}
    assert not list(tmp_path.iterdir())


def test_the_listener_can_stop_it(tmp_path: Path) -> None:
    def stop(end: EpochEnd) -> None:
        raise StopTraining

    with pytest.raises(StopTraining):
        over(HashEmbedder()).train(recipe(), PAIRS, tmp_path, TrainingListener(on_epoch=stop))
    assert not list(tmp_path.iterdir())


def test_tokens_are_counted_where_the_frozen_model_counts_them(frozen: Embedder) -> None:
    head = ResidualHead(Head.LINEAR, 384, None)
    counting, silent = AdapterEmbedder(frozen, head), AdapterEmbedder(HashEmbedder(), head)
    assert isinstance(counting, CountsTokens)
    assert counting.count_tokens(["one two three"]) == 5
    assert not isinstance(silent, CountsTokens)
