"""An experiment file to the core's `Experiment`, or all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedsweep.config.arm_section import Arm as ArmSection
from embedsweep.config.data_section import DataSection
from embedsweep.config.document import Document, read_document
from embedsweep.config.fields import ANY_LOSS
from embedsweep.config.refusal import Reading
from embedsweep.config.schema import ExperimentFile
from embedsweep.config.translation import faults_of
from embedsweep.core.bill import Price
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import Budget, DataSpec, Experiment, SplitRule
from embedsweep.core.finalists import FinalistPlan
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.space import Arm, SearchSpace

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def load_experiment(path: Path, environ: Mapping[str, str] | None = None) -> Experiment:
    """Read and check an experiment file.

    Args:
        path: The YAML file; relative paths in it start at its folder.
        environ: Where ``${NAME}`` in paths is looked up; the process's environment if None.

    Raises:
        UsageError: With every fault of the file, in the order of its lines.
    """
    document = read_document(path)
    folder = path.absolute().parent.resolve()
    reading = Reading(folder, os.environ if environ is None else environ)
    faults = list(document.faults)
    try:
        file = ExperimentFile.model_validate(document.tree, context=reading)
    except ValidationError as error:
        faults += faults_of(error, document)
        raise UsageError.of(sorted(faults, key=lambda fault: fault.line or 0)) from None
    if faults:
        raise UsageError.of(faults)
    return _experiment(file, document)


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    return {"$schema": JSON_SCHEMA_DIALECT, **ExperimentFile.model_json_schema()}


def _experiment(file: ExperimentFile, document: Document) -> Experiment:
    finalists = file.search.finalists
    return Experiment(
        name=file.name,
        path=document.path,
        text=document.text,
        data=_data(file.data),
        objective=file.objective,
        space=SearchSpace(_arms(file.search.arms), file.search.seed),
        trials=file.search.trials,
        sampler=file.search.sampler,
        pruner=file.search.pruner,
        budget=Budget(**file.budget.model_dump()),
        model=file.promotion.model or file.name,
        policy=_policy(file),
        scouts=file.search.scouts,
        finalists=FinalistPlan(**finalists.model_dump()) if finalists else None,
        prices={name: Price(**price.model_dump()) for name, price in file.prices.items()},
        key_variables={
            arm.provider_name: arm.key_variable
            for arm in file.search.arms
            if arm.provider_name and arm.key_variable
        },
    )


def _policy(file: ExperimentFile) -> PromotionPolicy:
    return PromotionPolicy(
        guards={name: bound for name, bound in file.guards.items() if bound != ANY_LOSS},
        unguarded=frozenset(name for name, bound in file.guards.items() if bound == ANY_LOSS),
        **file.promotion.model_dump(exclude={"model"}),
    )


def _data(section: DataSection) -> DataSpec:
    split = section.split
    return DataSpec(
        name=section.name or _data_name(section),
        train=section.train,
        valid=section.valid,
        test=section.test,
        hf=section.hf,
        revision=section.revision,
        subset=section.subset,
        beir=section.beir,
        builtin=section.builtin,
        format=section.format,
        columns=_columns(section),
        split=SplitRule(split.valid, split.test, split.seed, split.group_by) if split else None,
        score_range=section.score_range,
        on_overlap=section.on_overlap,
        few_shot=section.few_shot,
        max_train=section.max_train,
        max_valid=section.max_valid,
        slice_by=section.slice_by,
    )


def _columns(section: DataSection) -> dict[str, str]:
    """The columns by field; a label that is null in the file is an empty name."""
    columns = section.columns
    if columns is None:
        return {}
    has_none = "label" in columns.model_fields_set and columns.label is None
    return {**columns.model_dump(exclude_none=True), **({"label": ""} if has_none else {})}


def _data_name(section: DataSection) -> str:
    """The name of the built-in, the BEIR folder or the file; of ``train.*``, its folder's."""
    if section.train is not None:
        stem = section.train.stem
        return section.train.parent.name or stem if stem == "train" else stem
    if section.hf is not None:
        return Path(section.hf).name
    return section.builtin or (section.beir.name if section.beir else "") or "beir"


def _arms(sections: Sequence[ArmSection]) -> tuple[Arm, ...]:
    """The arms; those without a name are called ``local``, ``local-2`` and so on."""
    taken = {section.name for section in sections if section.name}
    arms = []
    for section in sections:
        name, number = section.name or section.backend, 1
        while not section.name and name in taken:
            number += 1
            name = f"{section.backend}-{number}"
        taken.add(name)
        arms.append(Arm(name, section.backend, section.knobs(), section.own_prompts))
    return tuple(arms)
