"""Advice on BEIR folders, on files sent to be trained on, and on what programs ask for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import training_file
from embedsweep.data.usage import check_spec
from tests.e2e.advice_data import GOOD_ROWS, REPAIRED, TRAIN
from tests.e2e.advice_world import Row, Step, World, drop, file, put, remove_row, steps, then
from tests.e2e.small_project import LABELLED, rows

TEXTS = [{"_id": f"d{i}", "title": "", "text": f"document {i}"} for i in range(60)]
ASKED = [{"_id": f"q{i}", "text": f"query {i}", "kind": f"k{i % 2}"} for i in range(60)]
JUDGED = [("query-id", "corpus-id", "score"), *((f"q{i}", f"d{i}", "1") for i in range(60))]


def beir(
    texts: list[dict[str, str]] = TEXTS,
    asked: list[dict[str, str]] = ASKED,
    judged: list[tuple[str, ...]] = JUDGED,
) -> Step:
    def write_it(world: World) -> None:
        world.path("beir/qrels").mkdir(parents=True, exist_ok=True)
        file("beir/corpus.jsonl", "".join(json.dumps(each) + "\n" for each in texts))(world)
        file("beir/queries.jsonl", "".join(json.dumps(each) + "\n" for each in asked))(world)
        file("beir/qrels/train.tsv", "".join("\t".join(each) + "\n" for each in judged))(world)
        world.put("data", {"beir": "beir", "split": {"valid": 0.3, "test": 0.3}})
        world.put("objective", "mrr@10")
        world.put("search.arms[0].loss", ["multiple_negatives_ranking"])

    return write_it


def rename(old: str, new: str) -> Step:
    return lambda world: world.path(f"beir/qrels/{old}").rename(world.path(f"beir/qrels/{new}"))


def twice(world: World) -> None:
    """Judgements to validate on under two names."""
    world.put("data.split", {"test": 0.3})
    for name in ("dev.tsv", "val.tsv"):
        file(f"beir/qrels/{name}", "".join("\t".join(each) + "\n" for each in JUDGED[40:]))(world)


WHOLE = then(beir())

BEIR = [
    Row(
        "give the folder that holds it",
        steps(beir(), put("data.beir", "beir/corpus.jsonl")),
        then(put("data.beir", "beir")),
    ),
    Row(
        "add the key, or remove 'slice_by' from data",
        steps(
            beir(asked=[*ASKED[:-1], {"_id": "q59", "text": "query 59"}]),
            put("data.slice_by", "kind"),
            put("data.split.valid", 0.6),
        ),
        then(drop("data.slice_by")),
    ),
    Row(
        "write a whole number, such as 1 for relevant and 0 for a grade below 0",
        beir(judged=[*JUDGED[:-1], ("q59", "d59", "1.5")]),
        WHOLE,
    ),
    Row(
        "rename {…} to {…} and write under data '{…}'",
        steps(beir(), drop("data.split"), rename("train.tsv", "test.tsv")),
        then(
            steps(rename("test.tsv", "train.tsv"), put("data.split", {"valid": 0.2, "test": 0.2}))
        ),
    ),
    Row(
        "keep one of them",
        steps(beir(judged=JUDGED[:40]), twice),
        then(lambda world: world.path("beir/qrels/val.tsv").unlink()),
    ),
    Row("write {…} as the first line", beir(judged=[("x", "y"), *JUDGED[1:]]), WHOLE),
    Row(
        "write {…} fields between tabs",
        beir(judged=[*JUDGED[:-1], ("q59", "0", "d59", "1")]),
        WHOLE,
    ),
    Row(
        "correct the path under beir",
        steps(beir(), put("data.beir", "none")),
        then(put("data.beir", "beir")),
    ),
    Row(
        "take the document and its judgements out",
        beir(texts=[*TEXTS, {"_id": "d99", "title": "", "text": ""}]),
        remove_row,
    ),
    Row(
        "add the other documents",
        beir(texts=TEXTS[:1], judged=[JUDGED[0], *((f"q{i}", "d0", "1") for i in range(60))]),
        WHOLE,
    ),
    Row("give each its own id", beir(texts=[*TEXTS, {**TEXTS[0], "text": "another"}]), WHOLE),
    Row("keep one of the two lines", beir(judged=[*JUDGED, JUDGED[-1]]), remove_row),
    Row("give a file with judgements in it", beir(judged=JUDGED[:1]), WHOLE),
    Row(
        "judge a document 1 or higher, or take the query out",
        beir(judged=[*JUDGED[:-1], ("q59", "d59", "0")]),
        WHOLE,
    ),
    Row(
        "judge a document 1 or higher, or take the query out",
        beir(judged=[*JUDGED[:-1], ("q59", "d59", "0")]),
        remove_row,
    ),
    Row(
        "add the {…} to {…}, or take the line out",
        beir(judged=[*JUDGED, ("q1", "d99", "1")]),
        remove_row,
    ),
    Row(
        "add the {…} to {…}, or take the line out",
        beir(judged=[*JUDGED, ("q1", "d99", "1")]),
        then(
            beir(
                texts=[*TEXTS, {"_id": "d99", "text": "new"}], judged=[*JUDGED, ("q1", "d99", "1")]
            )
        ),
    ),
]


def spec(**changes: object) -> Step:
    """What a program may ask for, past the experiment file."""

    def make(world: World) -> None:
        world.values["spec"] = DataSpec(**{"name": "mine", **changes})

    return make


def checked(world: World) -> None:
    check_spec(world.values["spec"])


ROW_FILE = Path("train.jsonl")
RULE = SplitRule(0.2, 0.2, 7, None)
SOUND = then(spec(train=ROW_FILE, split=RULE))

SPECS = [
    Row(
        "write 'score_range: [LOWEST, HIGHEST]'",
        spec(train=ROW_FILE, split=RULE, score_range=(5, 0)),
        then(spec(train=ROW_FILE, split=RULE, score_range=(0, 5))),
        checked,
    ),
    Row(
        "lower the shares", spec(train=ROW_FILE, split=SplitRule(0.6, 0.6, 7, None)), SOUND, checked
    ),
    Row(
        "take 'split.{…}' or the file out",
        spec(train=ROW_FILE, valid=Path("v"), split=RULE),
        SOUND,
        checked,
    ),
    Row("give a {…} file, or add under data 'split: {{…}}'", spec(train=ROW_FILE), SOUND, checked),
    Row("give one of them", spec(), SOUND, checked),
    Row(
        "write 'builtin: {…}'",
        spec(builtin="mine"),
        then(spec(builtin="python-docs", split=RULE)),
        checked,
    ),
    Row(
        "take {…} out",
        spec(builtin="python-docs", split=RULE, format="pairs"),
        then(spec(builtin="python-docs", split=RULE)),
        checked,
    ),
    Row(
        "name a known format, or leave it out",
        spec(train=ROW_FILE, split=RULE, format="x"),
        SOUND,
        checked,
    ),
    Row(
        "write '<field>: <key in the file>'",
        spec(train=ROW_FILE, split=RULE, columns={"x": "y"}),
        then(spec(train=ROW_FILE, split=RULE, columns={"text": "y"})),
        checked,
    ),
    Row("raise it or leave it out", spec(train=ROW_FILE, split=RULE, max_train=0), SOUND, checked),
]


def training(read: Callable[[Path], object]) -> Step:
    return lambda world: read(world.path(TRAIN))


def measured(path: Path) -> object:
    return training_file.read_validation_file(path, training_file.read_training_file(path))


UPLOADS = [
    Row(
        "add rows that differ from these",
        file(TRAIN, rows(LABELLED[:1])),
        REPAIRED,
        training(training_file.read_training_file),
    ),
    Row(
        "add texts of the same labels",
        file(TRAIN, rows(LABELLED[:3])),
        REPAIRED,
        training(measured),
    ),
    Row(
        "upload the unpacked file",
        file(TRAIN, gzip.compress(GOOD_ROWS.encode())),
        REPAIRED,
        training(training_file.read_training_file),
    ),
]

ROWS = [*BEIR, *SPECS, *UPLOADS]
