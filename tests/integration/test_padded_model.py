"""A model forwarded by its own code, in each precision and whatever memory there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from torch import Tensor, nn
from transformers import MPNetModel

from embedsweep.backends.local import loss_scale
from embedsweep.backends.local.encoder import TrainingEncoder
from embedsweep.backends.local.opening import open_model
from embedsweep.backends.local.padded_embedding import embed_padded
from embedsweep.backends.local.padded_model import PaddedModel, autocast
from embedsweep.core.ports import FloatArray
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from tests.integration.plain_models import UNEVEN_TEXTS, model_of, modules_of, mpnet
from tests.integration.tiny_models import WIDTH, make_tiny_base

TEXTS = [
    *UNEVEN_TEXTS,
    UNEVEN_TEXTS[0],
    "someone took my card and went away with it",
    "fees",
]
EXACT, LOW, HALF = torch.float32, torch.bfloat16, torch.float16
Gradients = dict[str, Tensor]


class Memory(nn.Module):
    """Stands behind a model and has room for so many padded tokens.

    What is forwarded with gradients stays until its backward pass, as on a GPU.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.kept = room, 0
        self.forwarded: list[tuple[int, bool]] = []
        self.refused: list[int] = []

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens = features["input_ids"].numel()
        if self.kept + tokens > self.room:
            self.kept = 0
            self.refused.append(tokens)
            raise torch.OutOfMemoryError("no room")
        keeps = torch.is_grad_enabled()
        self.forwarded.append((tokens, keeps))
        if keeps:
            self.kept += tokens

            def release(_: Tensor) -> None:
                self.kept -= tokens

            features["sentence_embedding"].register_hook(release)
        return features


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("padded") / "base")


@pytest.fixture
def model(base: Path) -> SentenceTransformer:
    return model_of(base)


def in_memory(base: Path, room: int) -> tuple[SentenceTransformer, Memory]:
    memory = Memory(room)
    return SentenceTransformer(modules=[*modules_of(base), memory], device="cpu").eval(), memory


def gradients(
    model: SentenceTransformer,
    way: PaddedModel,
    mini_batch: int | None = None,
    head: nn.Parameter | None = None,
) -> Gradients:
    """Of a loss that sees all vectors at once, and a head of its own."""
    head = nn.Parameter(torch.linspace(-1, 1, WIDTH)) if head is None else head

    def objective(vectors: Tensor) -> Tensor:
        units = nn.functional.normalize(vectors, dim=1)
        return ((units @ units.T) ** 2).sum() + (units @ head).cosh().sum()

    model.zero_grad(set_to_none=True)
    loss = way.backward(TEXTS, objective, mini_batch)
    assert bool(torch.isfinite(loss))
    found = {name: weight.grad for name, weight in model.named_parameters()}
    return {
        name: gradient.clone()
        for name, gradient in {**found, "head": head.grad}.items()
        if gradient is not None
    }


def apart(some: Gradients, others: Gradients) -> float:
    """Of all gradients in one vector, the relative difference."""
    assert some.keys() == others.keys()
    one, other = (torch.cat([each[name].flatten() for name in some]) for each in (some, others))
    return float((one - other).norm() / other.norm())


def prepared(model: SentenceTransformer, precision: torch.dtype = EXACT) -> PaddedModel:
    way = PaddedModel(model, precision, None)
    way.prepare(TEXTS)
    return way


def test_gradients_are_those_of_one_plain_backward_pass(model: SentenceTransformer) -> None:
    head = nn.Parameter(torch.linspace(-1, 1, WIDTH))
    units = nn.functional.normalize(model(dict(model.preprocess(TEXTS)))["sentence_embedding"])
    (((units @ units.T) ** 2).sum() + (units @ head).cosh().sum()).backward()
    plain = {name: weight.grad for name, weight in model.named_parameters()}
    wanted = {
        n: each.clone() for n, each in {**plain, "head": head.grad}.items() if each is not None
    }
    for way in (prepared(model), PaddedModel(model, EXACT, None)):
        found = gradients(model, way)
        assert apart(found, wanted) < 1e-5
        assert apart({n: each / 2 for n, each in found.items()}, wanted) > 0.4  # The control.


def test_tokenizing_once_changes_no_bit(model: SentenceTransformer, tmp_path: Path) -> None:
    for each in (model, mpnet(tmp_path / "mpnet")):
        # In pieces of one text, so that no estimate of lengths decides who goes with whom.
        once = gradients(each, prepared(each), 1)
        always = gradients(each, PaddedModel(each, EXACT, None), 1)
        assert apart(once, always) < 1e-6


@pytest.mark.parametrize("training", [False, True])
def test_forwarding_twice_drops_the_same_values_both_times(
    model: SentenceTransformer, training: bool
) -> None:
    model.train(training)
    way, drawn = prepared(model), []
    for mini_batch in (None, len(TEXTS)):
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            drawn.append(gradients(model, way, mini_batch))
    assert apart(*drawn) < 1e-5
    # The control: other drops are other gradients.
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        assert (apart(gradients(model, way), drawn[0]) > 0.01) == training


def test_running_out_of_memory_forwards_twice_and_then_halves(base: Path) -> None:
    plenty, room = in_memory(base, 10**9)
    wanted = gradients(plenty, prepared(plenty))
    assert all(keeps for _, keeps in room.forwarded)
    assert not room.refused
    short, memory = in_memory(base, 100)
    way = prepared(short)
    assert apart(gradients(short, way), wanted) < 1e-5
    assert len(memory.refused) > 1
    assert max(tokens for tokens, _ in memory.forwarded) <= 100
    # The control: what is refused would have been needed, and the head is not counted twice.
    assert max(memory.refused) > 100
    memory.refused.clear()
    memory.forwarded.clear()
    assert apart(gradients(short, way), wanted) < 1e-5
    assert not memory.refused, "the next step begins with less"
    assert {keeps for _, keeps in memory.forwarded} == {True, False}


def test_a_mini_batch_that_does_not_fit_is_halved_too(base: Path) -> None:
    plenty, _ = in_memory(base, 10**9)
    short, memory = in_memory(base, 100)
    found = gradients(short, prepared(short), 4)
    assert apart(found, gradients(plenty, prepared(plenty), 4)) < 1e-5
    assert memory.refused


def test_a_text_that_does_not_fit_alone_ends_the_training(base: Path) -> None:
    model, memory = in_memory(base, 40)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(model, prepared(model))
    assert memory.refused[-1] == 64


def test_a_step_begun_anew_counts_nothing_twice(base: Path) -> None:
    """Memory runs out in the last backward pass, after the head could have had its gradient."""
    plenty, _ = in_memory(base, 10**9)
    wanted = gradients(plenty, prepared(plenty))
    model, _ = in_memory(base, 10**9)
    weight, failing = model[0].model.embeddings.word_embeddings.weight, [True]

    def fail(gradient: Tensor) -> Tensor:
        if failing:
            failing.clear()
            raise torch.OutOfMemoryError("no room for this gradient")
        return gradient

    weight.register_hook(fail)
    head = nn.Parameter(torch.linspace(-1, 1, WIDTH))
    assert apart(gradients(model, prepared(model), head=head), wanted) < 1e-5
    assert not failing
    doubled = {**wanted, "head": 2 * wanted["head"]}
    assert apart(doubled, wanted) > 1e-3  # The control.


def test_a_loss_that_looks_at_no_vector_is_a_failure(model: SentenceTransformer) -> None:
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(TrialFailure, match="does not depend"):
        prepared(model).backward(TEXTS, lambda vectors: (weight**2).sum())


@pytest.mark.parametrize("precision", [LOW, HALF])
@pytest.mark.parametrize("mini_batch", [None, 3])
def test_lower_precisions_move_gradients_little(
    model: SentenceTransformer, precision: torch.dtype, mini_batch: int | None
) -> None:
    exact = gradients(model, prepared(model))
    low = gradients(model, prepared(model, precision), mini_batch)
    assert {each.dtype for each in low.values()} == {EXACT}
    assert 1e-5 < apart(low, exact) < 0.05


def test_float16_keeps_gradients_that_would_vanish(model: SentenceTransformer) -> None:
    def tiny(way: PaddedModel) -> Gradients:
        model.zero_grad(set_to_none=True)
        way.backward(TEXTS, lambda vectors: vectors.pow(2).sum() * 1e-9)
        # Of the layers' matrices: the words' gradients go past them in float32.
        return {
            name: weight.grad.clone()
            for name, weight in model.named_parameters()
            if name.endswith("output.dense.weight") and weight.grad is not None
        }

    exact = tiny(prepared(model))
    assert apart(tiny(prepared(model, HALF)), exact) < 0.05
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_scale, "FIRST_SCALE", 1.0)
        assert apart(tiny(prepared(model, HALF)), exact) > 0.9  # The control.


def test_float16_takes_an_overflowing_step_again_with_the_same_drops(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.train()

    def seeded() -> Gradients:
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            return gradients(model, prepared(model, HALF))

    wanted = seeded()
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    assert apart(seeded(), wanted) < 1e-2
    # The control: left as they overflowed, gradients are not finite.
    monkeypatch.setattr(loss_scale.nn.utils, "get_total_norm", lambda gradients: torch.ones(1))
    assert not all(bool(torch.isfinite(each).all()) for each in seeded().values())


def overflowing(model: SentenceTransformer) -> SentenceTransformer:
    layer = Dense(WIDTH, WIDTH, activation_function=nn.Identity())
    with torch.no_grad():
        layer.linear.weight.copy_(torch.eye(WIDTH) * 1e6)
    return SentenceTransformer(modules=[*model, layer], device="cpu").eval()


def test_a_model_whose_vectors_overflow_float16_goes_on_in_float32(
    model: SentenceTransformer,
) -> None:
    large = overflowing(model)
    with torch.no_grad(), autocast(large, HALF):
        vectors = large(dict(large.preprocess(TEXTS)))["sentence_embedding"]
    assert torch.isinf(vectors).any(), "the control: it overflows"
    exact = gradients(large, prepared(large))
    assert apart(gradients(large, prepared(large, HALF)), exact) < 1e-6
    embedded = embed_padded(TEXTS, large, HALF, encoder(large))
    assert np.abs(embedded - encoder(large)(TEXTS)).max() < 1e-5


def encoder(model: SentenceTransformer) -> Callable[[list[str]], FloatArray]:
    def encode(texts: list[str]) -> FloatArray:
        return model.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    return encode


def test_embedding_runs_out_of_memory_and_goes_on(base: Path) -> None:
    plenty, _ = in_memory(base, 10**9)
    short, memory = in_memory(base, 100)
    wanted = encoder(plenty)(TEXTS)
    assert np.abs(embed_padded(TEXTS, short, EXACT, encoder(short)) - wanted).max() < 1e-5
    assert memory.refused
    with pytest.raises(torch.OutOfMemoryError):
        encoder(short)(TEXTS)  # The control.
    half = embed_padded(TEXTS, plenty, HALF, encoder(plenty))
    assert 1e-6 < np.abs(half - wanted).max() < 1e-2
    assert half.dtype == np.float32


def test_attention_is_torchs_own_wherever_the_class_supports_it(base: Path, tmp_path: Path) -> None:
    assert open_model(base, "cpu")[0].model.config._attn_implementation == "sdpa"
    other = mpnet(tmp_path / "mpnet")
    assert other[0].model.config._attn_implementation == "eager"
    # Asking for it by name would refuse such a model instead.
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        MPNetModel.from_pretrained(tmp_path / "mpnet", attn_implementation="sdpa")


def test_a_training_goes_this_way_with_prompts(tmp_path: Path) -> None:
    model = mpnet(tmp_path / "mpnet")
    model.prompts = {"query": "question: ", "document": "passage: "}
    seen: list[Tensor] = []

    def objective(vectors: Tensor) -> Tensor:
        seen.append(vectors.detach())
        return vectors.sum()

    way = TrainingEncoder(model, EXACT)
    way.prepare({TextRole.QUERY: TEXTS})
    way.backward(TEXTS, [TextRole.QUERY] * len(TEXTS), objective)
    wanted = model.encode_query(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(seen[-1].numpy() - wanted).max() < 1e-5
