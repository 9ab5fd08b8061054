"""The machine the figures are of: what it is, how busy it is, and the most it can multiply."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

MULTIPLICATIONS = 5


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for bfloat16 products."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def machine_facts() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16": multiplies_bf16(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "niceness": os.nice(0),
        "load_average": list(os.getloadavg()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def matmul_rates(dtype: torch.dtype, side: int) -> list[float]:
    """GFLOP/s of products of square matrices, by all threads; one number for each product.

    Args:
        dtype: Of the matrices.
        side: Rows and columns.
    """
    generator = torch.Generator().manual_seed(7)
    first, second = (torch.randn(side, side, generator=generator).to(dtype) for _ in range(2))
    rates = []
    for number in range(MULTIPLICATIONS + 1):
        began = time.perf_counter()
        torch.mm(first, second)
        seconds = time.perf_counter() - began
        if number > 0:  # the first one warms up
            rates.append(2 * side**3 / seconds / 1e9)
    return rates
