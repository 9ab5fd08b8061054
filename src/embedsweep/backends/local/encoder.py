"""A sentence-transformers model opened safely: embedding to measure, forwarding to train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from embedsweep.core.dataset import TextRole
from embedsweep.core.errors import DataError
from embedsweep.core.ports import FloatArray

MICRO_BATCH = 32
"""Texts forwarded together; texts of like length share one, so that little of it is padding."""


def best_device() -> str:
    """``cuda`` or ``mps`` where there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def training_precision(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities() if device == "cpu" else {}
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def open_model(folder: Path, device: str) -> SentenceTransformer:
    """The model in a folder. Reads safetensors only and runs no code from the folder.

    Raises:
        DataError: The folder holds no model that opens so.
    """
    try:
        return SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            "model", str(folder), reason, "give a folder saved by sentence-transformers"
        ) from error


class LocalEmbedder:
    """Embeds with a sentence-transformers model; fulfils `core.ports.Embedder`."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        encode: Callable[..., FloatArray] = self.model.encode
        if role is TextRole.QUERY:
            encode = self.model.encode_query
        elif role is TextRole.DOCUMENT:
            encode = self.model.encode_document
        vectors = encode(
            list(texts),
            batch_size=MICRO_BATCH,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens the model reads of these texts, special ones included, after truncation."""
        features = self.model.preprocess(list(texts))
        return int(features["attention_mask"].sum())


class TrainingEncoder:
    """Forwards texts with gradients.

    Args:
        model: The model, in training mode.
        precision: What matrices are multiplied in; weights and vectors stay float32.
    """

    def __init__(self, model: SentenceTransformer, precision: torch.dtype) -> None:
        self.model = model
        self._precision = precision

    def forward(self, texts: Sequence[str], roles: Sequence[TextRole]) -> Tensor:
        """Unit vectors of the texts in their order, shape (texts, dimension), float32."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        parts = [
            self._micro_batch([(texts[index], roles[index]) for index in chunk])
            for chunk in _chunks(order, MICRO_BATCH)
        ]
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(parts[0].device)]

    def _micro_batch(self, rows: Sequence[tuple[str, TextRole]]) -> Tensor:
        prompts = self.model.prompts
        texts = [(prompts.get(role.value) or "") + text for text, role in rows]
        features = self.model.preprocess(texts)
        device = self.model.device
        inputs = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        vectors: Tensor = self.model(inputs)["sentence_embedding"]
        return functional.normalize(vectors.float(), dim=1)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Multiplies in the training precision; one context per step casts each weight once."""
        lowered = self._precision != torch.float32
        with torch.autocast(self.model.device.type, self._precision, enabled=lowered):
            yield


def _chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
