"""The training file of a job: the same data gives the same bytes, and so the same name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embedsweep.core.bill import tokens_in
from embedsweep.core.dataset import LabelledText, TrainingSet
from embedsweep.core.recipe import FileForm

PREFIX = "embedsweep-"


@dataclass(frozen=True)
class TrainingFile:
    """JSON Lines in UTF-8.

    Attributes:
        content: The bytes.
        tokens: About how many tokens its texts are.
    """

    content: bytes
    tokens: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.digest[:16]}.jsonl"


def training_file(data: TrainingSet, form: FileForm) -> TrainingFile:
    """The data as rows that `embedsweep.data` reads too.

    Labelled texts are ``{"text", "metadata": {"label"}}``, pairs ``{"anchor", "positive"}``,
    triplets ``{"anchor", "positive", "negative"}`` with a row for each negative. Where the data
    has labels only, a text's positive is the next text of its label, and its negative a text of
    another label half the file away; what a loss may draw anew each epoch, a file holds once.
    """
    lines, tokens = [], 0
    for row in _rows(data, form):
        lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        tokens += tokens_in(value for value in row.values() if isinstance(value, str))
    return TrainingFile("".join(lines).encode("utf-8"), tokens)


def _rows(data: TrainingSet, form: FileForm) -> Iterator[dict[str, Any]]:
    if form is FileForm.LABELLED:
        for row in data.texts:
            yield {"text": row.text, "metadata": {"label": row.label}}
    elif form is FileForm.PAIRS:
        pairs = data.pairs or ()
        for anchor, positive in ((p.anchor, p.positive) for p in pairs):
            yield {"anchor": anchor, "positive": positive}
        if not pairs:
            for first, second in _classmates(data.texts):
                yield {"anchor": first.text, "positive": second.text}
    elif any(pair.negatives for pair in data.pairs):
        for pair in data.pairs:
            for negative in pair.negatives:
                yield {"anchor": pair.anchor, "positive": pair.positive, "negative": negative}
    else:
        yield from _triplets_of_labels(data.texts)


def _classmates(texts: Sequence[LabelledText]) -> Iterator[tuple[LabelledText, LabelledText]]:
    """Each text with the next one of its label, the last with the first; none for a lone text."""
    members: dict[str, list[LabelledText]] = {}
    for row in texts:
        members.setdefault(row.label, []).append(row)
    places: dict[str, int] = dict.fromkeys(members, 0)
    for row in texts:
        others, place = members[row.label], places[row.label]
        places[row.label] += 1
        if len(others) > 1:
            yield row, others[(place + 1) % len(others)]


def _triplets_of_labels(texts: Sequence[LabelledText]) -> Iterator[dict[str, Any]]:
    half = len(texts) // 2
    for index, (anchor, positive) in enumerate(_classmates(texts)):
        around = (texts[(index + half + step) % len(texts)] for step in range(len(texts)))
        negative = next((row for row in around if row.label != anchor.label), None)
        if negative is not None:
            yield {"anchor": anchor.text, "positive": positive.text, "negative": negative.text}
