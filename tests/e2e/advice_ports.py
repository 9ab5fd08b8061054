"""Advice that programs get from ports, and commands only if they meet other processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from embedsweep.core.errors import Fault
from embedsweep.core.report import Measure
from embedsweep.evaluation.pairwise import pairwise_differences, unit_scores
from embedsweep.evaluation.significance import compare
from embedsweep.serving.fine_tuning.database import Database
from embedsweep.serving.fine_tuning.disk import Disk
from embedsweep.serving.shelf import ModelShelf
from embedsweep.wiring.evidence import open_ledger, open_registry
from tests.e2e.advice_world import EXPERIMENT, Row, Step, World, steps, swept, then
from tests.e2e.small_project import outcome
from tests.integration.recorded_sweep import MACRO_F1, MRR, report_of

SCORES = np.linspace(0.1, 0.9, 40)


def given(**values: object) -> Step:
    return lambda world: world.values.update(values)


def comparison(world: World) -> object:
    asked: dict[str, Any] = {"candidate": GOOD, "rival": GOOD, "measure": MRR, **world.values}
    return compare(asked["candidate"], asked["rival"], asked["measure"])


def scores(world: World) -> object:
    return unit_scores(world.values["report"], MRR)


def all_pairs(world: World) -> object:
    return pairwise_differences(
        {"a": unit_scores(GOOD, MRR), "b": unit_scores(world.values["report"], MRR)}
    )


GOOD = report_of(SCORES)

EVALUATION = [
    Row(
        "add test data",
        given(candidate=report_of(SCORES[:1]), rival=report_of(SCORES[:1])),
        then(given(candidate=GOOD, rival=GOOD)),
        comparison,
    ),
    Row(
        "compare by another measure, such as ndcg@10 or accuracy",
        given(measure=MACRO_F1),
        then(given(measure=MRR)),
        comparison,
    ),
    Row(
        "choose a measure that both reports hold",
        given(measure=Measure("ndcg", 10)),
        then(given(measure=MRR)),
        comparison,
    ),
    Row(
        "measure both models on the same benchmark again",
        given(rival=replace(GOOD, benchmark="c" * 64)),
        then(given(rival=GOOD)),
        comparison,
    ),
    Row(
        "measure the model again",
        given(report=report_of([float("nan"), *SCORES])),
        then(given(report=GOOD)),
        scores,
    ),
    Row(
        "measure all of them on the same benchmark",
        given(report=report_of(SCORES[:9])),
        then(given(report=GOOD)),
        all_pairs,
    ),
]


def load(world: World) -> None:
    ModelShelf(open_registry(None), lambda folder: None, world.path("work")).load("other")


def promoted(world: World, fault: Fault) -> None:
    world.put("promotion", {"model": "other"})
    assert outcome("promote", EXPERIMENT) in (0, 5)


def opened(world: World) -> None:
    world.values["disk"] = Disk(world.path("service"), 0)


def database(make: Callable[[World], object]) -> Step:
    return steps(make, lambda world: world.values.update(file=world.path("service.db")))


def newer(world: World) -> None:
    with closing(sqlite3.connect(world.path("service.db"))) as connection:
        connection.execute("PRAGMA user_version = 99")


def another(world: World, fault: Fault) -> None:
    world.values["file"] = world.path("another.db")


def a_database(world: World) -> object:
    return Database(world.values["file"])


SERVING = [
    Row("promote a model to {…} first", swept, promoted, lambda world: _known(world)),
    Row(
        "stop that server, or choose another folder",
        opened,
        lambda world, fault: world.values["disk"].close(),
        lambda world: Disk(world.path("service"), 0).close(),
    ),
    Row(
        "make the folder writable, put a backup back, or choose another folder",
        database(lambda world: world.path("service.db").write_bytes(b"garbage" * 200)),
        another,
        a_database,
    ),
    Row("upgrade embedsweep, or choose another folder", database(newer), another, a_database),
]


def _known(world: World) -> None:
    """Load the champion if there is one; a model that opens is another test's."""
    registry = open_registry(None)
    if registry.resolve("other") is None:
        load(world)


def crown(world: World) -> None:
    registry = open_registry(None)
    version = registry.resolve("mine", "1")
    registry.crown(version, expected=world.values["expected"])


def publish(world: World) -> None:
    open_registry(None).publish("other", world.values["trial"])


def a_trial(world: World, **changes: object) -> None:
    ledger = open_ledger(None)
    trials = ledger.trials(ledger.latest("mine"))
    world.values["trial"] = replace(trials[0], **changes)


REGISTRY = [
    Row(
        "compare with the new champion and promote again",
        steps(swept, given(expected=9)),
        then(given(expected=1)),
        crown,
    ),
    Row(
        "publish a trial that did",
        steps(swept, lambda world: a_trial(world, model_reference=None)),
        then(a_trial),
        publish,
    ),
]

ROWS = [*EVALUATION, *SERVING, *REGISTRY]
