"""Heads on frozen vectors. Each begins as the identity: training starts at the frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from embedsweep.core.errors import DataError
from embedsweep.core.recipe import Head

HEAD_FILE = "head.safetensors"
SMALLEST_LENGTH = 1e-12
"""Shorter rows are divided by this, as `torch.nn.functional.normalize` does."""


class ResidualHead(nn.Module):
    """A vector plus a learned function of it, brought to unit length.

    The function is a matrix (linear), a product of two thin ones (low-rank), or one with a GELU
    between them (MLP). Its last matrix begins at zero, so weight decay pulls to the identity.

    Args:
        head: The function's shape.
        dimension: Length of the vectors.
        width: Rank or hidden units; None for a linear head, and only for it.
    """

    def __init__(self, head: Head, dimension: int, width: int | None) -> None:
        super().__init__()
        if (width is None) != (head is Head.LINEAR):
            raise ValueError(f"a {head.value} head with width {width}")
        last = nn.Linear(width or dimension, dimension, bias=False)
        nn.init.zeros_(last.weight)
        layers: list[nn.Module] = [last]
        if width is not None:
            first = nn.Linear(dimension, width, bias=False)
            # The units begin as large as a unit vector's own numbers: so one range of learning
            # rates fits all heads.
            nn.init.normal_(first.weight, std=dimension**-0.5)
            layers = [first, nn.GELU(), last] if head is Head.MLP else [first, last]
        self.residual = nn.Sequential(*layers)

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors, (texts, dimension); zero stays zero."""
        units: Tensor = _UnitRows.apply(vectors + self.residual(vectors))  # type: ignore[no-untyped-call]
        return units


class _UnitRows(torch.autograd.Function):
    """`functional.normalize` of rows, its gradient in half the passes over memory.

    Most of a small head's step goes into such passes: they take longer than its products.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        lengths = rows.norm(dim=1, keepdim=True).clamp_min_(SMALLEST_LENGTH)
        units: Tensor = rows / lengths
        ctx.save_for_backward(units, lengths)
        return units

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - torch gives it no type
        units, lengths = ctx.saved_tensors
        along = torch.linalg.vecdot(gradient, units).unsqueeze(1)
        of_rows: Tensor = torch.addcmul(gradient, units, along, value=-1).div_(lengths)
        return of_rows


def save_head(head: ResidualHead, folder: Path) -> None:
    """Leave the head's weights in a folder, which is created if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(head.state_dict(), folder / HEAD_FILE)


def load_head(folder: Path, head: Head, dimension: int, width: int | None) -> ResidualHead:
    """The head in a folder, for use and not for training.

    Raises:
        DataError: The file is missing, is no safetensors, or holds other weights than the head
            has: by name, shape, type, or by not being finite.
    """
    path = folder / HEAD_FILE
    try:
        weights = load(path.read_bytes())
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise _unusable(path, f"it is not in safetensors form: {error}") from None
    try:
        # The shapes are compared before any memory is taken for them.
        with torch.device("meta"):
            model = ResidualHead(head, dimension, width)
    except ValueError as error:
        raise _unusable(path, f"its folder tells of {error}") from None
    expected = {name: _form(weight) for name, weight in model.state_dict().items()}
    seen = {name: _form(weight) for name, weight in weights.items()}
    if seen != expected:
        raise _unusable(path, f"it holds {seen}, expected {expected}")
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
        raise _unusable(path, "it holds NaN or infinity, expected finite weights")
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(requires_grad=False).eval()


def _form(weight: Tensor) -> str:
    return f"{str(weight.dtype).removeprefix('torch.')} {tuple(weight.shape)}"


def _unusable(path: Path, why: str) -> DataError:
    fix = "fetch the model from the registry again, or train it anew"
    return DataError("adapter's head", str(path), why, fix)
