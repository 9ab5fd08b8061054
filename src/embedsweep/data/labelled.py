"""Labelled texts: ``text`` and ``label``, or ``{"text": …, "metadata": {"label": …}}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    LabelledText,
    RetrievalTask,
    Split,
    TrainingSet,
)
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind
from embedsweep.data.names import LABEL_OF_TEXT, TEXT
from embedsweep.data.rows import Row, SplitRows, Texts
from embedsweep.data.text import counted, draw_order, normalise, shorten

MAX_JUDGEMENTS = 1_000_000
"""Same-label judgements of a split at most; more queries than fit are left out, drawn by hash.

Only few labels with thousands of texts each come near it: judgements grow with their square.
"""
_DRAW_SEED = 7


class Labelled:
    """Gives classification, and retrieval in which texts of one label find each other."""

    name = "labelled"
    fields: tuple[Field, ...] = (
        Field("text", Kind.TEXT, aliases=TEXT),
        Field("label", Kind.NAME, "metadata.label", LABEL_OF_TEXT),
    )

    def build(self, values: Mapping[str, Any], group: str | None) -> Sequence[LabelledText]:
        return (LabelledText(values["text"], values["label"], group),)

    def gathered(self, rows: list[Row[LabelledText]]) -> tuple[list[Row[LabelledText]], str]:
        return rows, ""

    def texts(self, value: LabelledText) -> tuple[str, ...]:
        return (normalise(value.text),)

    def key(self, texts: tuple[str, ...]) -> str:
        return texts[0]

    def roles(self, value: LabelledText) -> Texts:
        return Texts((value.text,))

    def stratum(self, value: LabelledText) -> str:
        return value.label

    def training(self, values: Sequence[LabelledText]) -> TrainingSet:
        return TrainingSet(texts=tuple(values))

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[LabelledText],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        rows = {f"{split}-{number}": value for number, value in enumerate(values)}
        texts = {number: value.text for number, value in rows.items()}
        labels = {number: value.label for number, value in rows.items()}
        return Benchmark(
            name=name,
            split=split,
            retrieval=same_label_retrieval(texts, labels),
            classification=ClassificationTask(
                fit_texts=tuple(row.text for row in training.texts),
                fit_labels=tuple(row.label for row in training.texts),
                texts=texts,
                labels=labels,
            ),
            groups={n: value.group for n, value in rows.items() if value.group is not None},
            slices=dict(zip(rows, slices, strict=bool(slices))),
        )

    def check(self, rows: SplitRows[LabelledText], faults: FaultLog) -> None:
        trained = {row.value.label for row in rows[Split.TRAIN]}
        if len(trained) < 2:
            where = rows[Split.TRAIN][0].file
            why = f"every row of train has the label {shorten(min(trained))}, expected two or more"
            faults.add("label", where, why, "add rows of another label")
        for split in (Split.VALID, Split.TEST):
            _check_measured(split, rows[split], trained, faults)


def _check_measured(
    split: Split, rows: Sequence[Row[LabelledText]], trained: set[str], faults: FaultLog
) -> None:
    counts = Counter(row.value.label for row in rows)
    firsts = {row.value.label: row for row in reversed(rows)}
    for label, row in firsts.items():
        if label not in trained:
            why = f"it is in {counted(counts[label], 'row')} of {split} and in none of train"
            fix = "add rows of this label to train, raise max_train, or take these rows out"
            faults.add(f"label {shorten(label)}", row.file, why, fix, row.line)
    if max(counts.values()) < 2:
        why = f"no label of {split} has two texts, so that none can find another"
        faults.add("label", rows[0].file, why, f"give {split} more rows of each label")


def same_label_retrieval(texts: Mapping[str, str], labels: Mapping[str, str]) -> RetrievalTask:
    """Each text as a query for the others of its label; a label's only text asks nothing."""
    members: dict[str, list[str]] = {}
    for number, label in labels.items():
        members.setdefault(label, []).append(number)
    asking = {n for n in _within_bound(members) if len(members[labels[n]]) > 1}
    return RetrievalTask(
        queries={number: text for number, text in texts.items() if number in asking},
        documents=dict(texts),
        judgements={
            number: {other: 1 for other in members[label] if other != number}
            for number, label in labels.items()
            if number in asking
        },
        leave_one_out=True,
    )


def _within_bound(members: Mapping[str, Sequence[str]]) -> list[str]:
    """The ids whose judgements together stay within `MAX_JUDGEMENTS`: all, or a drawn part."""
    costs = {number: len(group) - 1 for group in members.values() for number in group}
    if sum(costs.values()) <= MAX_JUDGEMENTS:
        return list(costs)
    kept, spent = [], 0
    for number in sorted(costs, key=lambda n: draw_order(_DRAW_SEED, n)):
        spent += costs[number]
        if spent > MAX_JUDGEMENTS:
            break
        kept.append(number)
    return kept
