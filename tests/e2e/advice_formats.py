"""Advice on files of other kinds, on their columns, and on folders of files."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from embedsweep.core.errors import Fault
from tests.e2e.advice_data import CSV_ROWS, GOOD_ROWS, REPAIRED, SCORED, TRAIN, csv, in_scores, line
from tests.e2e.advice_world import (
    UNSEEN,
    Row,
    World,
    drop,
    file,
    pairs,
    put,
    remove_row,
    steps,
    swap,
    then,
)
from tests.e2e.small_project import LABELLED, PAIRS, rows


def archive(member: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        zipped.writestr(member, GOOD_ROWS)
    return held.getvalue()


KINDS = {
    "fetch the data with 'git lfs pull'": b"version https://git-lfs.github.com/spec/v1\noid x\n",
    "unpack it with 'bunzip2', or compress it with gzip": b"BZh91AY&SY",
    "unpack it with 'unxz', or compress it with gzip": b"\xfd7zXZ\0\0",
    "unpack it with 'unzstd', or compress it with gzip": b"\x28\xb5\x2f\xfd\0",
    "unpack it and give the file inside": b"Rar!\x1a\x07",
    "unpack it with 'tar -xf' and give the file inside": b"\0" * 257 + b"ustar\0" + b"\0" * 200,
    "unpack it with 'unzip' and give the file or folder inside": archive(TRAIN),
    "open it in the program that wrote it and save the sheet as CSV": archive("xl/workbook.xml"),
    "save the table as CSV": archive("word/document.xml"),
    "give a file of rows, such as CSV or JSON Lines": b"%PDF-1.7\n",
    "export the table as CSV": b"SQLite format 3\0",
    "write the texts as CSV or JSON Lines": b"\x93NUMPY\x01\0",
    "write the table as Parquet": b"ORC\x08\x01",
    "download the data file itself": b"<!DOCTYPE html><html>sign in</html>",
    "write the rows as JSON Lines": b"<?xml version='1.0'?><rows/>",
}
"""What a file that is no text begins with, by the advice that it gets."""


def as_quoted(world: World, fault: Fault) -> None:
    """Write the first lines that the advice quotes under ``data``."""
    told = fault.fix.split(" if it does")[0].split("; or ")[0]
    for text in re.findall(r"'(\w+: [^']+)'", told):
        for key, value in yaml.safe_load(text).items():
            world.put(f"data.{key}", value)


OTHER_NAMES = (
    GOOD_ROWS.replace('"text"', '"body"').replace("metadata", "facts").replace("label", "sort")
)
TWO_TEXTS = rows(
    [{"utterance": row["text"], "sentence": row["text"], **row["metadata"]} for row in LABELLED]
)
TWO_KINDS = rows(
    [
        {"text": f"t {i}", "label": f"l {i % 3}", "anchor": f"a {i}", "positive": f"b {i}"}
        for i in range(60)
    ]
)


def flagged(key: str, yes: object, no: object) -> list[dict[str, object]]:
    """Pairs, each next to one that does not belong together."""
    kept = [{**row, key: yes} for row in PAIRS]
    return [*kept, *({**row, "positive": f"other {n}", key: no} for n, row in enumerate(PAIRS))]


MARKED = [{**row, "label": 0} for row in PAIRS]

LISTED = [{**row, "positive": [row["positive"]], "label": [1]} for row in PAIRS]

COLUMNS = [
    Row(
        "correct the row or remove it",
        steps(pairs, file(TRAIN, rows([*LISTED, {**LISTED[0], "label": [1, 0]}]))),
        remove_row,
    ),
    Row("say which is which under data, such as {…}", file(TRAIN, OTHER_NAMES), as_quoted),
    Row(
        "give a file with a column for each of these",
        csv("alone\n" + "a\n" * 30),
        then(csv(CSV_ROWS)),
    ),
    Row("write under data one of these: {…}", file(TRAIN, TWO_KINDS), as_quoted, code=2),
    Row(
        "write under data {…} if it does; or {…} if no column does",
        steps(pairs, file(TRAIN, rows(flagged("flag", "yes", "no")))),
        as_quoted,
    ),
    Row(
        "write 1 or 0; if it says something else, {…}{…}",
        steps(pairs, file(TRAIN, rows(flagged("label", "good", "bad")))),
        then(file(TRAIN, rows(flagged("label", 1, 0)))),
    ),
    Row(
        "keep the rows of entailment alone and drop the column, or write 1 or 0",
        steps(pairs, file(TRAIN, rows(flagged("label", "entailment", "neutral")))),
        then(file(TRAIN, rows(flagged("label", 1, 0)))),
    ),
    Row("name one under data: 'columns: {{…}: {…}}'", file(TRAIN, TWO_TEXTS), as_quoted),
    Row(
        "name one under data: 'columns: {{…}: {…}}'",
        steps(put("data.format", "labelled"), put("data.columns", {"text": "txt"})),
        as_quoted,
    ),
    Row(
        "write that list alone, as a JSON array, to the file",
        file(TRAIN, json.dumps({"data": LABELLED})),
        then(file(TRAIN, json.dumps(LABELLED))),
    ),
    Row("add the key, or {…}", line(5, '{"text": "a"}'), remove_row),
    Row("add the key, or {…}", line(5, '{"text": "a"}'), REPAIRED),
    Row(
        "write the text or remove the row",
        line(5, '{"text": " ", "metadata": {"label": "class 1"}}'),
        remove_row,
    ),
    Row(
        'write it as text, "{…}", if it is a name',
        line(5, '{"text": "a", "metadata": {"label": 1.5}}'),
        then(swap("1.5", '"1.5"', TRAIN)),
    ),
    Row(
        "add the missing fields, or remove the row",
        csv(CSV_ROWS + "alone\n"),
        then(csv(CSV_ROWS)),
    ),
    Row(
        "make the first line the one that names the columns",
        csv("# exported\n" + CSV_ROWS),
        then(csv(CSV_ROWS)),
    ),
    Row(
        'put quotes around fields that hold "{…}"',
        csv(CSV_ROWS + "a, b,class 1\n"),
        then(csv(CSV_ROWS + '"a, b",class 1\n')),
    ),
    Row(
        "save the file as UTF-8, which Excel calls CSV UTF-8",
        steps(
            csv(CSV_ROWS),
            file("train.csv", CSV_ROWS.replace("text number 1", "t\u00e9xt").encode("latin-1")),
        ),
        then(csv(CSV_ROWS)),
    ),
    Row(
        "add rows with the label 1",
        steps(
            file(TRAIN, rows(MARKED)),
            put("data.format", "pairs"),
            put("objective", "mrr@10"),
            put("search.arms[0].loss", ["multiple_negatives_ranking"]),
        ),
        then(file(TRAIN, rows([{**row, "label": 1} for row in PAIRS]))),
    ),
]

ARRAY = json.dumps(LABELLED, indent=1)

ARRAYS = [
    Row(
        "correct the JSON of the file",
        file(TRAIN, ARRAY.replace('"text number 5 of 2"', "text")),
        then(file(TRAIN, ARRAY)),
    ),
    Row(
        "write plain JSON in the array",
        file(TRAIN, ARRAY.replace('"text number 5 of 2"', "NaN")),
        then(file(TRAIN, ARRAY)),
    ),
    Row(
        "write the rest of the array, or a comma between two elements",
        file(TRAIN, ARRAY.rstrip("]")),
        then(file(TRAIN, ARRAY)),
    ),
    Row(
        "write the rows as objects",
        file(TRAIN, ARRAY.replace("[", "[5, ", 1)),
        then(file(TRAIN, ARRAY)),
    ),
    Row("{…}, or one array", file(TRAIN, ARRAY + "{}"), then(file(TRAIN, ARRAY))),
    Row(
        "{…}, or all rows in one array",
        file(TRAIN, json.dumps(LABELLED[0], indent=1)),
        then(file(TRAIN, ARRAY)),
    ),
]

STRANGE = [{**row, "score": i % 8} for i, row in enumerate(SCORED)]
OUT_OF_FIVE = [{**row, "score": i % 6} for i, row in enumerate(SCORED)]

SCALES = [
    Row(
        "write two numbers, the lower one first, such as [0, 5]",
        steps(in_scores, put("data.score_range", [5, 0])),
        then(put("data.score_range", [0, 5])),
    ),
    Row(
        "remove the key, or write format: scored",
        steps(in_scores, put("data.format", "pairs"), put("data.score_range", [0, 1])),
        then(put("data.format", "scored")),
    ),
    Row(
        "remove 'score_range' from data",
        put("data.score_range", [0, 5]),
        then(drop("data.score_range")),
    ),
    Row(
        "write the lowest and the highest possible score under data, such as {…}",
        steps(in_scores, file(TRAIN, rows(STRANGE))),
        as_quoted,
    ),
    Row(
        "correct the score, or widen 'score_range' under data",
        steps(in_scores, file(TRAIN, rows(OUT_OF_FIVE)), put("data.score_range", [0, 4])),
        then(put("data.score_range", [0, 5])),
    ),
]


def table(world: World) -> bytes:
    held = pa.table(
        {"text": [r["text"] for r in LABELLED], "label": [r["metadata"]["label"] for r in LABELLED]}
    )
    sink = io.BytesIO()
    pq.write_table(held, sink)
    return sink.getvalue()


def cut_off(world: World) -> None:
    file("train.parquet", table(world)[:-50])(world)
    world.put("data.train", "train.parquet")


def whole(world: World) -> None:
    file("train.parquet", table(world))(world)


SUBSETS = """---
configs:
- {config_name: a, data_files: a.jsonl}
- {config_name: b, data_files: b.jsonl}
---
"""


def hub(world: World) -> None:
    """A data set with two subsets, in the hub's layout."""
    world.path("set").mkdir(exist_ok=True)
    file("set/README.md", SUBSETS)(world)
    for name in ("a", "b"):
        file(f"set/{name}.jsonl", GOOD_ROWS)(world)
    world.drop("data.train")
    world.put("data.hf", "set")


def a_folder(world: World) -> None:
    world.path("folder").mkdir()
    world.put("data.train", "folder")


def beir_folder(world: World) -> None:
    from tests.e2e.advice_sources import beir

    beir()(world)
    world.put("data", {"train": "beir", "split": {"valid": 0.3, "test": 0.3}})


def as_beir(world: World, fault: Fault) -> None:
    world.drop("data.train")
    as_quoted(world, fault)


def without_valid(world: World) -> None:
    world.path("parts").mkdir()
    file("parts/train.jsonl", GOOD_ROWS)(world)
    file("parts/test.jsonl", GOOD_ROWS)(world)
    file("valid.jsonl", rows(UNSEEN))(world)
    world.put("data", {"train": TRAIN, "valid": "parts", "split": {"test": 0.3}})


FOLDERS = [
    Row("give the file for {…} itself", without_valid, then(put("data.valid", "valid.jsonl"))),
    Row("write the table again", cut_off, then(whole)),
    Row(
        "give a file, or a folder with such files",
        a_folder,
        then(file("folder/rows.jsonl", GOOD_ROWS)),
    ),
    Row("give a file, or a folder with such files", a_folder, then(put("data.train", TRAIN))),
    Row("name it under data as 'beir: {…}'", beir_folder, as_beir),
    Row("name one under data: 'hf: {…}' and 'subset: {…}'", hub, as_quoted),
    Row("write 'subset: {…}' under data", steps(hub, put("data.subset", "c")), as_quoted),
    Row(
        "remove 'subset' from data",
        steps(hub, put("data.subset", "c"), file("set/README.md", "")),
        then(drop("data.subset")),
    ),
    Row(
        "remove the key, or add hf: OWNER/NAME", put("data.subset", "a"), then(drop("data.subset"))
    ),
    Row(
        "correct the name or the revision, or download it and give its folder",
        steps(hub, put("data.hf", "no/such")),
        then(steps(put("data.hf", "set"), put("data.subset", "a"))),
    ),
]

ROWS = [
    *(Row(advice, file(TRAIN, start), REPAIRED) for advice, start in KINDS.items()),
    *COLUMNS,
    *ARRAYS,
    *SCALES,
    *FOLDERS,
]
