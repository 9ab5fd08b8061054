"""Advice on the data: files, rows, splits, BEIR folders and training files."""

from __future__ import annotations

import gzip
from pathlib import Path

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import TextFile
from tests.e2e.advice_world import (
    Row,
    Step,
    World,
    drop,
    file,
    put,
    remove_row,
    steps,
    swap,
    then,
)
from tests.e2e.small_project import LABELLED, PAIRS, rows

TRAIN = "train.jsonl"
GOOD_ROWS = rows(LABELLED)
SCORED = [
    {"sentence1": f"first {i}", "sentence2": f"second {i}", "score": i % 5 / 4} for i in range(60)
]


def line(number: int, content: str) -> Step:
    """Another content of a line of the training file."""

    def write_it(world: World) -> None:
        lines = GOOD_ROWS.splitlines()
        lines[number - 1] = content
        file(TRAIN, "\n".join(lines) + "\n")(world)

    return write_it


REPAIRED = then(file(TRAIN, GOOD_ROWS))


def csv(content: str) -> Step:
    return steps(file("train.csv", content), put("data.train", "train.csv"))


CSV_ROWS = "text,label\n" + "".join(f"text number {i},class {i % 3}\n" for i in range(60))


def in_pairs(world: World) -> None:
    file(TRAIN, rows(PAIRS))(world)
    world.put("objective", "mrr@10")
    world.put("search.arms[0].loss", ["multiple_negatives_ranking"])


def in_scores(world: World) -> None:
    file(TRAIN, rows(SCORED))(world)
    world.put("objective", "spearman")
    world.put("search.arms[0].loss", ["cosent"])


def own_splits(**files: list[dict[str, object]]) -> Step:
    """Files of their own for valid and test."""

    def write_them(world: World) -> None:
        world.put("data", {split: f"{split}.jsonl" for split in ("train", "valid", "test")})
        for split, content in files.items():
            file(f"{split}.jsonl", rows(content))(world)

    return write_them


def numbered(start: int, stop: int) -> list[dict[str, object]]:
    return [
        {"text": f"row {i}", "metadata": {"label": f"class {i % 3}"}} for i in range(start, stop)
    ]


FILES = [
    Row(
        "correct the path under data",
        put("data.train", "none.jsonl"),
        then(put("data.train", TRAIN)),
    ),
    Row(
        "give a path that can be read", put("data.train", "x" * 300), then(put("data.train", TRAIN))
    ),
    Row(
        "give the file inside it (a BEIR folder goes to beir)",
        lambda world: world.values.update(file=world.folder),
        lambda world, fault: world.values.update(file=world.path(TRAIN)),
        lambda world: _lines(world.values["file"]),
    ),
    Row("give a regular file", put("data.train", "/dev/null"), then(put("data.train", TRAIN))),
    Row(
        "make the file whole again",
        steps(
            file("train.jsonl.gz", gzip.compress(GOOD_ROWS.encode())[:-20]),
            put("data.train", "train.jsonl.gz"),
        ),
        then(file("train.jsonl.gz", gzip.compress(GOOD_ROWS.encode()))),
    ),
    Row("give a file with rows in it", file(TRAIN, "\n \n"), REPAIRED),
    Row(
        "write one record per line",
        file(TRAIN, GOOD_ROWS + '{"text": "' + "x" * (1 << 26) + '"}'),
        REPAIRED,
    ),
    Row("save the file as UTF-8 without NULs", file(TRAIN, GOOD_ROWS + "\0\n"), REPAIRED),
    Row(
        "put the file back as it was, or sweep again on the new one",
        lambda world: world.values.update(read=_read(world.path(TRAIN))),
        REPAIRED,
        lambda world: _changed_once(world),
    ),
]


def _lines(path: Path) -> None:
    faults = FaultLog()
    list(TextFile(path).lines(faults))
    faults.raise_if_any()


def _read(path: Path) -> TextFile:
    found = TextFile(path)
    list(found.lines(FaultLog()))
    path.write_text(GOOD_ROWS + "\n")
    return found


def _changed_once(world: World) -> None:
    world.values["read"].verify()


JSON_ROWS = [
    Row("write one plain object on the line", line(5, '{"text": "a", "text": "b"}'), REPAIRED),
    Row("correct the JSON of the line", line(5, '{"text": a}'), REPAIRED),
    Row("write the rest of the line, or take the line out", line(5, '{"text": "a", '), REPAIRED),
    Row("write the rest of the line, or take the line out", line(5, '{"text": "a", '), remove_row),
    Row("write one JSON object per line", line(5, '{"text": "a"} {"text": "b"}'), REPAIRED),
    Row("write one JSON object per line", line(5, "[1, 2]"), remove_row),
    Row("correct the value", line(5, '{"text": 5, "metadata": {"label": "x"}}'), REPAIRED),
    Row(
        "remove it from the text",
        line(5, r'{"text": "text \u0000 5 of 2", "metadata": {"label": "class 2"}}'),
        then(swap(r"\u0000 ", "", TRAIN)),
    ),
    Row(
        "close every quote, double quotes inside",
        csv(CSV_ROWS + '"text 61,class 1\n'),
        then(csv(CSV_ROWS)),
    ),
    Row(
        "give each column a name of its own",
        csv(CSV_ROWS.replace("text,label", "text,label,text")),
        then(csv(CSV_ROWS)),
    ),
]

SPLITS = [
    Row(
        "give {…} rows, or change the split",
        steps(file(TRAIN, rows(LABELLED[:3])), put("data.split", {"valid": 0.01, "test": 0.01})),
        then(steps(file(TRAIN, GOOD_ROWS), put("data.split", {"valid": 0.3, "test": 0.3}))),
    ),
    Row(
        "add rows of another label",
        own_splits(
            train=[{**row, "metadata": {"label": "class 0"}} for row in numbered(0, 9)],
            valid=[{**row, "metadata": {"label": "class 0"}} for row in numbered(10, 19)],
            test=[{**row, "metadata": {"label": "class 0"}} for row in numbered(20, 29)],
        ),
        then(own_splits(train=numbered(30, 60))),
    ),
    Row(
        "add rows of this label to train, raise max_train, or take these rows out",
        own_splits(
            train=numbered(0, 30),
            valid=[*numbered(30, 60), {"text": "a", "metadata": {"label": "new"}}],
            test=numbered(60, 90),
        ),
        remove_row,
    ),
    Row(
        "give {…} more rows of each label",
        own_splits(train=numbered(0, 30), valid=numbered(30, 33), test=numbered(60, 90)),
        then(own_splits(valid=numbered(30, 60))),
    ),
    Row(
        "take one of the two out, or write 'on_overlap: drop_from_train' under data",
        own_splits(
            train=[*numbered(0, 30), *numbered(30, 31)],
            valid=numbered(30, 60),
            test=numbered(60, 90),
        ),
        remove_row,
    ),
    Row(
        "take one of the two out, or write 'on_overlap: drop_from_train' under data",
        own_splits(
            train=[*numbered(0, 30), *numbered(30, 31)],
            valid=numbered(30, 60),
            test=numbered(60, 90),
        ),
        then(put("data.on_overlap", "drop_from_train")),
    ),
    Row(
        "give {…} pairs with different positives",
        steps(
            in_pairs,
            own_splits(
                train=PAIRS[:20],
                valid=[{**row, "positive": "the same"} for row in PAIRS[20:30]],
                test=PAIRS[30:],
            ),
        ),
        then(own_splits(valid=PAIRS[20:30])),
    ),
    Row(
        "add pairs with other scores",
        steps(
            in_scores,
            own_splits(
                train=SCORED[:20],
                valid=[{**row, "score": 1} for row in SCORED[20:40]],
                test=SCORED[40:],
            ),
        ),
        then(own_splits(valid=SCORED[20:40])),
    ),
    Row(
        "name a field with fewer values, or take 'slice_by' out",
        put("data.slice_by", "text"),
        then(put("data.slice_by", "metadata.label")),
    ),
    Row(
        "name a field with fewer values, or take 'slice_by' out",
        put("data.slice_by", "text"),
        then(drop("data.slice_by")),
    ),
    Row(
        "use 'max_train' instead",
        steps(in_pairs, put("data.few_shot", 3)),
        then(steps(drop("data.few_shot"), put("data.max_train", 30))),
    ),
    Row(
        "give each split a file of its own, or name one file and a 'split' rule",
        steps(put("data", {"train": TRAIN, "valid": TRAIN, "test": TRAIN})),
        then(put("data", {"train": TRAIN, "split": {"valid": 0.2, "test": 0.2}})),
    ),
]

ROWS = [*FILES, *JSON_ROWS, *SPLITS]
