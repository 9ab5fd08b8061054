"""The share of texts that a model reads only in part, told from its tokenizer alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.local.truncation import truncated_share


def test_the_share_counts_distinct_texts_beyond_the_limit() -> None:
    folder = base_folder(EMBEDDED)
    at_the_limit = "word " * 254  # and one token each for begin and end
    beyond = "word " * 255
    assert truncated_share(folder, [at_the_limit]) == (0.0, 256)
    assert truncated_share(folder, [beyond, beyond, at_the_limit, "a", "b"]) == (0.25, 256)
    assert truncated_share(folder, []) == (0.0, 256)


@pytest.mark.parametrize("left_out", ["tokenizer.json", "sentence_bert_config.json"])
def test_a_model_that_does_not_say_gets_no_figure(left_out: str, tmp_path: Path) -> None:
    for name in {"tokenizer.json", "sentence_bert_config.json"} - {left_out}:
        (tmp_path / name).write_bytes((base_folder(EMBEDDED) / name).read_bytes())
    assert truncated_share(tmp_path, ["text"]) is None
