"""How many padded tokens a model forwards together, and how it goes on with fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.memory import free_gpu_memory
from embedsweep.backends.local.micro_batches import micro_batches

MICRO_BATCH_TOKENS = {"cpu": 2048, "mps": 16_384, "cuda": 65_536}
"""Padded tokens forwarded together, by device: on a processor, what stays near its caches; on a
GPU at most so many, for more of them would not make it faster."""

FEWEST_TOKENS = 1024
"""Tried first on a GPU however little memory it has."""

MEMORY_SHARE = 0.5
"""Of a GPU's free memory, for what a backward pass needs of a micro-batch."""

BYTES_PER_WIDTH = 34
"""Kept for a backward pass per token, layer and unit of the width, in 16 bits and without the
attention's scores: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
Transformer Models", section 4.1."""

CHARACTERS_PER_TOKEN = 4
"""Of English text, about; it only decides which texts share a micro-batch."""


def micro_batch_tokens(model: SentenceTransformer, precision: torch.dtype) -> int:
    """Padded tokens that the model forwards together where it is now."""
    device = model.device
    if device.type != "cuda":
        return MICRO_BATCH_TOKENS.get(device.type, MICRO_BATCH_TOKENS["mps"])
    return tokens_that_fit(model, precision, free_gpu_memory(device))


def tokens_that_fit(model: SentenceTransformer, precision: torch.dtype, free: int) -> int:
    """Padded tokens whose backward pass finds room in free memory, about.

    A power of two, so that a little more or less of other things in the memory does not change
    which texts share a micro-batch, and with them the drops and the order of sums.

    Args:
        model: Where it does not say how wide and deep it is, memory is not looked at.
        precision: What matrices are multiplied in.
        free: Bytes.
    """
    most = MICRO_BATCH_TOKENS["cuda"]
    config = getattr(model.transformers_model, "config", None)
    width = getattr(config, "hidden_size", None)
    layers = getattr(config, "num_hidden_layers", None)
    if not isinstance(width, int) or not isinstance(layers, int):
        return most
    per_token = BYTES_PER_WIDTH * width * layers * precision.itemsize // 2
    fitting = max(1, int(MEMORY_SHARE * free) // max(1, per_token))
    power: int = 1 << (fitting.bit_length() - 1)
    return min(most, max(FEWEST_TOKENS, power))


def estimated_lengths(texts: Sequence[str], model: SentenceTransformer) -> list[int]:
    """About how many tokens the model reads of each text."""
    longest = model.max_seq_length
    lengths = [len(text) // CHARACTERS_PER_TOKEN + 2 for text in texts]
    return lengths if longest is None else [min(length, longest) for length in lengths]


def padded_tokens(lengths: Sequence[int], group: Sequence[int]) -> int:
    """Tokens of a group of texts, each as long as the longest of them."""
    return len(group) * max(lengths[place] for place in group)


def alike_groups(lengths: Sequence[int], budget: int, most: int | None = None) -> list[list[int]]:
    """Places of the texts, those of like length together; none where there are none.

    Args:
        lengths: Tokens of each text.
        budget: Padded tokens of a group, which holds at least one text.
        most: Texts of a group; None for any number.
    """
    groups = micro_batches(lengths, budget) if lengths else []
    step = most or max(1, len(lengths))
    return [group[at : at + step] for group in groups for at in range(0, len(group), step)]


def forward_in_groups(
    lengths: Sequence[int], budget: int, forward: Callable[[list[int]], None]
) -> None:
    """Call with the places of texts of like length until each text has had its turn.

    A group that memory does not suffice for is formed anew, and so are all behind it, of half the
    tokens.

    Args:
        lengths: Tokens of each text.
        budget: Padded tokens of a group.
        forward: Leaves nothing behind where it raises.

    Raises:
        torch.OutOfMemoryError: Memory does not suffice for a single text.
    """
    groups = alike_groups(lengths, budget)
    while groups:
        try:
            forward(groups[0])
        except torch.OutOfMemoryError:
            if len(groups[0]) == 1:
                raise
        else:
            del groups[0]
            continue
        # Out here the error holds the failed group's tensors no longer.
        budget = padded_tokens(lengths, groups[0]) // 2
        rest = [place for group in groups for place in group]
        again = alike_groups([lengths[place] for place in rest], budget)
        groups = [[rest[place] for place in group] for group in again]
