"""Opening a model: float32 weights, no more tokens than its network has positions, no foreign code.

Every model of this machine is opened here, whether it is checked, trained, evaluated or served.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from embedsweep.backends.local.devices import lacks_memory
from embedsweep.core.errors import DataError

SAVE_AGAIN = "download or save the model again, or choose another one"

_POSITIONS = re.compile(r"(?:\w+_)?position_embeddings?|embed_positions|wpe")
"""Names of the tables that have one row per position (BERT and its kin, CLIP; BART and OPT; GPT-2).
"""

_NO_LIMIT = 2**31
"""Tokenizers without a limit say 1e30 or similar."""

_LENGTHS = ("query_length", "document_length")
"""Limits of a `Transformer` module for one role."""


def open_model(folder: Path, device: str) -> SentenceTransformer:
    """Open the model in a folder, from safetensors only, and run no code from the folder.

    Weights are float32, whatever precision they were saved in: training needs it, since most
    updates are smaller than half a step of float16 or bfloat16.

    Raises:
        DataError: If the folder has no model that opens this way.
    """
    _reject_custom_code(folder)
    # A bar for each file read would tear the sweep's own bars apart.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        ).float()
        for module in model.modules():
            if isinstance(module, Transformer):
                _set_pad_token(module, folder)
                _limit_length(module, folder)
    except Exception as error:
        if isinstance(error, DataError) or lacks_memory(error):
            raise
        # The library's own sentence points to a report that it printed before.
        why = "config.json states other sizes than the weights have"
        if "ignore_mismatched_sizes" not in str(error):
            why = first_line(error).rstrip(".")
        raise DataError("model", str(folder), why, SAVE_AGAIN) from error
    # The card refers to its model and the model to its card: such a cycle keeps the weights in
    # memory until Python's cyclic garbage collector runs, which is after several more models.
    model.model_card_data.model = weakref.proxy(model)  # type: ignore[assignment]
    return model


def fast_tokenizer(model: SentenceTransformer) -> Tokenizer | None:
    """Return the tokenizer that the model gives texts to, or `None` if it is of another kind."""
    first = model[0]
    tokenizer = first.tokenizer if isinstance(first, Transformer) else None
    return tokenizer.backend_tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None


def usable_length(model: SentenceTransformer) -> int | None:
    """Return the tokens that the model reads of a text, special tokens included; `None` for all."""
    limit = model.max_seq_length
    return int(limit) if limit is not None and limit < _NO_LIMIT else None


def first_line(error: Exception) -> str:
    """Return the first line of the error's message, or its type if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _reject_custom_code(folder: Path) -> None:
    for path, name in _custom_code(folder):
        raise DataError(
            "model",
            str(path),
            f"it needs code from its own repository ({name}, trust_remote_code), which embedsweep "
            "does not run",
            "choose a model whose architecture sentence-transformers has built in; or serve this "
            "one on an OpenAI-compatible server and name that server as base_url in an adapter arm",
        )


def _custom_code(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what names classes of the model's own repository, and the file that names it."""
    for pattern in ("config.json", "tokenizer_config.json"):
        for path in sorted(folder.rglob(pattern)):
            values = _json(path)
            if isinstance(values, dict) and values.get("auto_map"):
                yield path, "auto_map"
    path = folder / "modules.json"
    rows = _json(path) if path.is_file() else []
    for row in rows if isinstance(rows, list) else []:
        kind = str(row.get("type", "")) if isinstance(row, dict) else ""
        if kind and not kind.startswith("sentence_transformers."):
            yield path, kind


def _json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the file's content, or `None` if it is not JSON: the library then says why."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _set_pad_token(module: Transformer, folder: Path) -> None:
    """Let the end of a text pad it if the tokenizer has no token for that, as decoders do."""
    tokenizer = module.tokenizer
    if tokenizer is None or tokenizer.pad_token is not None:
        return
    stand_in = tokenizer.eos_token or tokenizer.unk_token
    if stand_in is None:
        raise DataError(
            "model",
            str(folder),
            "its tokenizer has no pad token, nor an end or unknown token to pad texts with",
            "set pad_token in tokenizer_config.json to a token of its vocabulary",
        )
    tokenizer.pad_token = stand_in


def _limit_length(module: Transformer, folder: Path) -> None:
    """Read no more of a text than the tokenizer, the module and the network all allow."""
    own = module.max_seq_length
    limits = [own, positions(module.model), *_tokenizer_limits(folder)]
    known = [int(each) for each in limits if each is not None and 0 < each < _NO_LIMIT]
    limit = min(known, default=None)
    if limit is None:
        return
    if own is None or limit < own:
        module.max_seq_length = limit
    for name in _LENGTHS:
        length = getattr(module, name, None)
        if length is not None and length > limit:
            setattr(module, name, limit)


def _tokenizer_limits(folder: Path) -> Iterator[float]:
    """Yield the limits in the tokenizers' files, which sentence-transformers may override."""
    for path in folder.rglob("tokenizer_config.json"):
        values = _json(path)
        limit = values.get("model_max_length") if isinstance(values, dict) else None
        if isinstance(limit, int | float):
            yield limit


def positions(network: nn.Module) -> int | None:
    """Return the number of tokens that the network has positions for.

    Some tables have rows that are no position: RoBERTa's and MPNet's start after the padding's,
    BART's and OPT's after an offset. A table of 514 rows is then 512 positions.

    Returns:
        The smallest of what its tables hold and its configuration states, or `None` if neither
        exists.
    """
    found: list[int] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Embedding) and _POSITIONS.fullmatch(name.rsplit(".", 1)[-1]):
            padding = module.padding_idx
            unused = getattr(module, "offset", 0 if padding is None else padding + 1)
            found.append(module.num_embeddings - int(unused))
    config = getattr(network, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    declared = getattr(config, "max_position_embeddings", None)
    if isinstance(declared, int) and declared > 0:
        found.append(declared)
    return min(found, default=None)
