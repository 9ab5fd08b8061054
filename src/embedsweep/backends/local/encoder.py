"""A sentence-transformers model opened safely: embedding to measure, forwarding to train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import Tensor
from torch.nn import functional

from embedsweep.core.dataset import TextRole
from embedsweep.core.errors import DataError
from embedsweep.core.ports import FloatArray

MICRO_BATCH_TOKENS = {"cpu": 2048, "mps": 16_384, "cuda": 65_536}
"""Padded tokens forwarded together, by device: on a processor, what stays near its caches."""

CHARACTERS_PER_TOKEN = 4
"""Of English text, about; it only decides which texts share a micro-batch."""


_PROMPT_NAMES: dict[TextRole, tuple[str, ...]] = {
    TextRole.QUERY: ("query",),
    TextRole.DOCUMENT: ("document", "passage", "corpus"),
    TextRole.PLAIN: (),
}


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


def prompt_of(model: SentenceTransformer, role: TextRole) -> str:
    """What the model's own ``encode_query``, ``encode_document`` and ``encode`` prepend."""
    known = (name for name in _PROMPT_NAMES[role] if name in model.prompts)
    name = next(known, model.default_prompt_name)
    return (model.prompts.get(name) or "") if name else ""


def micro_batches(texts: Sequence[str], model: SentenceTransformer) -> list[list[int]]:
    """Indices of the texts, those of like length together, so that little is padding.

    A micro-batch holds about `MICRO_BATCH_TOKENS` padded tokens, and at least one text.
    """
    budget = MICRO_BATCH_TOKENS[model.device.type]
    longest = model.max_seq_length or budget
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        tokens = min(len(texts[index]) // CHARACTERS_PER_TOKEN + 2, longest)
        if batches[-1] and tokens * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(index)
    return batches


class LocalEmbedder:
    """Embeds with a sentence-transformers model; fulfils `core.ports.Embedder`."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    def effective_role(self, role: TextRole) -> TextRole:
        routed = any(isinstance(module, Router) for module in self.model)
        alike = prompt_of(self.model, role) == prompt_of(self.model, TextRole.PLAIN)
        return TextRole.PLAIN if alike and not routed else role

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        encode: Callable[..., FloatArray] = self.model.encode
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if role is TextRole.QUERY:
            encode = self.model.encode_query
        elif role is TextRole.DOCUMENT:
            encode = self.model.encode_document
        for chosen in micro_batches(texts, self.model):
            vectors[chosen] = encode(
                [texts[index] for index in chosen],
                batch_size=len(chosen),
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return vectors

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
        chunks = micro_batches(texts, self.model)
        parts = [
            self._micro_batch([(texts[index], roles[index]) for index in chunk]) for chunk in chunks
        ]
        order = torch.tensor([index for chunk in chunks for index in chunk])
        return torch.cat(parts)[torch.argsort(order).to(parts[0].device)]

    def _micro_batch(self, rows: Sequence[tuple[str, TextRole]]) -> Tensor:
        texts = [prompt_of(self.model, role) + text for text, role in rows]
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
