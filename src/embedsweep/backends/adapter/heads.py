"""Heads on frozen vectors. Each begins as the identity: training starts at the frozen model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn import functional

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

    Attributes:
        bends: Whether an activation is between its matrices.
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
        self.bends = head is Head.MLP

    @torch.no_grad()
    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors, (texts, dimension); zero stays zero. Their gradient is `backward`'s."""
        units, _ = _to_unit(self.residual(vectors).add_(vectors))
        return units

    def backward(self, vectors: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Leave the gradient of an objective of the head's unit vectors in the weights.

        It is autograd's bit for bit, but for the unit vectors', which takes half the passes over
        memory. Of the objective alone a graph is made: a head's own few products take less time
        than what autograd does around each of them.

        Args:
            vectors: Frozen ones, (texts, dimension).
            objective: From unit vectors to a scalar.

        Returns:
            The objective.
        """
        *first, last = self.parameters()
        with torch.no_grad():
            hidden = functional.linear(vectors, first[0]) if first else vectors
            bent = functional.gelu(hidden) if self.bends else hidden
            units, lengths = _to_unit(functional.linear(bent, last).add_(vectors))
        value = objective(units.requires_grad_())
        value.backward()  # type: ignore[no-untyped-call]
        if units.grad is None:
            raise RuntimeError("the objective does not hang on the unit vectors")
        with torch.no_grad():
            gradient, units = units.grad, units.detach()
            along = torch.linalg.vecdot(gradient, units).unsqueeze(1)
            of_rows = gradient.addcmul_(units, along, value=-1).div_(lengths)
            last.grad = of_rows.T @ bent
            if first:
                of_hidden = of_rows @ last
                if self.bends:
                    of_hidden = torch.ops.aten.gelu_backward(of_hidden, hidden)
                first[0].grad = of_hidden.T @ vectors
        return value


def _to_unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows brought to unit length, in place, and the lengths by which they were divided."""
    lengths = rows.norm(dim=1, keepdim=True).clamp_min_(SMALLEST_LENGTH)
    return rows.div_(lengths), lengths


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
