"""What a model reads of texts, from token ids made once where that gives the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.token_budget import estimated_lengths
from embedsweep.backends.local.tokens import IdArray, TextTokenizer, tokenized

_NO_LIMIT = 2**31
"""Tokenizers without a limit say 1e30 or the like."""


class TextFeatures:
    """The features of ``model.preprocess``, bit for bit, on the model's device.

    Texts that were prepared are tokenized once, and padded from their ids whenever they are asked
    for. Whether that gives what the model's own way gives is tried on some of the texts, the
    shortest and the longest among them; where it does not, and for models that do not read plain
    text with a fast tokenizer, the model's own way is taken each time.

    Args:
        model: The model.
        limit: Tokens read of a text, special ones included, where that is less than the model's
            own limit; None for that.
        store: Where token ids are kept; None for nowhere.
    """

    def __init__(
        self, model: SentenceTransformer, limit: int | None, store: ArrayStore | None = None
    ) -> None:
        self._model = model
        self._store = store or ArrayStore()
        limits = [each for each in (model.max_seq_length, limit) if each is not None]
        self._limit = min(limits, default=None)
        self._plain = _reads_plain_text(model)
        self._ids: dict[str, IdArray] = {}

    def prepare(self, texts: Iterable[str]) -> None:
        """Tokenize texts that will be asked for, all at once."""
        distinct = list(dict.fromkeys(texts))
        if not self._plain or not distinct:
            return
        limit = self._limit if self._limit is not None and self._limit < _NO_LIMIT else None
        tokenizer = TextTokenizer(self._model.tokenizer.backend_tokenizer, limit)
        read = tokenized(tokenizer, distinct, self._store)
        order = np.argsort(read.lengths, kind="stable")
        tried = {0, len(order) // 2, len(order) - 1}
        places = [int(place) for rank in sorted(tried) for place in (rank, order[rank])]
        made = self._padded([read[place] for place in places])
        # Half a surrogate pair is nothing that the model's own way would read.
        whole = [distinct[place].encode("utf-8", "replace").decode() for place in places]
        self._plain = _same(made, self._own(whole))
        if self._plain:
            self._ids.update((text, read[place]) for place, text in enumerate(distinct))

    def prepared(self, texts: Iterable[str]) -> bool:
        """Whether all the texts' ids are there."""
        return self._plain and all(text in self._ids for text in texts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text: exact where they are there, else about."""
        if self.prepared(texts):
            return [max(1, len(self._ids[text])) for text in texts]
        lengths = estimated_lengths(texts, self._model)
        return lengths if self._limit is None else [min(each, self._limit) for each in lengths]

    def of(self, texts: Sequence[str]) -> dict[str, Any]:
        """Features of texts that are forwarded together."""
        features = (
            self._padded([self._ids[text] for text in texts])
            if self.prepared(texts)
            else self._own(texts)
        )
        device = self._model.device
        return {
            name: on_device(value, device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }

    def _padded(self, ids: Sequence[IdArray]) -> dict[str, Any]:
        tokenizer = self._model.tokenizer
        shape = len(ids), max(map(len, ids))
        features: dict[str, Any] = {"input_ids": self._filled(shape, tokenizer.pad_token_id or 0)}
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = self._filled(shape, tokenizer.pad_token_type_id)
        if "attention_mask" in tokenizer.model_input_names:
            features["attention_mask"] = self._filled(shape, 0)
        rows = {name: value.numpy() for name, value in features.items()}
        for row, text in enumerate(ids):
            left = tokenizer.padding_side == "left"
            place = slice(shape[1] - len(text), None) if left else slice(len(text))
            rows["input_ids"][row, place] = text
            for name, value in (("token_type_ids", 0), ("attention_mask", 1)):
                if name in rows:
                    rows[name][row, place] = value
        return {**features, "modality": "text"}

    def _filled(self, shape: tuple[int, int], value: int) -> Tensor:
        """In memory that a GPU can read by itself where the model is on one."""
        pinned = self._model.device.type == "cuda"
        return torch.full(shape, value, dtype=torch.int64, pin_memory=pinned)

    def _own(self, texts: Sequence[str]) -> dict[str, Any]:
        """The model's own way, which reads the limit from the model."""
        own = self._model.max_seq_length
        if self._limit == own:
            return dict(self._model.preprocess(list(texts)))
        self._model.max_seq_length = self._limit
        try:
            return dict(self._model.preprocess(list(texts)))
        finally:
            self._model.max_seq_length = own


def on_device(value: Tensor, device: torch.device) -> Tensor:
    """The tensor there; a GPU takes it from pinned memory while the processor goes on."""
    if device.type != "cuda":
        return value.to(device)
    if value.device.type == "cpu" and not value.is_pinned():
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def _reads_plain_text(model: SentenceTransformer) -> bool:
    """Whether the first module hands texts as they are to a fast tokenizer, and pads its ids."""
    first: Any = model[0]
    if type(model) is not SentenceTransformer or type(first) is not Transformer:
        return False
    tokenizer = first.processor
    return (
        isinstance(tokenizer, PreTrainedTokenizerFast)
        and tokenizer.pad_token_id is not None
        and not tokenizer.split_special_tokens
        and first.transformer_task == "feature-extraction"
        and "text" in first.modality_config
        and "message" not in first.modality_config
        and not first.processing_kwargs
        and not first.can_flatten_inputs
    )


def _same(some: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether names, types and values are equal."""
    return some.keys() == others.keys() and all(
        torch.equal(value, other) and value.dtype == other.dtype
        if isinstance(value, Tensor) and isinstance(other, Tensor)
        else type(value) is type(other) and value == other
        for value, other in ((some[name], others[name]) for name in some)
    )
