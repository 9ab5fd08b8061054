"""The ids of files, jobs, events, checkpoints and models, in OpenAI's forms."""

from __future__ import annotations

import re
import secrets
import string

ORGANIZATION = "embedsweep"

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 24
_MODEL_LENGTH = 8


def new_id(kind: str) -> str:
    """An id that nobody can guess, such as ``file-…``, ``ftjob-…``, ``ftevent-…``, ``ftckpt-…``."""
    return f"{kind}-{_drawn(_LENGTH)}"


def new_model_id(base_model: str, suffix: str | None) -> str:
    """``ft:<base>:embedsweep:<suffix>:<8 characters>``, ``-`` for what has no place in a name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", suffix or "")
    return f"ft:{base_model}:{ORGANIZATION}:{plain}:{_drawn(_MODEL_LENGTH)}"


def checkpoint_model_id(model_id: str, step: int) -> str:
    return f"{model_id}:ckpt-step-{step}"


def _drawn(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
