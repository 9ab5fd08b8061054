"""Heads begin as the identity, keep vectors at unit length, and open only from what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from embedsweep.backends.adapter.heads import HEAD_FILE, ResidualHead, load_head, save_head
from embedsweep.backends.adapter.training import REPORTED_EPOCHS, reported_epochs
from embedsweep.core.errors import DataError
from embedsweep.core.recipe import Head

DIMENSION = 6
HEADS = [(Head.LINEAR, None), (Head.LOW_RANK, 2), (Head.MLP, 4)]
PARAMETERS = {Head.LINEAR: 36, Head.LOW_RANK: 24, Head.MLP: 48}


def unit_vectors(count: int) -> torch.Tensor:
    vectors = torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(vectors, dim=1)


def trained(head: Head, width: int | None) -> ResidualHead:
    """One rough step away from the identity."""
    torch.manual_seed(2)
    model = ResidualHead(head, DIMENSION, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        model.backward(unit_vectors(5), lambda units: (units - unit_vectors(6)[1:]).square().sum())
        optimizer.step()
    return model


def by_autograd(model: ResidualHead, vectors: torch.Tensor) -> torch.Tensor:
    """The head's unit vectors, with a graph behind them."""
    return functional.normalize(vectors + model.residual(vectors), dim=1)


def gradients_of(model: ResidualHead) -> list[torch.Tensor]:
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("head", "width"), HEADS)
def test_the_gradient_is_autograds(head: Head, width: int | None, zero: bool) -> None:
    model, vectors, towards = trained(head, width), unit_vectors(9), unit_vectors(12)[3:]
    vectors[3] = 0 if zero else vectors[3]
    before = vectors.clone()
    model.zero_grad(set_to_none=True)

    def objective(units: torch.Tensor) -> torch.Tensor:
        return (units * towards).sum().exp()

    objective(by_autograd(model, vectors)).backward()
    expected = gradients_of(model)
    value = model.backward(vectors, objective)
    ours = gradients_of(model)
    assert len(ours) == len(expected) == len(list(model.parameters()))
    for mine, theirs in zip(ours, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert torch.equal(vectors, before)
    assert torch.allclose(value, objective(model(vectors)))
    # The control: what the unit length takes from the gradient shows.
    (vectors + model.residual(vectors)).mul(towards).sum().backward()
    others = [float(value.detach()) * each for each in gradients_of(model)]
    assert not any(map(torch.allclose, ours, others))


def test_what_is_trained_beside_the_head_gets_its_gradient_too() -> None:
    model, beside = trained(Head.LINEAR, None), torch.ones(DIMENSION, requires_grad=True)
    model.backward(unit_vectors(4), lambda units: (units @ beside).sum())
    assert beside.grad is not None
    assert torch.allclose(beside.grad, model(unit_vectors(4)).sum(dim=0))


@pytest.mark.parametrize(("head", "width"), HEADS)
def test_a_head_begins_as_the_identity_and_can_leave_it(head: Head, width: int | None) -> None:
    vectors = unit_vectors(20)
    model = ResidualHead(head, DIMENSION, width)
    assert torch.allclose(model(vectors), vectors, atol=1e-6)
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[head]
    moved = trained(head, width)(vectors)
    assert not torch.allclose(moved, vectors, atol=1e-2)
    assert torch.allclose(moved.norm(dim=1), torch.ones(20), atol=1e-6)


def test_an_mlp_bends_and_the_others_do_not() -> None:
    one, other = unit_vectors(2).split(1)
    for head, width in HEADS:
        residual = trained(head, width).residual
        with torch.no_grad():
            bend = (residual(one) + residual(other) - residual(one + other)).abs().max()
        assert (float(bend) > 1e-3) == (head is Head.MLP)


@pytest.mark.parametrize(("head", "width"), HEADS)
def test_zero_and_not_finite_vectors_stay_what_they_are(head: Head, width: int | None) -> None:
    vectors = torch.zeros(2, DIMENSION)
    vectors[1, 0] = torch.nan
    moved = trained(head, width)(vectors)
    assert not moved[0].any()
    assert moved[1].isnan().all()


@pytest.mark.parametrize(("head", "width"), HEADS)
def test_a_head_opens_as_it_was_saved(head: Head, width: int | None, tmp_path: Path) -> None:
    model = trained(head, width)
    save_head(model, tmp_path / "new")
    opened = load_head(tmp_path / "new", head, DIMENSION, width)
    assert torch.equal(opened(unit_vectors(3)), model(unit_vectors(3)))
    assert not any(weight.requires_grad for weight in opened.parameters())


@pytest.mark.parametrize(("head", "width"), [(Head.LINEAR, 4), (Head.LOW_RANK, None)])
def test_a_width_belongs_to_heads_that_have_one(
    head: Head, width: int | None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="width"):
        ResidualHead(head, DIMENSION, width)
    save_head(trained(Head.LINEAR, None), tmp_path)
    with pytest.raises(DataError, match="width"):
        load_head(tmp_path, head, DIMENSION, width)


@pytest.mark.parametrize(
    ("dimension", "width"),
    [(DIMENSION + 1, 2), (DIMENSION, 3), (10**9, 10**9)],
    ids=["dimension", "width", "no memory is taken for it"],
)
def test_weights_of_another_shape_are_refused(dimension: int, width: int, tmp_path: Path) -> None:
    save_head(trained(Head.LOW_RANK, 2), tmp_path)
    with pytest.raises(DataError, match="expected"):
        load_head(tmp_path, Head.LOW_RANK, dimension, width)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / HEAD_FILE
    save_head(trained(Head.LINEAR, None), tmp_path)
    weights = load_file(file)
    (name,) = weights
    for other in (
        {},
        {name: weights[name], "more": torch.zeros(1)},
        {name: weights[name].double()},
        {"another": weights[name]},
        {name: weights[name] / 0},
    ):
        save_file(other, file)
        with pytest.raises(DataError, match="adapter's head"):
            load_head(tmp_path, Head.LINEAR, DIMENSION, None)
    save_file(weights, file)
    assert load_head(tmp_path, Head.LINEAR, DIMENSION, None)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickled", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / HEAD_FILE).write_bytes(content)
    with pytest.raises(DataError, match="adapter's head"):
        load_head(tmp_path, Head.LINEAR, DIMENSION, None)


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 19, 37, 50])
def test_the_reported_epochs_are_spread_evenly_and_the_last_is_one(epochs: int) -> None:
    reported = sorted(reported_epochs(epochs))
    assert len(reported) == min(epochs, REPORTED_EPOCHS)
    assert reported[-1] == epochs
    gaps = {later - earlier for earlier, later in zip([0, *reported], reported, strict=False)}
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("first", "epochs"), [(1, 8), (5, 5), (5, 14), (6, 50), (40, 200)])
def test_only_epochs_that_may_be_kept_are_reported(first: int, epochs: int) -> None:
    reported = sorted(reported_epochs(epochs, first))
    assert len(reported) == min(epochs - first + 1, REPORTED_EPOCHS)
    assert reported[0] >= first
    assert reported[-1] == epochs
    passed = [first - 1, *reported]
    gaps = {later - earlier for earlier, later in zip(passed, reported, strict=False)}
    assert max(gaps) - min(gaps) <= 1
    # The control: of all epochs, some of the same training may not be kept.
    assert first == 1 or min(reported_epochs(epochs)) < first
