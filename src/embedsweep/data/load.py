"""From a `DataSpec` to a checked `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from functools import partial
from typing import Any

from embedsweep.core.dataset import Benchmark, Dataset, Split, TrainingSet
from embedsweep.core.experiment import DataSpec
from embedsweep.core.fingerprint import fingerprint
from embedsweep.data.beir import read_beir
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import TextFile
from embedsweep.data.formats import read_files
from embedsweep.data.python_docs import DEFAULT_SPLIT, read_python_docs
from embedsweep.data.rows import Draft, Form
from embedsweep.data.rules import apply_rules
from embedsweep.data.usage import check_spec


def load_dataset(spec: DataSpec) -> Dataset:
    """Read, check and split the data.

    The test split is read and checked too, but its benchmark is only made when it is unsealed;
    that also raises `DataError` if a file has changed since.

    Raises:
        DataError: The data is wrong; all faults found in one pass, the first ones spelt out.
        UsageError: The spec cannot work.
    """
    check_spec(spec)
    draft = _draft(spec)
    rule = spec.split or (DEFAULT_SPLIT if spec.builtin else None)
    rows, notes = apply_rules(draft, spec, rule)
    values = {split: [row.value for row in rows[split]] for split in Split}
    training = draft.form.training(values[Split.TRAIN])
    valid = draft.form.benchmark(spec.name, Split.VALID, values[Split.VALID], training)
    return Dataset(
        name=spec.name,
        format=draft.format,
        train=training,
        valid=valid,
        sealed_test=partial(
            _test_benchmark, spec.name, draft.form, values[Split.TEST], training, valid, draft.files
        ),
        rows={split: len(values[split]) for split in Split},
        digests={
            Split.TRAIN: training.fingerprint,
            Split.VALID: _digest(values[Split.VALID], draft.context),
            Split.TEST: _digest(values[Split.TEST], draft.context),
        },
        sources=draft.sources,
        warnings=(*draft.warnings, *notes),
    )


def _draft(spec: DataSpec) -> Draft[Any]:
    faults = FaultLog()
    if spec.builtin is not None:
        return read_python_docs()
    if spec.beir is not None:
        return read_beir(spec.beir, spec.split, faults)
    return read_files(spec, faults)


def _digest(values: Sequence[Any], context: str) -> str:
    return fingerprint(context, *(astuple(value) for value in values))


def _test_benchmark(
    name: str,
    form: Form[Any],
    values: Sequence[Any],
    training: TrainingSet,
    valid: Benchmark,
    files: Sequence[TextFile],
) -> Benchmark:
    """The test benchmark, its relevance threshold to be chosen on the validation pairs."""
    for file in files:
        file.verify()
    benchmark = form.benchmark(name, Split.TEST, values, training)
    if benchmark.relevance is None:
        return benchmark
    relevance = replace(benchmark.relevance, calibration=valid.relevance)
    return replace(benchmark, relevance=relevance)
