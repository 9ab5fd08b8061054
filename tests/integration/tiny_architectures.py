"""Folders of tiny random models, one for each architecture and form that users bring."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers.utils.logging import disable_progress_bar

WIDTH = 32
POSITIONS = 64
TOPICS = {
    "billing": ["invoice", "refund", "card", "charge"],
    "login": ["password", "account", "username", "code"],
    "shipping": ["parcel", "delivery", "courier", "address"],
}
WORDS = ["how", "can", "I", "change", "the", "my", "is", "late", "wrong", "please", "help", "with"]


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts with their topic, none of them twice."""
    drawn = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        topic = drawn.choice(sorted(TOPICS))
        words = [*drawn.choices(WORDS, k=6), *drawn.choices(TOPICS[topic], k=2)]
        rows[" ".join(words)] = topic
    return list(rows.items())


def _trained(model: Any, trainer: Any, special: dict[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if isinstance(model, models.BPE):
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([text for text, _ in sentences(200)], trainer)
    if special:
        first, last = special["cls_token"], special["sep_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            special_tokens=[(each, tokenizer.token_to_id(each)) for each in (first, last)],
        )
    return tokenizer


def _bert_tokenizer() -> hf.PreTrainedTokenizerFast:
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    names |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=list(names.values()), show_progress=False
    )
    made = _trained(models.WordPiece(unk_token="[UNK]"), trainer, names)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=POSITIONS, model_input_names=_BERT_INPUTS, **names
    )


_BERT_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def _roberta_tokenizer() -> hf.PreTrainedTokenizerFast:
    """Its folder claims two positions more than the network has, as RoBERTa's often do."""
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    names |= {"mask_token": "<mask>"}
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made = _trained(models.BPE(), trainer, names)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=POSITIONS + 2, **names
    )


def _t5_tokenizer() -> hf.PreTrainedTokenizerFast:
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(names.values()), unk_token="<unk>", show_progress=False
    )
    made = _trained(models.Unigram(), trainer, {})
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", made.token_to_id("</s>"))]
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=POSITIONS, **names)


def _decoder_tokenizer() -> hf.PreTrainedTokenizerFast:
    """With no token to pad with, and no limit of its own."""
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made = _trained(models.BPE(), trainer, {})
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZES |= {"intermediate_size": 64, "initializer_range": 0.2}


def _bert() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    config = hf.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, pad_token_id=0, **_SIZES
    )
    return hf.BertModel(config), tokenizer


def _roberta() -> tuple[Any, Any]:
    tokenizer = _roberta_tokenizer()
    config = hf.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS + 2, pad_token_id=1, **_SIZES
    )
    return hf.RobertaModel(config), tokenizer


def _mpnet() -> tuple[Any, Any]:
    tokenizer = _roberta_tokenizer()
    config = hf.MPNetConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS + 2, pad_token_id=1, **_SIZES
    )
    return hf.MPNetModel(config), tokenizer


def _distilbert() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    config = hf.DistilBertConfig(
        vocab_size=len(tokenizer), dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=64,
        max_position_embeddings=POSITIONS, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return hf.DistilBertModel(config), tokenizer


def _modernbert() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2}
    config = hf.ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, eos_token_id=3,
        **ids, **_SIZES,
    )  # fmt: skip
    return hf.ModernBertModel(config), tokenizer


def _t5() -> tuple[Any, Any]:
    tokenizer = _t5_tokenizer()
    config = hf.T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return hf.T5EncoderModel(config), tokenizer


def _qwen3() -> tuple[Any, Any]:
    tokenizer = _decoder_tokenizer()
    config = hf.Qwen3Config(
        vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16,
        max_position_embeddings=POSITIONS, **_SIZES,
    )  # fmt: skip
    return hf.Qwen3Model(config), tokenizer


def plain_folder(folder: Path, made: tuple[Any, Any], shard: str | None = None) -> Path:
    """As transformers saves a model: without modules.json."""
    network, tokenizer = made
    network.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(folder)
    return folder


def _pooled(
    folder: Path, make: Callable[[], tuple[Any, Any]], mode: str = "mean", *more: Any
) -> Path:
    part = plain_folder(folder.with_name(f"{folder.name}-transformer"), make())
    modules = [Transformer(str(part)), Pooling(WIDTH, mode), *more]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def _sharded(folder: Path) -> Path:
    plain_folder(folder, _bert(), shard="30KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def _half(folder: Path, dtype: torch.dtype) -> Path:
    """All modules in the precision, the Dense one too."""
    _pooled(folder, _bert, "mean", Dense(WIDTH, WIDTH, activation_function=nn.Identity()))
    model = SentenceTransformer(str(folder), device="cpu").to(dtype)
    model.save(str(folder), create_model_card=False)
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(dtype)[6:]
    return folder


ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "BERT": lambda folder: _pooled(folder, _bert),
    "RoBERTa": lambda folder: _pooled(folder, _roberta),
    "MPNet": lambda folder: _pooled(folder, _mpnet),
    "DistilBERT": lambda folder: _pooled(folder, _distilbert),
    "ModernBERT": lambda folder: _pooled(folder, _modernbert),
    "T5 encoder": lambda folder: _pooled(folder, _t5),
    "Qwen3-like decoder": lambda folder: _pooled(folder, _qwen3, "lasttoken"),
    "no pooling module": lambda folder: plain_folder(folder, _bert()),
    "Dense": lambda folder: _pooled(
        folder, _bert, "mean", Dense(WIDTH, 24, activation_function=nn.Identity())
    ),
    "Normalize": lambda folder: _pooled(folder, _mpnet, "cls", Normalize()),
    "sharded weights": _sharded,
    "float16": lambda folder: _half(folder, torch.float16),
    "bfloat16": lambda folder: _half(folder, torch.bfloat16),
}
"""What makes each model in a new folder."""


def make_model(name: str, folder: Path) -> Path:
    """Make the model, the same on every call."""
    disable_progress_bar()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return ARCHITECTURES[name](folder)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _damaged(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _not_a_number(folder: Path) -> None:
    model = SentenceTransformer(str(folder), device="cpu")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    model.save(str(folder), create_model_card=False)


def _larger_vocabulary(folder: Path) -> None:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["elp", "arce", "voic"])
    tokenizer.save_pretrained(folder)


def _own_module(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["type"] = "custom_st.Transformer"
    (folder / "modules.json").write_text(json.dumps(rows))


def _without_pooling(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(rows[:1]))


def _own_architecture(folder: Path) -> None:
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    edit(folder / "config.json", auto_map=own)


def _without_pad(folder: Path) -> None:
    content = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in content.items() if not name.endswith("_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "damaged weights": (_damaged, "Fix: download or save the model again"),
    "weights that are not finite": (_not_a_number, "its vectors of the longest texts are not fin"),
    "vocabulary beyond the weights": (_larger_vocabulary, "its tokenizer gives tokens or positio"),
    "sizes that the weights do not have": (
        lambda folder: edit(folder / "config.json", max_position_embeddings=512),
        "states other sizes than the weights have",
    ),
    "its own module": (_own_module, r"its own repository \(custom_st.Transformer, trust_remote_c"),
    "its own architecture": (_own_architecture, r"its own repository \(auto_map, trust_remote_cod"),
    "no pooling in modules.json": (_without_pooling, "modules.json has no module that pools"),
    "no token to pad with": (_without_pad, "its tokenizer has no pad token"),
}
"""What breaks a BERT, and a pattern of the error that names it."""


def make_broken(name: str, folder: Path) -> Path:
    make_model("BERT", folder)
    BROKEN[name][0](folder)
    return folder


def rows_of(texts: Iterable[tuple[str, str]]) -> list[dict[str, object]]:
    """Labelled rows, as an experiment reads them."""
    return [{"text": text, "metadata": {"label": topic}} for text, topic in texts]
