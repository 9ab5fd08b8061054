"""Which precision a device computes in, TF32 for no longer than needed, and errors of memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from embedsweep.backends.local.devices import (
    fast_precision,
    gpu_precision,
    lacks_memory,
    tf32_products,
)
from embedsweep.core.errors import UsageError


@pytest.mark.parametrize(
    ("capability", "bfloat16", "expected"),
    [
        ((9, 0), True, torch.bfloat16),
        ((8, 0), True, torch.bfloat16),
        ((7, 5), False, torch.float16),
        ((7, 0), False, torch.float16),
        ((6, 1), False, torch.float32),
    ],
)
def test_a_gpu_computes_in_what_its_hardware_is_fast_in(
    capability: tuple[int, int], bfloat16: bool, expected: torch.dtype
) -> None:
    assert gpu_precision(capability, bfloat16=bfloat16) == expected


def test_no_other_device_computes_in_float16() -> None:
    assert fast_precision("cpu") in {torch.bfloat16, torch.float32}
    assert fast_precision("mps") == torch.float32


def test_the_environment_overrides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        monkeypatch.setenv("EMBEDSWEEP_PRECISION", name)
        assert fast_precision("cpu") == expected
    monkeypatch.setenv("EMBEDSWEEP_PRECISION", "float8")
    with pytest.raises(UsageError, match="expected one of float32"):
        fast_precision("cpu")


def setting() -> str:
    return torch.backends.cuda.matmul.fp32_precision


def test_tf32_lasts_as_long_as_it_is_asked_for() -> None:
    before = setting()
    assert before != "tf32"
    with tf32_products("cuda"):
        assert setting() == "tf32"
        with tf32_products("cuda"):
            assert setting() == "tf32"
        assert setting() == "tf32"
    assert setting() == before
    with pytest.raises(ValueError, match="inside"), tf32_products("cuda"):
        raise ValueError("inside")
    assert setting() == before


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_leave_the_setting_alone(device: str) -> None:
    before = setting()
    with tf32_products(device):
        assert setting() == before


def test_a_users_own_setting_comes_back() -> None:
    before = setting()
    try:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        with tf32_products("cuda"):
            assert setting() == "tf32"
        assert setting() == "ieee"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def test_threads_that_overlap_do_not_leave_it_set() -> None:
    """One goes in first and out first: restoring what each one saw would leave TF32 behind."""
    before, both, left = setting(), Barrier(2, timeout=10), Barrier(2, timeout=10)

    def first() -> None:
        with tf32_products("cuda"):
            both.wait()
        left.wait()

    def second() -> str:
        with tf32_products("cuda"):
            both.wait()
            left.wait()
            return setting()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(first)
        assert pool.submit(second).result() == "tf32"
    assert setting() == before


@pytest.mark.parametrize(
    ("size", "expected"), [((2**50,), True), ((-1,), False)], ids=["too large", "control"]
)
def test_what_a_cpu_has_no_memory_for_is_told_from_other_errors(
    size: tuple[int, ...], expected: bool
) -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(size, dtype=torch.uint8)
    assert lacks_memory(error.value) is expected
