"""Dropout for processors: eight masks from every random number drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LEVELS = 256


def dropout_factors(
    shape: tuple[int, ...], share: float, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """What values are multiplied with: zero, or what makes up for those that are dropped.

    One 64-bit draw decides eight values: torch's own ``bernoulli_`` draws for each, which on a
    processor takes as long as a tenth of a training step. Factors and not a mask, because torch
    fills by a mask several times slower than it multiplies.

    Args:
        shape: Of the factors.
        share: Of the values that are dropped; it is met to 1/512, and the factor is exact for it.
        generator: Whom the numbers are drawn from.
        dtype: Of the factors.
    """
    level, count = round(share * _LEVELS), math.prod(shape)
    words = torch.empty((count + 7) // 8, dtype=torch.int64)
    # Over all 64 bits: drawn without bounds, the highest would always be zero.
    drawn = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:count]
    factors = torch.empty(shape, dtype=dtype)
    torch.ge(drawn.view(shape), level, out=factors)
    return factors.mul_(_LEVELS / (_LEVELS - level))
