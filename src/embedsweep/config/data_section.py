"""The ``data`` section: where the data is and how to take it.

Fields stand in the order in which they are checked: what a later field's check needs of its
neighbours stands before it, so that one faulty field hides no fault of another.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    PlainValidator,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from embedsweep.config.fields import BaseModelName, Count, DataPath, FieldName, Seed, Share
from embedsweep.config.knobs import Section
from embedsweep.config.refusal import Reading, refused, shown
from embedsweep.core.experiment import OnOverlap

COLUMNS = {
    "labelled": ("text", "label"),
    "pairs": ("anchor", "positive", "negative", "label", "grade"),
    "scored": ("sentence1", "sentence2", "score"),
}
"""The fields each format names."""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long for a file
        return False


def _score_range(value: object) -> tuple[float, float]:
    ends = value if isinstance(value, list) and len(value) == 2 else [None]
    numbers = [
        float(end) for end in ends if isinstance(end, int | float) and not isinstance(end, bool)
    ]
    if len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        why = f"{shown(value)}, expected the lowest and the highest possible score"
        raise refused(why, "write two numbers, the lower one first, such as [0, 5]")
    return numbers[0], numbers[1]


_PAIR_SCHEMA = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
ScoreRange = Annotated[
    tuple[float, float], PlainValidator(_score_range), WithJsonSchema({**_PAIR_SCHEMA})
]


class Columns(Section):
    """The file's field for each field a format names; dotted paths reach inside."""

    text: FieldName | None = None
    label: FieldName | None = None
    """Of pairs: null says that no column tells whether the texts belong together."""
    anchor: FieldName | None = None
    positive: FieldName | None = None
    negative: FieldName | None = None
    grade: FieldName | None = None
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
    """Where the data is and how to take it: one of builtin, beir, hf and train."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    """What the data set is called in reports."""
    builtin: Literal["python-docs"] | None = None
    """A data set that comes with the program."""
    beir: DataPath | None = None
    """A BEIR folder: corpus.jsonl, queries.jsonl and qrels/."""
    hf: BaseModelName | None = None
    """A data set of the Hugging Face hub, owner/name, or a folder in its layout."""
    revision: Annotated[StrictStr, Field(min_length=1)] | None = None
    """The commit, branch or tag of hf; the newest when left out."""
    subset: Annotated[StrictStr, Field(min_length=1)] | None = None
    """Which subset of hf, where it has several."""
    train: DataPath | None = Field(default=None, validate_default=True)
    """A file to train on (JSONL, JSON, CSV, TSV, Parquet), or a folder with such files."""
    valid: DataPath | None = None
    """A file to measure the trials on; else a share of train."""
    test: DataPath | None = None
    """A file that only promotion reads; else a share of train."""
    format: Literal["labelled", "pairs", "scored"] | None = None
    """How the rows are made; recognised by the columns when left out."""
    columns: Columns | None = None
    """The file's field for each field the format names; recognised when left out."""
    score_range: ScoreRange | None = None
    """The lowest and the highest possible score of scored pairs; inferred when left out."""
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
        others = ("builtin", "beir", "hf")
        if not set(others) <= info.data.keys():
            return train
        sources = {**{name: info.data[name] for name in others}, "train": train}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            seen = " and ".join(given) if given else "none of builtin, beir, hf and train"
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

    @field_validator("revision", "subset")
    @classmethod
    def _only_with_hf(cls, value: str | None, info: ValidationInfo[Reading]) -> str | None:
        if value is not None and info.data.get("hf", value) is None:
            why = "it belongs to hf, and the data comes from elsewhere"
            raise refused(why, "remove the key, or add hf: OWNER/NAME")
        return value

    @field_validator("valid", "test", "format", "columns", "score_range")
    @classmethod
    def _only_with_train(cls, value: object, info: ValidationInfo[Reading]) -> object:
        has_files = info.data.get("train", value) is not None
        has_columns = info.field_name not in ("valid", "test") and info.data.get("hf") is not None
        if value is not None and not (has_files or has_columns):
            why = "it belongs to train, and the data comes from elsewhere"
            raise refused(why, "remove the key; the source has its own splits and fields")
        return value

    @field_validator("score_range")
    @classmethod
    def _has_scores(
        cls, scale: tuple[float, float] | None, info: ValidationInfo[Reading]
    ) -> tuple[float, float] | None:
        if scale is not None and info.data.get("format") in ("labelled", "pairs"):
            why = f"{info.data['format']} data has no scores"
            raise refused(why, "remove the key, or write format: scored")
        return scale

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
        if _is_folder(info.data["train"]):  # it may have the other splits too
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
