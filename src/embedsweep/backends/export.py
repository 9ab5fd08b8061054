"""A model in a form that sentence-transformers opens without embedsweep."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn

from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.core.ports import Embedder


def export_model(embedder: Embedder, folder: Path) -> bool:
    """Save a model of this machine so that the library alone gives the same embeddings.

    An adapter becomes one model: its frozen model and its head. A model that does not normalise
    its embeddings gets a module that does, because embedsweep always does.

    Args:
        embedder: Any opened model.
        folder: A new folder.

    Returns:
        Whether the model was saved. If not, its own files are such a model already, or a provider
        computes its embeddings.
    """
    if isinstance(embedder, AdapterEmbedder) and isinstance(embedder.base, LocalEmbedder):
        base = embedder.base.model
        added = [Normalize(), *_dense(embedder.head), Normalize()]
    elif isinstance(embedder, LocalEmbedder) and not isinstance(embedder.model[-1], Normalize):
        base, added = embedder.model, [Normalize()]
    else:
        return False
    model = SentenceTransformer(
        modules=[*base, *added],
        device="cpu",
        prompts={name: prompt or "" for name, prompt in base.prompts.items()},
        default_prompt_name=base.default_prompt_name,
        similarity_fn_name="cosine",
    )
    model.save(str(folder), create_model_card=False)
    return True


def _dense(head: ResidualHead) -> list[Dense]:
    """Return layers that compute the vector plus the head's function of it.

    A layer of the library has no residual connection around two layers. For an MLP the vector
    itself passes through the activation: GELU(z) - GELU(-z) = z, because GELU(z) = z * P(Z <= z).
    """
    *first, last = (weight.detach() for weight in head.parameters())
    identity = torch.eye(len(last))
    if not first:
        return [_layer(last + identity, nn.Identity())]
    if not head.bends:
        return [_layer(last @ first[0] + identity, nn.Identity())]
    return [
        _layer(torch.cat([first[0], identity, -identity]), nn.GELU()),
        _layer(torch.cat([last, identity, -identity], dim=1), nn.Identity()),
    ]


def _layer(weight: Tensor, activation: nn.Module) -> Dense:
    rows, columns = weight.shape
    return Dense(columns, rows, bias=False, activation_function=activation, init_weight=weight)
