"""Embedding with a model's own method, at the speed and within the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.padded_model import autocast
from embedsweep.backends.local.token_budget import (
    estimated_lengths,
    forward_in_groups,
    micro_batch_tokens,
)
from embedsweep.core.ports import FloatArray


def embed_padded(
    texts: Sequence[str],
    model: SentenceTransformer,
    precision: torch.dtype,
    encode: Callable[[list[str]], FloatArray],
) -> FloatArray:
    """Vectors of the texts, in their order, those of like length embedded together.

    Where memory runs out it goes on with half the tokens at a time, and where vectors overflow
    float16, in float32.

    Args:
        texts: At least one.
        model: It embeds.
        precision: What matrices are multiplied in.
        encode: One row per text, of texts embedded together.
    """
    rows: dict[int, FloatArray] = {}

    def forward(places: list[int]) -> None:
        rows.update(zip(places, encode([texts[place] for place in places]), strict=True))

    budget = micro_batch_tokens(model, precision)
    with autocast(model, precision):
        forward_in_groups(estimated_lengths(texts, model), budget, forward)
    vectors: FloatArray = np.stack([rows[place] for place in range(len(texts))])
    if precision == torch.float16 and not np.isfinite(vectors).all():
        return embed_padded(texts, model, torch.float32, encode)
    return vectors
