"""What can be seen to be wrong with a `DataSpec` before any file is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from pathlib import Path

from embedsweep.core.dataset import Split
from embedsweep.core.errors import Fault, UsageError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data.files import is_folder
from embedsweep.data.formats import FORMATS
from embedsweep.data.python_docs import PYTHON_DOCS

WHERE = "data"
_USUAL_SHARES = {Split.VALID: 0.15, Split.TEST: 0.2}


def check_spec(spec: DataSpec) -> None:
    """Raise one `UsageError` with everything in the spec that cannot work."""
    faults = [*_source(spec), *_format(spec), *_sizes(spec)]
    if not faults and spec.train is not None and not is_folder(spec.train):
        own = {Split.TRAIN: spec.train, Split.VALID: spec.valid, Split.TEST: spec.test}
        paths = {split: path for split, path in own.items() if path is not None}
        faults = [*_same_file(paths), *split_faults(paths.keys(), spec.split)]
    if not faults and spec.builtin is not None and spec.split is not None:
        faults = list(split_faults({Split.TRAIN}, spec.split))
    if faults:
        raise UsageError.of(faults)


def split_faults(present: Collection[Split], rule: SplitRule | None) -> Iterator[Fault]:
    """Why a rule does not yield exactly the splits that are not ``present``."""
    shares = {Split.VALID: rule.valid, Split.TEST: rule.test} if rule else {}
    if rule and (min(shares.values()) < 0 or sum(shares.values()) >= 1):
        why = (
            f"valid {rule.valid:g} and test {rule.test:g}, expected shares from 0, below 1 together"
        )
        yield Fault("split", WHERE, why, "lower the shares")
        return
    wanted = ", ".join(f"{s}: {usual}" for s, usual in _USUAL_SHARES.items() if s not in present)
    for split in _USUAL_SHARES:
        share = shares.get(split, 0.0)
        if split in present and share > 0:
            why = f"{split} has a file of its own and a share of {share:g} of train"
            yield Fault(f"split.{split}", WHERE, why, f"take 'split.{split}' or the file out")
        if split not in present and not share:
            why = f"there is neither a {split} file nor a share to split off"
            fix = f"give a {split} file, or add under data 'split: {{{wanted}}}'"
            yield Fault(f"no {split} split", WHERE, why, fix)


def _source(spec: DataSpec) -> Iterator[Fault]:
    sources = {"train": spec.train, "hf": spec.hf, "beir": spec.beir, "builtin": spec.builtin}
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        why = f"found {' and '.join(given) or 'none'}, expected one of train, hf, beir, builtin"
        yield Fault("source", WHERE, why, "give one of them")
        return
    if spec.builtin is not None and spec.builtin != PYTHON_DOCS:
        why = f"found {spec.builtin!r}, expected {PYTHON_DOCS!r}"
        yield Fault("builtin", WHERE, why, f"write 'builtin: {PYTHON_DOCS}'")
    extras: dict[str, object] = {}
    if given != ["hf"]:
        extras = {"revision": spec.revision, "subset": spec.subset}
    if given != ["train"]:
        extras |= {"valid": spec.valid, "test": spec.test}
    if given[0] not in ("train", "hf"):
        extras |= {"format": spec.format, "columns": spec.columns or None}
        extras |= {"few_shot": spec.few_shot, "score_range": spec.score_range}
    if spec.builtin is not None and spec.split is not None:
        extras["split.group_by"] = spec.split.group_by
    if spec.builtin is not None:
        extras["slice_by"] = spec.slice_by
    for name, value in extras.items():
        if value is not None:
            why = f"it means nothing beside {given[0]}"
            yield Fault(name, WHERE, why, f"take {name!r} out")


def _format(spec: DataSpec) -> Iterator[Fault]:
    if spec.format is not None and spec.format not in FORMATS:
        why = f"found {spec.format!r}, expected one of {', '.join(FORMATS)}"
        yield Fault("format", WHERE, why, "name a known format, or leave it out")
        return
    forms = [FORMATS[spec.format]] if spec.format else list(FORMATS.values())
    known = [[field.name for field in form.fields] for form in forms]
    if spec.columns and not any(set(spec.columns) <= set(names) for names in known):
        expected = " or ".join(", ".join(names) for names in known)
        why = f"found {', '.join(spec.columns)}, expected fields of one format: {expected}"
        yield Fault("columns", WHERE, why, "write '<field>: <key in the file>'")


def _sizes(spec: DataSpec) -> Iterator[Fault]:
    if spec.score_range is not None and spec.score_range[0] >= spec.score_range[1]:
        why = "found {:g} and {:g}, expected the lowest score first".format(*spec.score_range)
        yield Fault("score_range", WHERE, why, "write 'score_range: [LOWEST, HIGHEST]'")
    for name in ("few_shot", "max_train", "max_valid"):
        value = getattr(spec, name)
        if value is not None and value < 1:
            yield Fault(
                name, WHERE, f"found {value}, expected 1 or more", "raise it or leave it out"
            )


def _same_file(paths: dict[Split, Path]) -> Iterator[Fault]:
    for (split, path), (other, twin) in combinations(paths.items(), 2):
        if path == twin:
            why = f"{split} and {other} are the same file, {path}"
            fix = "give each split a file of its own, or name one file and a 'split' rule"
            yield Fault(f"{other} file", WHERE, why, fix)
