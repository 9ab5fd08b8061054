"""The packed way through a BERT gives the vectors and gradients of the model's own code."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from transformers import RobertaConfig, RobertaModel

from embedsweep.backends.local import packed_step
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.backends.local.opening import open_model
from embedsweep.backends.local.packed_bert import fits
from embedsweep.backends.local.packed_model import PackedModel
from embedsweep.backends.local.padded_model import PaddedModel
from tests.integration.plain_models import UNEVEN_TEXTS
from tests.integration.tiny_models import make_tiny_base

TEXTS = [
    *UNEVEN_TEXTS,
    "a text that is longer than the model reads " * 60,
    UNEVEN_TEXTS[0],
]
EXACT, LOW = torch.float32, torch.bfloat16
Backward = Callable[[list[str], Callable[[Tensor], Tensor], int | None], Tensor]


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformer:
    return open_model(base_folder(EMBEDDED), "cpu").eval()


def roberta(folder: Path) -> SentenceTransformer:
    """Positions that begin behind the padding's, the first token as vector, and a layer behind."""
    make_tiny_base(folder)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=30_522,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=300,
            pad_token_id=0,
        )
        RobertaModel(config).save_pretrained(folder)
        pooling = Pooling(32, pooling_mode="cls")
        return SentenceTransformer(
            modules=[Transformer(str(folder), max_seq_length=256), pooling, Dense(32, 16)],
            device="cpu",
        ).eval()


def prepared(model: SentenceTransformer, precision: torch.dtype = EXACT) -> PackedModel:
    packed = PackedModel(model, precision, None, None)
    packed.prepare(TEXTS)
    return packed


def gradients(
    model: SentenceTransformer, way: PackedModel | PaddedModel, mini_batch: int | None = None
) -> dict[str, Tensor]:
    """Of a loss that sees all vectors at once."""

    def objective(vectors: Tensor) -> Tensor:
        weights = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
        return ((vectors @ vectors.T) ** 2).sum() + (vectors * weights).sum()

    model.zero_grad(set_to_none=True)
    way.backward(TEXTS, objective, mini_batch)
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest relative difference of a gradient; keys' biases have none, and are left out."""
    assert first.keys() == second.keys()
    return max(
        float((first[name] - second[name]).norm() / second[name].norm())
        for name in second
        if not name.endswith("key.bias") and float(second[name].norm())
    )


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_vectors_are_those_of_the_models_own_method(
    minilm: SentenceTransformer, tmp_path: Path
) -> None:
    for model in (minilm, roberta(tmp_path / "roberta")):
        assert fits(model)
        own = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
        assert np.abs(LocalEmbedder(model).embed(TEXTS) - own).max() < 2e-6
        # Control: texts in another order are other vectors, and the comparison sees it.
        assert np.abs(LocalEmbedder(model).embed(TEXTS[::-1]) - own).max() > 1e-3


def test_bfloat16_moves_vectors_little(minilm: SentenceTransformer) -> None:
    exact, low = (LocalEmbedder(minilm, each).embed(TEXTS) for each in (EXACT, LOW))
    cosines = (exact * low).sum(axis=1)
    assert low.dtype == np.float32
    assert cosines.min() > 0.9999
    assert np.abs(exact - low).max() > 1e-5, "nothing was lowered"


def test_gradients_are_those_of_the_models_own_code(
    minilm: SentenceTransformer, tmp_path: Path
) -> None:
    for model in (minilm, roberta(tmp_path / "roberta")):
        padded = gradients(model, PaddedModel(model, EXACT, None))
        assert apart(gradients(model, prepared(model)), padded) < 1e-4
        # Control: half of the texts' gradients are not all of them.
        halved = {name: gradient / 2 for name, gradient in padded.items()}
        assert apart(halved, padded) > 0.4


def test_bfloat16_gradients_are_as_near_as_autocasts(minilm: SentenceTransformer) -> None:
    exact = gradients(minilm, PaddedModel(minilm, EXACT, None))
    autocast = apart(gradients(minilm, PaddedModel(minilm, LOW, None)), exact)
    assert 0 < apart(gradients(minilm, prepared(minilm, LOW)), exact) < 2 * autocast


@pytest.mark.parametrize("training", [False, True])
def test_forwarding_twice_gives_the_same_gradients(
    minilm: SentenceTransformer, training: bool
) -> None:
    """Also with drops, which must be the same both times."""
    minilm.train(training)
    try:
        for way in (prepared(minilm), PaddedModel(minilm, EXACT, None)):
            once, twice = [], []
            for seed in (1, 2):
                with torch.random.fork_rng([]):
                    torch.manual_seed(seed)
                    once.append(gradients(minilm, way))
                    torch.manual_seed(seed)
                    # As many micro-batches as the first time, so that each has the same seed.
                    twice.append(gradients(minilm, way, len(TEXTS)))
            if isinstance(way, PackedModel) or not training:
                assert apart(twice[0], once[0]) < 1e-4
            assert (apart(once[0], once[1]) > 0.01) == training
    finally:
        minilm.eval()


def test_memory_that_does_not_suffice_is_made_up_for_by_forwarding_twice(
    minilm: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[bool] = []
    pooled = packed_step.PackedBert.pooled

    def counted(*arguments: object) -> Tensor:
        forwarded.append(torch.is_grad_enabled())
        return pooled(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_step.PackedBert, "pooled", counted)
    plenty = gradients(minilm, prepared(minilm))
    assert forwarded == [True] * len(forwarded)
    forwarded.clear()
    monkeypatch.setattr(packed_step, "free_memory", lambda: 2**20)
    short = gradients(minilm, prepared(minilm))
    assert forwarded.count(False) == forwarded.count(True) > 0
    assert apart(short, plenty) < 1e-4


def test_a_step_repeats_bit_for_bit_whatever_the_lanes_do(minilm: SentenceTransformer) -> None:
    minilm.train()
    try:
        runs = []
        for _ in range(3):
            with torch.random.fork_rng([]), threads(2):
                torch.manual_seed(3)
                runs.append(gradients(minilm, prepared(minilm, LOW)))
    finally:
        minilm.eval()
    for other in runs[1:]:
        assert all(torch.equal(other[name], gradient) for name, gradient in runs[0].items())


def test_lanes_leave_torchs_threads_as_they_were(minilm: SentenceTransformer) -> None:
    with threads(2):
        LocalEmbedder(minilm).embed(TEXTS * 200)
        gradients(minilm, prepared(minilm))
        assert torch.get_num_threads() == 2


def test_drops_are_drawn_in_training_alone(minilm: SentenceTransformer) -> None:
    packed = prepared(minilm)
    assert apart(gradients(minilm, packed), gradients(minilm, packed)) < 1e-6
    minilm.train()
    try:
        assert apart(gradients(minilm, packed), gradients(minilm, packed)) > 0.01
    finally:
        minilm.eval()


def test_what_is_no_plain_bert_goes_its_own_way(tmp_path: Path) -> None:
    """Each change alone makes the model's own code necessary, and it still embeds and trains."""
    folder = make_tiny_base(tmp_path / "base")
    changes: dict[str, Callable[[SentenceTransformer], None]] = {
        "maximum pooling": lambda model: setattr(model[1], "pooling_mode", "max"),
        "prompts left out": lambda model: setattr(model[1], "include_prompt", False),
        "another activation": lambda model: setattr(model[0].model.config, "hidden_act", "relu"),
    }
    for change in changes.values():
        model = open_model(folder, "cpu").eval()
        assert fits(model)
        change(model)
        assert not fits(model)
        own = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
        assert np.abs(LocalEmbedder(model).embed(TEXTS) - own).max() < 2e-6
    shutil.rmtree(folder)


def test_a_limit_below_the_models_own_cuts_texts_in_training_alone(
    minilm: SentenceTransformer,
) -> None:
    short = "the quick brown fox jumps over"
    seen: list[Tensor] = []

    def objective(vectors: Tensor) -> Tensor:
        seen.append(vectors.detach().clone())
        return vectors.sum()

    for way in (PackedModel(minilm, EXACT, 8, None), PaddedModel(minilm, EXACT, 8)):
        way.prepare([TEXTS[3], short])
        way.backward([TEXTS[3], short], objective)
        assert torch.allclose(seen[-1][0], seen[-1][1], atol=1e-5)
    long, cut = LocalEmbedder(minilm).embed([TEXTS[3], short])
    assert float(long @ cut) < 0.999
