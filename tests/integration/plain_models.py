"""Small models of kinds that differ in how they read texts."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn
from transformers import (
    CanineConfig,
    CanineModel,
    CanineTokenizer,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
)

from tests.integration.tiny_models import WIDTH, make_tiny_base

UNEVEN_TEXTS = (
    "the rate of exchange",
    "",
    "transfer my money now, please",
    "the quick brown fox jumps over the lazy dog " * 9,
    "card",
)
"""Of lengths as different as may be, one of them empty."""


def modules_of(folder: Path) -> list[nn.Module]:
    """A transformer that lies in a folder, and a pooling."""
    return [Transformer(str(folder), max_seq_length=64), Pooling(WIDTH)]


def model_of(folder: Path) -> SentenceTransformer:
    """The model of `modules_of`, to be measured."""
    return SentenceTransformer(modules=modules_of(folder), device="cpu").eval()


def mpnet(folder: Path) -> SentenceTransformer:
    """No BERT, and one whose class does without torch's own attention."""
    make_tiny_base(folder)
    config = MPNetConfig(
        vocab_size=30_522,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        pad_token_id=0,
    )
    _save(MPNetModel, config, folder)
    return model_of(folder)


def canine(folder: Path) -> SentenceTransformer:
    """Reads characters, by a tokenizer written in Python."""
    config = CanineConfig(
        hidden_size=WIDTH,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=1,
        max_position_embeddings=256,
        num_hash_buckets=64,
    )
    _save(CanineModel, config, folder)
    CanineTokenizer(model_max_length=64).save_pretrained(folder)
    return model_of(folder)


def _save(kind: type[PreTrainedModel], config: object, folder: Path) -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
