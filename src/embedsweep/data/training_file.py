"""A single file to train or to validate on, as it comes over the OpenAI API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from embedsweep.core.dataset import Benchmark, Split, TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.experiment import DataSpec
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import GZIP_MAGIC, TextFile
from embedsweep.data.formats import read_files
from embedsweep.data.leakage import drop_repeats
from embedsweep.data.rows import Form
from embedsweep.data.sources import Sources
from embedsweep.data.text import shorten


def read_training_file(path: Path) -> TrainingSet:
    """The rows of a file of labelled texts, pairs, triplets or scored pairs, repeats dropped.

    Raises:
        DataError: The file is wrong, with the lines at fault, or there is nothing to learn from
            what it holds.
    """
    form, values = _read(path)
    training = form.training(values)
    why = _alike(training)
    if why is not None:
        raise DataError("rows", path.name, why, "add rows that differ from these")
    return training


def read_validation_file(path: Path, training: TrainingSet) -> Benchmark:
    """What the rows of a file measure of a model while it trains.

    Args:
        path: A file of any form that can be trained on; it need not be the training file's.
        training: What the model trains on.

    Raises:
        DataError: The file is wrong, with the lines at fault, or what it holds measures nothing.
    """
    form, values = _read(path)
    why = _alike(form.training(values))
    if why is not None:
        raise DataError("rows", path.name, why, "add rows that differ from these")
    benchmark: Benchmark = form.benchmark(path.name, Split.VALID, values, training)
    if benchmark.retrieval is None or not benchmark.retrieval.queries:
        why = "no label has two texts, so that none can find another"
        raise DataError("rows", path.name, why, "add texts of the same labels")
    # A probe would embed the whole training set after every epoch.
    return replace(benchmark, classification=None)


def _alike(rows: TrainingSet) -> str | None:
    """Why the rows tell a model nothing, or None."""
    if len(rows) < 2:
        return "there is one row, expected two or more"
    labels = {row.label for row in rows.texts}
    if len(labels) == 1:
        return f"every row has the label {shorten(min(labels))}, expected two labels or more"
    scores = {row.score for row in rows.scored}
    if len(scores) == 1:
        return f"every row has the score {min(scores):g}, expected several"
    return None


def _read(path: Path) -> tuple[Form[Any], list[Any]]:
    with path.open("rb") as file:
        if file.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
            # A small upload could unpack to more than the memory holds.
            why = "it is compressed with gzip, expected plain text in UTF-8"
            raise DataError("file", path.name, why, "upload the unpacked file")
    faults = FaultLog()
    sources = Sources({Split.TRAIN: (TextFile(path),)}, {Split.TRAIN: path.name})
    draft = read_files(DataSpec(name=path.name, train=path), sources, faults)
    rows, _ = drop_repeats(draft.rows[Split.TRAIN])
    return draft.form, [row.value for row in rows]
