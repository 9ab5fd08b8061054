"""The ``data`` section: where the data is and how to take it.

Fields stand in the order in which they are checked: what a later field's check needs of its
neighbours stands before it, so that one faulty field hides no fault of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictStr, ValidationInfo, field_validator

from embedsweep.config.fields import Count, DataPath, FieldName, Seed, Share
from embedsweep.config.knobs import Section
from embedsweep.config.refusal import Reading, refused
from embedsweep.core.experiment import OnOverlap

COLUMNS = {
    "labelled": ("text", "label"),
    "pairs": ("anchor", "positive", "negative"),
    "scored": ("sentence1", "sentence2", "score"),
}
"""The fields each format names."""


class Columns(Section):
    """The file's field for each field a format names; dotted paths reach inside."""

    text: FieldName | None = None
    label: FieldName | None = None
    anchor: FieldName | None = None
    positive: FieldName | None = None
    negative: FieldName | None = None
    sentence1: FieldName | None = None
    sentence2: FieldName | None = None
    score: FieldName | None = None


class SplitSection(Section):
    """How one file becomes several."""

    valid: Share = 0.0
    """Share of the groups that goes to valid."""
    test: Share = 0.0
    """Share of the groups that goes to test."""
    seed: Seed = 7
    """Fixes who goes where."""
    group_by: FieldName | None = None
    """Dotted path of the field whose equal values stay together."""

    @field_validator("test")
    @classmethod
    def _leaves_rows(cls, test: float, info: ValidationInfo[Reading]) -> float:
        valid = info.data.get("valid", 0.0)
        if valid + test >= 1:
            why = f"valid {valid:g} and test {test:g} leave nothing to train on"
            raise refused(why, "make their sum smaller than 1")
        return test


class DataSection(Section):
    """Where the data is and how to take it: one of builtin, beir and train."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    """What the data set is called in reports."""
    builtin: Literal["python-docs"] | None = None
    """A data set that comes with the program."""
    beir: DataPath | None = None
    """A BEIR folder: corpus.jsonl, queries.jsonl and qrels/."""
    train: DataPath | None = Field(default=None, validate_default=True)
    """A file to train on, JSONL or CSV."""
    valid: DataPath | None = None
    """A file to measure the trials on; else a share of train."""
    test: DataPath | None = None
    """A file that only promotion reads; else a share of train."""
    format: Literal["labelled", "pairs", "scored"] | None = None
    """How the rows are made; told from them when left out."""
    columns: Columns | None = None
    """The file's field for each field the format names."""
    on_overlap: OnOverlap = OnOverlap.ERROR
    """What to do with training rows whose text is also in valid or test."""
    few_shot: Count | None = None
    """Training rows kept of each label."""
    max_train: Count | None = None
    """Training rows (for BEIR: queries) kept."""
    max_valid: Count | None = None
    """Validation rows (for BEIR: queries) kept."""
    slice_by: FieldName | None = None
    """Dotted path of the field by which results are told apart; else the label."""
    split: SplitSection | None = Field(default=None, validate_default=True)
    """How to split; needed where a file is missing."""

    @field_validator("train")
    @classmethod
    def _one_source(cls, train: Path | None, info: ValidationInfo[Reading]) -> Path | None:
        if not {"builtin", "beir"} <= info.data.keys():
            return train
        sources = {"builtin": info.data["builtin"], "beir": info.data["beir"], "train": train}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            seen = " and ".join(given) if given else "none of builtin, beir and train"
            fix = "keep one" if given else "add train: FILE, beir: FOLDER or builtin: python-docs"
            raise refused(f"{seen} given, expected one", fix, instead=tuple(sources))
        return train

    @field_validator("slice_by")
    @classmethod
    def _not_of_builtin(cls, value: str | None, info: ValidationInfo[Reading]) -> str | None:
        if value is not None and info.data.get("builtin") is not None:
            why = "builtin has no fields; its results are told apart by package"
            raise refused(why, "remove the key")
        return value

    @field_validator("valid", "test", "format", "columns")
    @classmethod
    def _only_with_train(cls, value: object, info: ValidationInfo[Reading]) -> object:
        if value is not None and info.data.get("train", value) is None:
            why = "it belongs to train, and the data comes from elsewhere"
            raise refused(why, "remove the key; the source has its own splits and fields")
        return value

    @field_validator("columns")
    @classmethod
    def _of_the_format(
        cls, columns: Columns | None, info: ValidationInfo[Reading]
    ) -> Columns | None:
        known = COLUMNS.get(info.data.get("format") or "")
        given = columns.model_dump(exclude_none=True) if columns else {}
        others = ", ".join(name for name in given if known and name not in known)
        if known and others:
            why = f"{others} is no field of the format, expected {', '.join(known)}"
            raise refused(why, f"remove {others}, or change the format")
        return columns

    @field_validator("split")
    @classmethod
    def _every_split(
        cls, split: SplitSection | None, info: ValidationInfo[Reading]
    ) -> SplitSection | None:
        if not {"train", "valid", "test"} <= info.data.keys() or info.data["train"] is None:
            return split
        faults, fixes = [], []
        for name in ("valid", "test"):
            file, share = info.data[name], getattr(split, name, 0.0)
            if file is None and not share:
                faults.append(f"{name} has neither a file nor a share of train")
                fixes.append(f"add {name}: FILE to data or {name}: 0.2 to data.split")
            elif file is not None and share:
                faults.append(f"{name} has a file and a share of {share:g}")
                fixes.append(f"remove {name} from data.split")
        if faults:
            missing = tuple(name for name in ("valid", "test") if info.data[name] is None)
            raise refused("; ".join(faults), "; ".join(fixes), instead=(*missing, "split"))
        return split
