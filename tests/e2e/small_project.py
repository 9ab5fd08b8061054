"""A small experiment that is sound, and how to run the command line on it."""

from __future__ import annotations

import json
from pathlib import Path

from embedsweep.cli import main

GOOD = """
name: mine
data: {train: train.jsonl, split: {valid: 0.3, test: 0.3}}
objective: accuracy
search:
  trials: 2
  arms:
    - backend: local
      base_model: all-MiniLM-L6-v2
      loss: [softmax]
      epochs: 1
      learning_rate: 2.0e-5
      batch_size: 8
"""
PAIRS = [{"anchor": f"question {i}", "positive": f"answer {i}"} for i in range(40)]
LABELLED = [
    {"text": f"text number {i} of {i % 3}", "metadata": {"label": f"class {i % 3}"}}
    for i in range(60)
]


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def rows(values: list[dict[str, object]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def outcome(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
