"""The built-in data set: docstrings of the standard library, their summaries as queries.

Made on the spot from the Python that runs, so its content follows that Python's version.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    LabelledText,
    Pair,
    RetrievalTask,
    Split,
    TrainingSet,
)
from embedsweep.core.experiment import SplitRule
from embedsweep.data.docstrings import Docstring, standard_library_docstrings
from embedsweep.data.faults import FaultLog
from embedsweep.data.near_copies import near_copies
from embedsweep.data.retrieval import Numbering, retrieval_benchmark
from embedsweep.data.rows import Draft, Row, SplitRows, Texts
from embedsweep.data.splits import components
from embedsweep.data.text import normalise

PYTHON_DOCS = "python-docs"
DEFAULT_SPLIT = SplitRule(valid=0.15, test=0.35, seed=7)
MIN_LABEL_ROWS = 4
"""A package is a class when train, cut as it may be, has so many of its docstrings."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A docstring's summary (the query), its rest (the document), its package and its group."""

    summary: str
    document: str
    package: str
    group: str


class PythonDocs:
    """Gives retrieval of a docstring's rest by its summary, and the package as its class.

    A split's documents are searched among themselves only. Those of train would be searched by a
    model that has trained on them, and those of test would be seen by the sweep.
    """

    def roles(self, value: Entry) -> Texts:
        return Texts((value.summary,), (value.document,))

    def training(self, values: Sequence[Entry]) -> TrainingSet:
        counts = Counter(entry.package for entry in values)
        return TrainingSet(
            texts=tuple(
                LabelledText(entry.document, entry.package, entry.group)
                for entry in values
                if counts[entry.package] >= MIN_LABEL_ROWS
            ),
            pairs=tuple(Pair(entry.summary, entry.document, group=entry.group) for entry in values),
        )

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[Entry],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        documents = Numbering.of(f"{split}-document")
        entries = {f"{split}-{number}": entry for number, entry in enumerate(values)}
        retrieval = RetrievalTask(
            queries={number: entry.summary for number, entry in entries.items()},
            judgements={
                number: {documents.add(normalise(entry.document), entry.document): 1}
                for number, entry in entries.items()
            },
            documents=documents.texts,
        )
        groups = {number: entry.group for number, entry in entries.items()}
        named = dict(zip(entries, slices, strict=bool(slices)))
        benchmark = retrieval_benchmark(name, split, retrieval, groups, named)
        return replace(benchmark, classification=_classification(entries, training))

    def check(self, rows: SplitRows[Entry], faults: FaultLog) -> None:
        """Docstrings are made to fit; there is nothing a user could mend."""


def _classification(entries: dict[str, Entry], training: TrainingSet) -> ClassificationTask | None:
    """Telling the package from the document, of packages with enough in train; None if of one."""
    labels = {text.label for text in training.texts}
    asked = {number: entry for number, entry in entries.items() if entry.package in labels}
    if len(labels) < 2 or not asked:
        return None
    return ClassificationTask(
        fit_texts=tuple(text.text for text in training.texts),
        fit_labels=tuple(text.label for text in training.texts),
        texts={number: entry.document for number, entry in asked.items()},
        labels={number: entry.package for number, entry in asked.items()},
    )


@cache
def read_python_docs() -> Draft[Entry]:
    """The data set before it is split; made once in a process.

    Summaries are distinct: an entry that repeats another whole is dropped, and then every entry
    whose summary is not its own. Entries of one top-level class or function, and near copies by
    their documents or as a whole, belong to one group.
    """
    found = _distinct(standard_library_docstrings())
    names = components(_ties(found))
    source = f"builtin:{PYTHON_DOCS}"
    where = f"{source} of Python {'.'.join(map(str, sys.version_info[:3]))}"
    rows = [
        Row(
            value=Entry(doc.summary, doc.rest, doc.package, name),
            key=normalise(doc.summary),
            ties=(name,),
            file=where,
            line=number,
            stratum=doc.package,
            group=name,
        )
        for number, (doc, name) in enumerate(zip(found, names, strict=True), start=1)
    ]
    return Draft(
        format="builtin",
        form=PythonDocs(),
        rows={Split.TRAIN: rows},
        sources=dict.fromkeys(Split, source),
    )


def _distinct(docstrings: Sequence[Docstring]) -> list[Docstring]:
    firsts: dict[tuple[str, str], Docstring] = {}
    for doc in docstrings:
        firsts.setdefault((normalise(doc.summary), normalise(doc.rest)), doc)
    summaries = Counter(summary for summary, _ in firsts)
    return [doc for (summary, _), doc in firsts.items() if summaries[summary] == 1]


def _ties(docstrings: Sequence[Docstring]) -> list[tuple[str, ...]]:
    """Each entry's root, and the root of every near copy of it."""
    ties = [{doc.root} for doc in docstrings]
    for texts in (
        [doc.rest for doc in docstrings],
        [f"{doc.summary} {doc.rest}" for doc in docstrings],
    ):
        for left, right in near_copies(texts):
            ties[right].add(docstrings[left].root)
    return [tuple(found) for found in ties]
