"""Models are opened in float32 within their positions, and tried before a trial needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.backends.local.examination import examine
from embedsweep.backends.local.opening import open_model, positions, usable_length
from embedsweep.core.coverage import Coverage
from embedsweep.core.dataset import Pair, TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, Loss
from tests.integration.tiny_architectures import (
    ARCHITECTURES,
    BROKEN,
    POSITIONS,
    edit,
    make_broken,
    make_model,
    sentences,
)

LONG = "please help with the late parcel " * 40
TEXTS = [*(text for text, _ in sentences(30)), LONG]


def in_precision(folder: Path, dtype: torch.dtype, copy: Path) -> Path:
    model = SentenceTransformer(str(folder), device="cpu").to(dtype)
    model.save(str(copy), create_model_card=False)
    return copy


def trained(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The weights after a short training from the folder."""
    texts = [text for text, _ in sentences(64)]
    pairs = tuple(
        Pair(first, second) for first, second in zip(texts[::2], texts[1::2], strict=True)
    )
    recipe = LocalRecipe(
        base_model=str(base),
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=1,
        learning_rate=2e-5,
        batch_size=8,
        seed=1,
    )
    LocalBackend("cpu").train(recipe, TrainingSet(pairs=pairs), folder, TrainingListener())
    return weights(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return SentenceTransformer(str(folder), device="cpu").state_dict()


def changed_share(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    changed = sum(int((after[name].float() != before[name].float()).sum()) for name in before)
    return changed / sum(tensor.numel() for tensor in before.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["BERT", "MPNet", "Qwen3-like decoder"])
def test_half_precision_trains_as_the_same_weights_in_float32(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    half = in_precision(make_model(name, tmp_path / "made"), dtype, tmp_path / "half")
    full = in_precision(half, torch.float32, tmp_path / "full")
    before = weights(full)
    from_half, from_full = trained(half, tmp_path / "a"), trained(full, tmp_path / "b")
    share = changed_share(before, from_half)
    sys.stdout.write(f"{name} in {dtype}: {share:.1%} of the weights changed\n")
    assert share == changed_share(before, from_full) > 0.5
    assert all(torch.equal(from_half[key], from_full[key]) for key in from_full)
    # The control: rounded to the precision that the file has, most of the training is lost.
    assert changed_share(before, {k: v.to(dtype) for k, v in from_half.items()}) < share / 2


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_module_is_float32_and_is_kept_so(name: str, tmp_path: Path) -> None:
    base = make_model(name, tmp_path / "base")
    stock = SentenceTransformer(str(base), device="cpu")
    assert {each.dtype for each in stock.parameters()} != {torch.float32}
    backend = LocalBackend("cpu")
    backend.untuned(Base(str(base)), tmp_path / "kept")
    kept = SentenceTransformer(str(tmp_path / "kept"), device="cpu")
    assert {each.dtype for each in kept.parameters()} == {torch.float32}
    served = backend.open(tmp_path / "kept").embed(TEXTS)
    assert np.allclose(served, kept.encode(TEXTS, normalize_embeddings=True), atol=1e-6)


@pytest.mark.parametrize("name", ["RoBERTa", "MPNet"])
def test_rows_that_are_no_position_are_not_counted(name: str, tmp_path: Path) -> None:
    base = make_model(name, tmp_path / "base")
    stock = SentenceTransformer(str(base), device="cpu")
    assert stock.max_seq_length == POSITIONS + 2
    with pytest.raises((IndexError, RuntimeError)):
        stock.encode([LONG])
    model = open_model(base, "cpu").eval()
    assert usable_length(model) == POSITIONS
    assert np.isfinite(LocalEmbedder(model).embed([LONG])).all()
    model.save(str(tmp_path / "kept"))
    kept = SentenceTransformer(str(tmp_path / "kept"), device="cpu")
    assert kept.max_seq_length == POSITIONS
    assert np.isfinite(kept.encode([LONG])).all()


def claim_in_module(folder: Path, limit: int) -> None:
    edit(folder / "sentence_bert_config.json", max_seq_length=limit)


def claim_in_tokenizer(folder: Path, limit: int) -> None:
    edit(folder / "tokenizer_config.json", model_max_length=limit)


@pytest.mark.parametrize("claim", [claim_in_module, claim_in_tokenizer])
@pytest.mark.parametrize(("limit", "usable"), [(512, POSITIONS), (10**30, POSITIONS), (20, 20)])
@pytest.mark.parametrize("name", ["BERT", "Qwen3-like decoder"])
def test_the_smallest_limit_counts(
    name: str, limit: int, usable: int, claim: Callable[[Path, int], None], tmp_path: Path
) -> None:
    base = make_model(name, tmp_path / "base")
    claim(base, limit)
    model = open_model(base, "cpu").eval()
    assert usable_length(model) == usable
    assert LocalEmbedder(model).count_tokens([LONG]) == usable
    coverage = examine("base", base, TEXTS, device="cpu")
    assert (coverage.limit, coverage.truncated) == (usable, 1)


class Offset(nn.Embedding):
    offset = 2


@pytest.mark.parametrize(
    ("name", "table", "usable"),
    [
        ("position_embeddings", nn.Embedding(512, 4), 512),
        ("position_embeddings", nn.Embedding(514, 4, padding_idx=1), 512),
        ("embed_positions", Offset(1026, 4), 1024),
        ("wpe", nn.Embedding(1024, 4), 1024),
        ("token_type_embeddings", nn.Embedding(2, 4), None),
        ("relative_attention_bias", nn.Embedding(32, 4), None),
    ],
)
def test_tables_of_positions_are_known_by_their_names(
    name: str, table: nn.Embedding, usable: int | None
) -> None:
    assert positions(nn.ModuleDict({"embeddings": nn.ModuleDict({name: table})})) == usable


def test_a_missing_pad_token_is_the_end_of_a_text_and_changes_no_vector(tmp_path: Path) -> None:
    base = make_model("Qwen3-like decoder", tmp_path / "base")
    assert SentenceTransformer(str(base), device="cpu").tokenizer.pad_token is None
    model = open_model(base, "cpu").eval()
    assert model.tokenizer.pad_token == model.tokenizer.eos_token
    embedder = LocalEmbedder(model)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert np.allclose(embedder.embed(TEXTS), alone, atol=1e-5)
    model.save(str(tmp_path / "kept"))
    assert SentenceTransformer(str(tmp_path / "kept"), device="cpu").tokenizer.pad_token


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_embeds_the_longest_texts(name: str, tmp_path: Path) -> None:
    coverage = examine("base", make_model(name, tmp_path / "base"), TEXTS, device="cpu")
    assert coverage == Coverage(len(TEXTS), POSITIONS, truncated=1)


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_embed_is_named_with_a_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=BROKEN[name][1]) as caught:
        examine("mine", make_broken(name, tmp_path / "base"), TEXTS, device="cpu")
    (fault,) = caught.value.faults
    assert fault.what == "base model 'mine'"
    assert str(tmp_path / "base") in fault.where
    assert fault.fix


@pytest.mark.parametrize("name", ["vocabulary beyond the weights", "weights that are not finite"])
def test_control_opening_alone_does_not_find_it(name: str, tmp_path: Path) -> None:
    assert open_model(make_broken(name, tmp_path / "base"), "cpu") is not None


def test_texts_that_lack_the_missing_words_embed_all_the_same(tmp_path: Path) -> None:
    base = make_broken("vocabulary beyond the weights", tmp_path / "base")
    assert examine("mine", base, ["how can I", "please"], device="cpu").texts == 2


def test_a_tokenizer_of_its_own_is_named(tmp_path: Path) -> None:
    base = make_model("BERT", tmp_path / "base")
    edit(base / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]})
    with pytest.raises(DataError, match=r"tokenizer_config\.json: it needs code"):
        open_model(base, "cpu")


def test_what_the_model_reads_is_known_by_its_tokens(tmp_path: Path) -> None:
    embedder = LocalEmbedder(open_model(make_model("BERT", tmp_path / "base"), "cpu").eval())
    assert embedder.token_ids([LONG, f"{LONG} refund", "\U0001f600", "\U0001f680", "refund"])
    long, longer, grin, rocket, refund = embedder.token_ids(
        [LONG, f"{LONG} refund", "\U0001f600", "\U0001f680", "refund"]
    )
    assert long == longer
    assert len(long) == POSITIONS - 2
    assert grin == rocket != refund
    assert json.dumps(grin) == json.dumps([embedder.model.tokenizer.unk_token_id])
