"""Token ids made once give bit for bit what a model's own way of reading texts gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.text_features import TextFeatures, on_device
from tests.integration.plain_models import UNEVEN_TEXTS, canine, model_of, mpnet
from tests.integration.tiny_models import make_tiny_base

TEXTS = [
    *UNEVEN_TEXTS,
    "na\u00efve \u6771\u4eac \U0001f600 [MASK]",
]
Change = Callable[[SentenceTransformer], None]


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    return model_of(make_tiny_base(tmp_path / "base"))


def prepared(
    model: SentenceTransformer, texts: list[str], limit: int | None = None
) -> TextFeatures:
    features = TextFeatures(model, limit)
    features.prepare(texts)
    return features


def same(some: dict[str, Any], others: dict[str, Any]) -> bool:
    def equal(value: Any, other: Any) -> bool:
        if isinstance(value, Tensor):
            return value.dtype == other.dtype and torch.equal(value, other)
        return bool(value == other)

    return some.keys() == others.keys() and all(equal(some[n], others[n]) for n in some)


def own(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    return dict(model.preprocess(texts))


def assert_same(model: SentenceTransformer, features: TextFeatures) -> None:
    for texts in (TEXTS, TEXTS[:1], TEXTS[2:4], TEXTS[::-1]):
        assert same(features.of(texts), own(model, texts))
    # The control: other texts are other features, and the comparison sees it.
    assert not same(features.of(TEXTS), own(model, TEXTS[::-1]))


def no_token_types(model: SentenceTransformer) -> None:
    model.tokenizer.model_input_names = ["input_ids", "attention_mask"]


def left_padding(model: SentenceTransformer) -> None:
    model.tokenizer.padding_side = "left"


def prompts(model: SentenceTransformer) -> None:
    model.prompts = {"query": "query: ", "passage": "passage: "}
    model.default_prompt_name = "query"


@pytest.mark.parametrize("change", [prompts, no_token_types, left_padding])
def test_prepared_texts_are_padded_from_their_ids(
    model: SentenceTransformer, change: Change
) -> None:
    change(model)
    features = prepared(model, TEXTS)
    assert features.prepared(TEXTS)
    assert_same(model, features)
    names = {"input_ids", "attention_mask", "token_type_ids", "modality"}
    assert set(features.of(TEXTS)) == names - (
        {"token_type_ids"} if change is no_token_types else set()
    )
    assert features.lengths(TEXTS) == own(model, TEXTS)["attention_mask"].sum(dim=1).tolist()


def test_another_kind_of_network_reads_the_same_way(tmp_path: Path) -> None:
    model = mpnet(tmp_path / "mpnet")
    features = prepared(model, TEXTS)
    assert features.prepared(TEXTS)
    assert_same(model, features)


def test_a_lower_limit_cuts_as_the_models_own_limit_does(model: SentenceTransformer) -> None:
    features = prepared(model, TEXTS, limit=8)
    assert features.prepared(TEXTS)
    assert model.max_seq_length == 64
    cut = features.of(TEXTS)
    unprepared = TextFeatures(model, 8)
    assert same(unprepared.of(TEXTS), cut)
    assert max(unprepared.lengths(TEXTS)) <= 8
    assert cut["input_ids"].shape[1] == 8
    assert not same(cut, own(model, TEXTS)), "the control: the model's own limit is higher"
    assert model.max_seq_length == 64
    model.max_seq_length = 8
    assert_same(model, features)
    model.max_seq_length = 8
    assert_same(model, prepared(model, TEXTS, limit=60))


def test_texts_that_were_not_prepared_are_read_the_models_own_way(
    model: SentenceTransformer,
) -> None:
    features = prepared(model, TEXTS[:3])
    assert not features.prepared(TEXTS)
    assert_same(model, features)


def test_a_tokenizer_written_in_python_is_asked_each_time(tmp_path: Path) -> None:
    model = canine(tmp_path)
    assert not model.tokenizer.is_fast
    features = prepared(model, TEXTS)
    assert not features.prepared(TEXTS)
    assert_same(model, features)


def left_truncation(model: SentenceTransformer) -> None:
    """Only the longest text shows it."""
    model.tokenizer.truncation_side = "left"


def other_token_types(model: SentenceTransformer) -> None:
    ids = [("[CLS]", 101), ("[SEP]", 102)]
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:1 $A:0 [SEP]:0", special_tokens=ids
    )


def padding_to_a_multiple(model: SentenceTransformer) -> None:
    model[0].processing_kwargs = {"text": {"pad_to_multiple_of": 8}}


def special_tokens_as_text(model: SentenceTransformer) -> None:
    model.tokenizer.split_special_tokens = True


@pytest.mark.parametrize(
    "change", [left_truncation, other_token_types, padding_to_a_multiple, special_tokens_as_text]
)
def test_where_ids_alone_would_give_something_else_the_models_own_way_is_taken(
    model: SentenceTransformer, change: Change
) -> None:
    before = own(model, TEXTS), own(model, TEXTS[:1])
    change(model)
    after = own(model, TEXTS), own(model, TEXTS[:1])
    alike = [same(some, other) for some, other in zip(before, after, strict=True)]
    assert not all(alike), "the control: the change makes a difference"
    features = prepared(model, TEXTS)
    assert not features.prepared(TEXTS)
    assert_same(model, features)


def test_half_a_surrogate_pair_does_not_stop_the_others(model: SentenceTransformer) -> None:
    features = prepared(model, ["\ud800 half", *TEXTS])
    assert features.prepared(TEXTS)
    assert same(features.of(["\ud800 half"]), own(model, ["? half"]))


def test_ids_are_read_from_the_store_instead_of_made_again(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    for _ in range(2):
        features = TextFeatures(model, None, ArrayStore(tmp_path))
        features.prepare(TEXTS)
        assert_same(model, features)
        assert len(list(tmp_path.glob("*.npy"))) == 1


def test_no_texts_are_no_work(model: SentenceTransformer) -> None:
    assert prepared(model, []).lengths([]) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can pin memory")
def test_memory_is_pinned_for_a_gpu_alone(model: SentenceTransformer) -> None:
    value = torch.zeros(3)
    assert on_device(value, torch.device("cpu")) is value
    assert not prepared(model, TEXTS).of(TEXTS)["input_ids"].is_pinned()
    with pytest.raises(RuntimeError):
        value.pin_memory()  # The control: done here it would fail.
