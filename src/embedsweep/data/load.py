"""From a `DataSpec` to a checked `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from embedsweep.core.dataset import Benchmark, Dataset, Split
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import DataSpec
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.looks import sketch_of
from embedsweep.data.beir import read_beir
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import DataFile
from embedsweep.data.findings import find_leakage
from embedsweep.data.formats import read_files
from embedsweep.data.python_docs import DEFAULT_SPLIT, read_python_docs
from embedsweep.data.rows import Draft
from embedsweep.data.rules import apply_rules
from embedsweep.data.sources import find_sources
from embedsweep.data.usage import check_spec, split_faults


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
    ruled = apply_rules(draft, spec, rule)
    values = {split: [row.value for row in ruled.rows[split]] for split in Split}
    training = draft.form.training(values[Split.TRAIN])
    valid, test = (
        partial(
            draft.form.benchmark, spec.name, split, values[split], training, ruled.slices[split]
        )
        for split in (Split.VALID, Split.TEST)
    )
    measured = valid()
    return Dataset(
        name=spec.name,
        format=draft.format,
        train=training,
        valid=measured,
        sealed_test=partial(_test_benchmark, test, measured, draft.files),
        rows={split: len(values[split]) for split in Split},
        digests={
            Split.TRAIN: training.fingerprint,
            Split.VALID: _digest(values[Split.VALID], draft.context),
            Split.TEST: _digest(values[Split.TEST], draft.context),
        },
        sources=draft.sources,
        warnings=(*draft.warnings, *ruled.notes),
        test_sketch=sketch_of(row.key for row in ruled.rows[Split.TEST]),
        find_leakage=partial(find_leakage, ruled.rows, ruled.dropped, draft.form, training),
        readings=draft.readings,
    )


def _draft(spec: DataSpec) -> Draft[Any]:
    faults = FaultLog()
    if spec.builtin is not None:
        return read_python_docs()
    if spec.beir is not None:
        return read_beir(spec.beir, spec.split, spec.slice_by, faults)
    sources = find_sources(spec)
    usage = list(split_faults(sources.files.keys(), spec.split))
    if usage:
        raise UsageError.of(usage)
    return read_files(spec, sources, faults)


def _digest(values: Sequence[Any], context: str) -> str:
    """Of what the values say: of their fields, none of which holds a value of ours again."""
    names = [field.name for field in fields(values[0])] if values else []
    return fingerprint(context, *([getattr(value, name) for name in names] for value in values))


def _test_benchmark(
    make: Callable[[], Benchmark], valid: Benchmark, files: Sequence[DataFile]
) -> Benchmark:
    """The test benchmark, its relevance threshold to be chosen on the validation pairs."""
    for file in files:
        file.verify()
    benchmark = make()
    if benchmark.relevance is None:
        return benchmark
    relevance = replace(benchmark.relevance, calibration=valid.relevance)
    return replace(benchmark, relevance=relevance)
