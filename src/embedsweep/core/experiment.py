"""An experiment: which recipes to try on which data, and by what measure to judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from embedsweep.core.bill import Price
from embedsweep.core.finalists import FinalistPlan
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.report import Measure
from embedsweep.core.space import SearchSpace


class Sampler(StrEnum):
    """How recipes are proposed."""

    TPE = "tpe"
    RANDOM = "random"
    GRID = "grid"
    GP = "gp"


class PrunerKind(StrEnum):
    """How trials that fall behind are stopped."""

    NONE = "none"
    MEDIAN = "median"
    HYPERBAND = "hyperband"


class OnOverlap(StrEnum):
    """What to do with training rows whose text is also in valid or test."""

    ERROR = "error"
    DROP_FROM_TRAIN = "drop_from_train"


@dataclass(frozen=True)
class SplitRule:
    """How one file becomes three splits.

    Attributes:
        valid, test: Shares of the groups that go to valid and test, between 0 and 1; a share is
            0 where that split has a file of its own.
        seed: Fixes who goes where, whatever the order of the rows.
        group_by: Dotted path of the field whose equal values stay together, such as
            ``metadata.document``; rows with equal normalised text always stay together.
    """

    valid: float
    test: float
    seed: int = 7
    group_by: str | None = None


@dataclass(frozen=True)
class DataSpec:
    """Where the data is and how to take it. One of `train`, `hf`, `beir` and `builtin` is set.

    Attributes:
        name: What the data set is called in reports.
        train, valid, test: Files, or folders with files of several splits; a missing split is
            split off `train` by `split`.
        hf: A data set of the Hugging Face hub, ``owner/name``, or a folder in its layout.
        revision: Commit, branch or tag of `hf`; None for the newest.
        subset: Which of its subsets, where it has several.
        beir: A BEIR folder.
        builtin: ``python-docs``.
        format: ``labelled``, ``pairs`` (with or without negatives) or ``scored``; None to tell
            it from the rows.
        columns: The file's field for each field the format names; dotted paths reach inside. What
            is left out is recognised by its name.
        score_range: Lowest and highest possible score of scored pairs; None to infer a well-known
            scale.
        split: How to split; needed where a file is missing.
        on_overlap: What happens to training rows whose normalised text is in valid or test.
        few_shot: Training rows kept of each label; None for all.
        max_train, max_valid: Rows (for BEIR: queries) kept, drawn with the split's seed; None
            for all. The test split is never cut.
        slice_by: Dotted path of the field by which results are told apart, such as
            ``metadata.topic``; None for the label, where there are labels. Rows that are only
            trained on need no such field.
    """

    name: str
    train: Path | None = None
    valid: Path | None = None
    test: Path | None = None
    hf: str | None = None
    revision: str | None = None
    subset: str | None = None
    beir: Path | None = None
    builtin: str | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] | None = None
    split: SplitRule | None = None
    on_overlap: OnOverlap = OnOverlap.ERROR
    few_shot: int | None = None
    max_train: int | None = None
    max_valid: int | None = None
    slice_by: str | None = None


@dataclass(frozen=True)
class Budget:
    """What a sweep may use; None for no bound.

    Attributes:
        minutes: No trial begins after so much time in this call.
        cost: Providers may bill the sweep this much, in the currency of the prices.
        disk_gb: The models the sweep keeps may take this much.
    """

    minutes: float | None = None
    cost: float | None = None
    disk_gb: float | None = None


@dataclass(frozen=True)
class Experiment:
    """A whole experiment file, checked.

    Attributes:
        name: Names the sweep, its MLflow experiment and, unless said otherwise, its model.
        path: The file it was read from.
        text: The file's content.
        data: The data.
        objective: What the sweep maximises on the validation split.
        space: What may be tried.
        trials: How many recipes to try, baselines apart.
        sampler, pruner: How to propose and when to stop.
        budget: Bounds.
        prices: By the provider's name of a model; a model without a price costs nothing.
        key_variables: By provider, the environment variable that holds its key, where the
            experiment names one.
        scouts: Recipes of each local arm that are tried as scouts first; None for none.
        finalists: Which trials are trained again on further seeds; None for none.
        model: Name in the registry.
        policy: What evidence promotion takes.
    """

    name: str
    path: Path
    text: str
    data: DataSpec
    objective: Measure
    space: SearchSpace
    trials: int
    sampler: Sampler = Sampler.TPE
    pruner: PrunerKind = PrunerKind.NONE
    budget: Budget = field(default_factory=Budget)
    model: str = ""
    policy: PromotionPolicy = field(default_factory=PromotionPolicy)
    prices: Mapping[str, Price] = field(default_factory=dict)
    key_variables: Mapping[str, str] = field(default_factory=dict)
    scouts: int | None = None
    finalists: FinalistPlan | None = None
