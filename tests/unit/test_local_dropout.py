"""Eight drops from every random number: as many as asked for, and none like its neighbour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedsweep.backends.local.dropout import dropout_factors

SHAPE = (300, 1001)


def factors(share: float, seed: int = 7, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return dropout_factors(SHAPE, share, torch.Generator().manual_seed(seed), dtype)


def drawn(share: float, seed: int = 7) -> torch.Tensor:
    return factors(share, seed) == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_the_share_is_met_and_the_scale_makes_up_for_it(share: float) -> None:
    mask = drawn(share)
    assert mask.shape == SHAPE
    mean = float(mask.float().mean())
    assert mean == pytest.approx(share, abs=1 / 512 + 4 * (share / mask.numel()) ** 0.5)
    # The expected sum stays: exact for the share that is drawn, met here within five deviations.
    within = pytest.approx(1.0, abs=5 / mask.numel() ** 0.5)
    assert float(factors(share).mean()) == within
    assert len(factors(share).unique()) == 1 + (share > 0)


def test_factors_come_in_the_precision_of_the_values() -> None:
    exact, low = factors(0.1), factors(0.1, dtype=torch.bfloat16)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, exact.to(torch.bfloat16))


def test_every_byte_of_a_number_is_drawn_evenly() -> None:
    mask = drawn(0.5).flatten()[: 8 * 30_000].view(-1, 8).float()
    # The highest byte too: torch's plain draw of a whole number leaves its top bit at zero.
    assert mask.mean(dim=0).tolist() == pytest.approx([0.5] * 8, abs=0.02)
    control = torch.empty(30_000, dtype=torch.int64).random_(generator=torch.Generator())
    top = control.view(torch.uint8).view(-1, 8)[:, 7]
    assert int(top.max()) < 128


def test_neighbours_drop_independently() -> None:
    values = drawn(0.1).flatten()[:240_000].double().numpy()
    for apart in (1, 7, 8, 64):
        correlation = np.corrcoef(values[:-apart], values[apart:])[0, 1]
        assert abs(correlation) < 5 / len(values) ** 0.5


def test_a_seed_fixes_the_drops() -> None:
    assert torch.equal(drawn(0.1), drawn(0.1))
    assert not torch.equal(drawn(0.1), drawn(0.1, seed=8))
