"""How much memory there is for a training step."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes that can be had without swapping (Linux, proc(5)); None where nobody says."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines)
    available = values.get("MemAvailable")
    return int(available.split()[0]) * 1024 if available else None


def free_gpu_memory(device: torch.device) -> int:
    """Bytes of a GPU that nobody holds, and those that torch holds but does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
