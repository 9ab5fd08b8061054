"""The experiment file as pydantic sees it: every key, its bounds and its default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from embedsweep.config.arms import AnyArm
from embedsweep.config.data_section import DataSection
from embedsweep.config.fields import FieldName, GuardBound, GuardedMeasure, Name, Objective, Seed
from embedsweep.config.knobs import REAL, WHOLE, Section
from embedsweep.config.refusal import Reading, refused, shown
from embedsweep.core.experiment import PrunerKind, Sampler
from embedsweep.core.looks import Spending


class FinalistsSection(Section):
    """The best trials are trained again, so that luck in one seed wins nothing."""

    top: Annotated[int, Field(ge=1, le=100), WHOLE] = 3
    """How many of them."""
    seeds: Annotated[int, Field(ge=1, le=100), WHOLE] = 3
    """On how many further seeds each."""


class SearchSection(Section):
    """What may be tried, and how."""

    trials: Annotated[int, Field(ge=1, le=100_000), WHOLE]
    """How many recipes to try, baselines apart."""
    sampler: Sampler = Sampler.TPE
    """How recipes are proposed."""
    pruner: PrunerKind = PrunerKind.NONE
    """How trials that fall behind are stopped."""
    seed: Seed = 7
    """Fixes the sampler and every training."""
    arms: Annotated[list[AnyArm], Field(min_length=1)]
    """Ways to make models."""
    scouts: Annotated[int, Field(ge=2, le=1000), WHOLE] | None = None
    """So many recipes of each local arm are first tried as heads on its frozen model, which takes
    little time, and the best of them lead its first trials."""
    finalists: FinalistsSection | None = None
    """The best trials are trained again on further seeds and ranked by their mean."""

    @field_validator("sampler")
    @classmethod
    def _remember_grid(cls, sampler: Sampler, info: ValidationInfo[Reading]) -> Sampler:
        info.context.grid = sampler is Sampler.GRID
        return sampler

    @field_validator("scouts")
    @classmethod
    def _of_use(cls, scouts: int | None, info: ValidationInfo[Reading]) -> int | None:
        if scouts is None:
            return None
        if info.context.grid:
            raise refused("the grid sampler tries every recipe", "remove it")
        arms = info.data.get("arms")
        if arms is not None and not any(arm.backend == "local" for arm in arms):
            raise refused("no arm fine-tunes a model of this machine", "remove it")
        return scouts


class BudgetSection(Section):
    """What a sweep may use."""

    minutes: Annotated[float, Field(gt=0), REAL] | None = None
    """No trial begins after so much time."""
    cost: Annotated[float, Field(gt=0), REAL] | None = None
    """What providers may bill the sweep, in the currency of the prices."""
    disk_gb: Annotated[float, Field(gt=0), REAL] | None = None
    """The models the sweep keeps may take this much."""


class PriceSection(Section):
    """What a provider bills for a model, per million tokens; the currency is yours."""

    embedding: Annotated[float, Field(ge=0), REAL] = 0.0
    """For tokens embedded with it, and with what is tuned from it."""
    training: Annotated[float, Field(ge=0), REAL] = 0.0
    """For tokens trained on, each epoch anew."""


MOST_LOOKS = {Spending.HALVING: 10, Spending.EVEN: 20}
"""Halving ten times leaves a thousandth of the rate. Even looks hold what they promise as long as
nobody builds candidates from the gains told, which pays more the more looks there are."""


class PromotionSection(Section):
    """What evidence it takes to move the champion."""

    model: Name | None = None
    """Name in the registry; the experiment's name when left out."""
    min_gain: Annotated[float, Field(ge=0, lt=1), REAL] = 0.0
    """The gain's interval must lie above this."""
    confidence: Annotated[float, Field(gt=0.5, lt=1), REAL] = 0.95
    """1 minus the false promotion rate accepted on one test split, over all looks at it."""
    looks: Annotated[int, Field(ge=1, le=MOST_LOOKS[Spending.EVEN]), WHOLE] = 5
    """How many candidates one test split may judge."""
    spending: Spending = Field(default=Spending.HALVING, validate_default=True)
    """How the false promotion rate is parted among the looks."""
    slice_loss: Annotated[float, Field(ge=-1, le=0), REAL] | None = None
    """The most any slice may lose, as a negative number or 0, beyond what chance explains."""
    max_latency: Annotated[float, Field(gt=0), REAL] | None = None
    """The longest a query may take, as a multiple of the champion's time."""
    any_dimension: StrictBool = False
    """Whether the vectors may have another length than the champion's."""

    @field_validator("spending")
    @classmethod
    def _level_left(cls, spending: Spending, info: ValidationInfo[Reading]) -> Spending:
        looks, most = info.data.get("looks", 1), MOST_LOOKS[spending]
        if looks > most:
            why = f"halving leaves too little for {looks} looks, expected at most {most}"
            raise refused(why, f"write 'spending: even', or at most {most} looks")
        return spending


class ExperimentFile(Section):
    """An experiment: which recipes to try on which data, and by what measure to judge them."""

    name: Name
    """Names the sweep and, unless said otherwise, its model."""
    data: DataSection
    """Where the data is; paths are relative to this file."""
    objective: Objective
    """The one measure that decides, such as ndcg@10; of every measure higher is better."""
    guards: dict[GuardedMeasure, GuardBound] = Field(default_factory=dict)
    """The largest loss allowed at promotion by metric, as a negative number or 0; `off` allows any
    loss. A headline metric without a guard must not get significantly worse."""
    search: SearchSection
    """What may be tried."""
    budget: BudgetSection = Field(default_factory=BudgetSection)
    """What a sweep may use."""
    prices: dict[FieldName, PriceSection] = Field(default_factory=dict)
    """By the provider's name of a model; a model without a price costs nothing."""
    promotion: PromotionSection = Field(default_factory=PromotionSection)
    """What evidence it takes to move the champion."""

    @field_validator("guards", mode="before")
    @classmethod
    def _each_once(cls, guards: object) -> object:
        if isinstance(guards, dict):
            names = [name.replace("_at_", "@") for name in guards]
            for name in names:
                if names.count(name) > 1:
                    why = f"{shown(name)} stands there in two spellings"
                    raise refused(why, "remove one of the two")
        return guards
