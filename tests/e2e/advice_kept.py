"""Advice on what a sweep left: its trials, models and records, and what became of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from embedsweep.cli.commands import PLACEHOLDER
from embedsweep.core.errors import Fault
from embedsweep.stores.manifest import make_empty
from tests.e2e.advice_stores import client, embed, runs
from tests.e2e.advice_world import (
    EXPERIMENT,
    Row,
    Step,
    World,
    as_swept,
    drop,
    file,
    put,
    steps,
    swept,
    then,
    type_,
)
from tests.e2e.small_project import LABELLED, outcome, rows

REFUSED = 5
"""What a promotion ends with here: the candidate is as good as the champion."""


def sql(change: str, *values: object) -> Step:
    def run(world: World) -> None:
        with closing(sqlite3.connect(world.path("mlruns/mlflow.db"))) as database, database:
            assert database.execute(change, values).rowcount

    return run


def failed(*kinds: str) -> Step:
    """Every run of the kinds ended in a failure."""

    def mark(world: World) -> None:
        for kind in kinds:
            for run in runs(world, kind):
                for tag, value in (
                    ("state", "failed"),
                    ("failure_kind", "k"),
                    ("failure_message", "m"),
                ):
                    client(world).set_tag(run.info.run_id, f"embedsweep.{tag}", value)

    return mark


def commands(world: World, fault: Fault) -> None:
    """Run every command that the advice names, in its order."""
    for words in (part for part in fault.fix.split("`")[1::2]):
        assert outcome(*words.replace(PLACEHOLDER, EXPERIMENT).split()[1:]) in (0, REFUSED)


def the_sweep(world: World, fault: Fault) -> None:
    assert outcome("sweep", EXPERIMENT) in (0, REFUSED)


def without_baseline(world: World) -> None:
    for run in runs(world, "trial"):
        if run.data.tags["embedsweep.role"] == "baseline":
            client(world).delete_run(run.info.run_id)
    client(world).delete_registered_model("mine")


CHANGED_DATA = file("train.jsonl", rows(LABELLED[::-1]))
SAME_DATA = file("train.jsonl", rows(LABELLED))
OTHER_MODEL = {"model": "other"}
NEW_TEST = [
    {"text": f"new text {i} of {i % 3}", "metadata": {"label": f"class {i % 3}"}} for i in range(30)
]

TRIALS = [
    Row(
        "name one that has",
        steps(swept, failed("trial"), type_(f"compare {EXPERIMENT} t0 champion")),
        then(type_(f"compare {EXPERIMENT}")),
    ),
    Row(
        "bring the data back, or sweep over the new one with --new-study",
        steps(swept, CHANGED_DATA, type_(f"compare {EXPERIMENT} t0 b0")),
        then(SAME_DATA),
    ),
    Row(
        "bring the data back, or sweep over the new one with --new-study",
        steps(swept, CHANGED_DATA, type_(f"compare {EXPERIMENT} t0 b0")),
        lambda world, fault: outcome("sweep", EXPERIMENT, "--new-study"),
        slow=True,
    ),
    Row(
        "pass --new-study to begin another sweep, or undo the change",
        steps(swept, put("search.seed", 11), type_(f"sweep {EXPERIMENT}")),
        lambda world, fault: world.words.append("--new-study"),
        slow=True,
    ),
    Row(
        "pass --new-study to begin another sweep, or undo the change",
        steps(swept, put("search.seed", 11), type_(f"sweep {EXPERIMENT}")),
        then(drop("search.seed")),
        slow=True,
    ),
    Row(
        "run `embedsweep sweep EXPERIMENT.yaml` first",
        steps(swept, put("name", "another"), type_(f"compare {EXPERIMENT}")),
    ),
    Row(
        "see why with `embedsweep compare EXPERIMENT.yaml`, mend it, and run "
        "`embedsweep sweep EXPERIMENT.yaml --new-study`",
        steps(
            swept, failed("trial"), put("promotion", OTHER_MODEL), type_(f"promote {EXPERIMENT}")
        ),
        commands,
        code=REFUSED,
        slow=True,
    ),
    Row(
        "run the sweep again, which measures the untuned base model first",
        steps(swept, without_baseline, type_(f"promote {EXPERIMENT}")),
        the_sweep,
        code=REFUSED,
        slow=True,
    ),
    Row(
        "write 'confidence: {…}' under promotion, or give a new test set",
        steps(
            swept,
            put("promotion", {**OTHER_MODEL, "confidence": 0.9}),
            type_(f"promote {EXPERIMENT}"),
        ),
        then(put("promotion.confidence", 0.95)),
        code=REFUSED,
    ),
    Row(
        "give a new test set, of examples that no candidate was judged on",
        steps(swept, put("promotion", {**OTHER_MODEL, "looks": 1}), type_(f"promote {EXPERIMENT}")),
        then(
            steps(
                file("test.jsonl", rows(NEW_TEST)),
                put(
                    "data", {"train": "train.jsonl", "test": "test.jsonl", "split": {"valid": 0.3}}
                ),
            )
        ),
        code=REFUSED,
    ),
]


def model_folder(world: World, number: int = 1) -> Path:
    """The files of a version of ``mine``."""
    version = client(world).get_model_version("mine", str(number))
    model = client(world).get_logged_model(
        version.tags["embedsweep.model"].removeprefix("models:/")
    )
    return Path(model.artifact_location.removeprefix("file:"))


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def spoilt(world: World) -> None:
    """Another byte at the end of a file of the champion."""
    path = next(path for path in files_of(model_folder(world)) if path.name == "config.json")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b" ")


def with_code(world: World) -> None:
    (model_folder(world) / "weights.pkl").write_bytes(b"code")


def lost(world: World) -> None:
    shutil.rmtree(model_folder(world))


def foreign(world: World) -> None:
    client(world).create_registered_model("foreign")
    client(world).create_model_version("foreign", str(world.folder))


def promoted(world: World, fault: Fault) -> None:
    world.put("promotion", OTHER_MODEL)
    assert outcome("promote", EXPERIMENT) == REFUSED
    embed("models:/other@champion")(world)


def collected(world: World) -> None:
    assert outcome("gc", "--delete", "--keep", "0") == 0
    run = next(run for run in runs(world, "trial") if "embedsweep.collected" in run.data.tags)
    embed(f"runs:/{run.info.run_id}")(world)


def trained_again(world: World, fault: Fault) -> None:
    commands(world, fault)
    embed("models:/mine@champion")(world)


def elsewhere(world: World) -> None:
    """The files of a model that nothing needs are where any files may be."""
    folder = world.path("anybody")
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    unneeded = next(
        run for run in runs(world, "trial") if run.data.tags["embedsweep.number"] == "1"
    )
    model_id = unneeded.data.tags["embedsweep.model"].removeprefix("models:/")
    sql("UPDATE logged_models SET artifact_location = ? WHERE model_id = ?", str(folder), model_id)(
        world
    )


RESTORED = then(as_swept)

MODELS = [
    Row(
        "publish the trial again, or restore the model's files from a backup",
        steps(swept, spoilt, embed("models:/mine@champion")),
        RESTORED,
    ),
    Row(
        "use a model without it",
        steps(swept, with_code, embed("models:/mine@champion")),
        then(embed("models:/mine@challenger")),
    ),
    Row(
        "promote a trial of a sweep to a model name of its own",
        steps(swept, foreign, embed("models:/foreign/1")),
        promoted,
    ),
    Row(
        "run `embedsweep sweep EXPERIMENT.yaml --new-study` and name one of its models",
        steps(swept, collected),
        trained_again,
        slow=True,
    ),
    Row(
        "remove the files by hand",
        steps(swept, elsewhere, type_("gc --delete --keep 0")),
        lambda world, fault: shutil.rmtree(world.path("anybody")),
    ),
    Row(
        "name an empty or a new folder",
        lambda world: world.values.update(folder=world.folder),
        lambda world, fault: world.values.update(folder=world.path("new")),
        lambda world: make_empty(world.values["folder"]),
    ),
    Row(
        "restore the store from a backup, or promote to another model name and a new test set",
        steps(
            swept,
            sql(
                "UPDATE registered_model_tags SET value = replace(value, '1', '2') "
                "WHERE key LIKE 'embedsweep.record.%'"
            ),
            type_("history mine"),
        ),
        RESTORED,
    ),
]


def stale(world: World) -> None:
    """A trial that stands as running, of a process that has ended."""
    run = next(run for run in runs(world, "trial") if run.data.tags["embedsweep.number"] == "1")
    owner = run.data.tags["embedsweep.owner"].split("/")
    client(world).set_tag(
        run.info.run_id, "embedsweep.owner", "/".join([owner[0], "999999999", "x"])
    )
    client(world).update_run(run.info.run_id, "RUNNING")


def deleted_run(world: World) -> None:
    client(world).delete_run(client(world).get_model_version("mine", "1").run_id)


def moved(world: World) -> None:
    client(world).set_registered_model_alias("mine", "champion", "2")


UNKEPT = "UPDATE logged_models SET status = 1, lifecycle_stage = 'active' WHERE model_id = ?"


def half_kept(world: World) -> None:
    unneeded = next(
        run for run in runs(world, "trial") if run.data.tags["embedsweep.number"] == "1"
    )
    sql(UNKEPT, unneeded.data.tags["embedsweep.model"].removeprefix("models:/"))(world)
    client(world).delete_run(unneeded.info.run_id)


DOCTOR = [
    Row(
        "run `embedsweep rollback {…} --to {…}` to make version {…} champion again",
        steps(swept, moved, type_("doctor")),
    ),
    Row(
        "sweep experiment {…} again, which ends it and goes on from there",
        steps(swept, stale, type_("doctor")),
        the_sweep,
    ),
    Row("remove it with `embedsweep gc --delete`", steps(swept, half_kept, type_("doctor"))),
    Row(
        "publish the trial again, or restore the model's files from a backup",
        steps(swept, lost, type_("doctor")),
        RESTORED,
    ),
    Row("run {…} while it can be done", steps(swept, deleted_run, type_("doctor"))),
    Row(
        "check that the file can be read, or restore it from a backup",
        steps(
            swept,
            lambda world: world.path("mlruns/study.db").write_bytes(b"garbage" * 99),
            type_("doctor"),
        ),
        then(steps(lambda world: world.path("mlruns/study.db").unlink(), as_swept)),
    ),
    Row(
        "make it writable, or name another one in the environment file",
        steps(
            swept,
            file("own.env", "EMBEDSWEEP_ARTIFACTS=train.jsonl\n"),
            type_("doctor --stores own.env"),
        ),
        then(file("own.env", "EMBEDSWEEP_ARTIFACTS=mlruns/artifacts\n")),
    ),
]

ROWS = [*TRIALS, *MODELS, *DOCTOR]
