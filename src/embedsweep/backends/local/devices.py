"""What this machine computes on, in which precision, and how it keeps its memory."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

import torch

from embedsweep.core.errors import UsageError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Names of glibc's ``mallopt`` parameters (malloc.h)."""

_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory")
"""What torch says on a CPU (of Linux, of Windows) and on other devices."""

PRECISION = "EMBEDSWEEP_PRECISION"
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_TENSOR_CORES = (7, 0)
"""The compute capability of the first GPUs that multiply faster in float16 (Volta)."""


def lacks_memory(error: Exception) -> bool:
    """Return whether the error says that memory does not suffice.

    Torch has a class for it on CUDA only; elsewhere it raises a plain `RuntimeError`.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def best_device() -> str:
    """``cuda`` or ``mps`` where there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fast_precision(device: str) -> torch.dtype:
    """What the device multiplies fast in: bfloat16 or float16 in its hardware, else float32.

    The variable `PRECISION` overrides it.

    Raises:
        UsageError: If the variable names no precision.
    """
    if named := os.environ.get(PRECISION):
        if named in _PRECISIONS:
            return _PRECISIONS[named]
        raise UsageError(
            f"precision {named!r}",
            f"the environment variable {PRECISION}",
            f"expected one of {', '.join(_PRECISIONS)}",
            f"set {PRECISION}=float32, or unset it",
        )
    if device == "cuda":
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return gpu_precision(torch.cuda.get_device_capability(), bfloat16=bfloat16)
    capabilities = torch.cpu.get_capabilities() if device == "cpu" else {}
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def gpu_precision(capability: tuple[int, int], *, bfloat16: bool) -> torch.dtype:
    """The precision of a GPU's tensor cores; float32 where it has none.

    Args:
        capability: The GPU's compute capability.
        bfloat16: Whether it multiplies in bfloat16 without emulating it.
    """
    if bfloat16:
        return torch.bfloat16
    return torch.float16 if capability >= _TENSOR_CORES else torch.float32


class _Tf32Scope:
    """Counts who multiplies in TF32 now: the first one in sets it, the last one out restores it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before = ""

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._before = torch.backends.cuda.matmul.fp32_precision
                torch.backends.cuda.matmul.fp32_precision = "tf32"
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    torch.backends.cuda.matmul.fp32_precision = self._before


_tf32 = _Tf32Scope()


@contextmanager
def tf32_products(device: str) -> Iterator[None]:
    """Let a GPU round the factors of float32 products to TF32 while it lasts.

    The setting is the process's: other threads that multiply on the GPU meanwhile see it too, and
    torch's older way of reading it (``allow_tf32``, ``get_float32_matmul_precision``) raises
    meanwhile. GPUs without TF32 ignore it, and so does every device but ``cuda``.
    """
    if device != "cuda":
        yield
        return
    with _tf32.entered():
        yield


@cache
def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step instead of giving it back to the system.

    A step frees and asks for the same hundreds of megabytes again, and every page that comes from
    the system has to be cleared first: on a virtual machine a fifth of the time of a step. Does
    nothing where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 2**26)
