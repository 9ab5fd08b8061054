"""What the frozen layers of a partly trained BERT make of texts: computed once, for all trials.

They drop nothing, so a text's states are the same at every step of every trial that freezes the
same layers of the same model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.lanes import on_lanes
from embedsweep.backends.local.memory import free_memory
from embedsweep.backends.local.micro_batches import even_parts
from embedsweep.backends.local.packed_bert import PackedBert
from embedsweep.backends.local.tokens import IdArray, TokenizedTexts

StateArray = npt.NDArray[Any]
"""One row per token of a text, (tokens, width), float16 or float32."""

LANE_TOKENS = 2048
"""Forwarded together by each thread, about."""

MEMORY_SHARE = 0.25
"""Of the free memory, for the states of all texts while they are made; more are not kept."""


def frozen_states(bert: PackedBert, texts: Sequence[IdArray]) -> list[StateArray]:
    """The states of each text.

    Args:
        bert: One with frozen layers.
        texts: Token ids.
    """
    lengths = [len(text) for text in texts]
    ends = np.cumsum(lengths)
    rows: StateArray = np.empty((ends[-1], bert.width), dtype=_dtype(bert))
    states = np.split(rows, ends[:-1])
    with torch.inference_mode():
        weights = bert.frozen_weights().lowered(bert.precision)

    def forward(places: Sequence[int]) -> None:
        # The mode belongs to a thread.
        with torch.inference_mode():
            hidden = bert.hidden(weights, [texts[place] for place in places]).numpy()
        parts = np.split(hidden, np.cumsum([lengths[place] for place in places])[:-1])
        for place, part in zip(places, parts, strict=True):
            states[place][:] = part

    on_lanes(forward, even_parts(lengths, LANE_TOKENS, torch.get_num_threads())[::-1])
    return states


def kept_states(
    bert: PackedBert, texts: TokenizedTexts, store: ArrayStore
) -> list[StateArray] | None:
    """The states of each text, from the store where they lie there.

    They lie there under the SHA-256 of the frozen weights, the precision and the token ids. None
    where they are too many to be kept.
    """
    size = int(texts.lengths.sum()) * bert.width * _dtype(bert).itemsize
    free = free_memory()
    if size > store.largest / 2 or (free is not None and size > MEMORY_SHARE * free):
        return None
    digest = hashlib.sha256(f"{texts.digest} {bert.precision}".encode())
    for tensor in bert.frozen_weights():
        digest.update(tensor.detach().contiguous().numpy().data)
    rows = store.array(
        f"{digest.hexdigest()}.states",
        lambda: np.concatenate(frozen_states(bert, list(texts))),
    )
    return np.split(rows, np.cumsum(texts.lengths)[:-1])


def _dtype(bert: PackedBert) -> np.dtype[Any]:
    """float16, eight times as fine as bfloat16, unless the states may be too large for it."""
    return np.dtype(np.float16 if bert.largest_state < np.finfo(np.float16).max else np.float32)
