"""Parquet, saved `datasets` folders and data sets of the hub, written by the library itself."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from embedsweep.core.dataset import Split
from embedsweep.core.errors import DataError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import load_dataset
from tests.unit.data_writing import HALVES, misuse, only_fault, refusal, write_jsonl

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["billing", "shipping"]


def table(mark: str, count: int = 40) -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    columns = {
        "text": [f"{mark} {n}" for n in range(count)],
        "label": [n % 2 for n in range(count)],
    }
    return Dataset.from_dict(columns, features=features)


@pytest.fixture
def saved(tmp_path) -> Path:
    """A saved `DatasetDict` of three splits."""
    parts = {name: table(name) for name in ("train", "validation", "test")}
    DatasetDict(parts).save_to_disk(
        str(tmp_path / "saved"), num_shards={"train": 2, **dict.fromkeys(("validation", "test"), 1)}
    )
    return tmp_path / "saved"


def plain(tmp_path, *names: str) -> DataSpec:
    paths = []
    for name in names:
        rows = [{"text": f"{name} {n}", "label": NAMES[n % 2]} for n in range(40)]
        paths.append(write_jsonl(tmp_path / f"{name}.jsonl", rows))
    return DataSpec("small", **dict(zip(("train", "valid", "test"), paths, strict=True)))


@pytest.fixture
def expected(tmp_path) -> str:
    return load_dataset(plain(tmp_path, "train", "validation", "test")).fingerprint


def test_a_saved_folder_gives_its_splits_and_the_names_of_its_classes(saved, expected):
    dataset = load_dataset(DataSpec("small", train=saved))
    assert dataset.fingerprint == expected
    assert {row.label for row in dataset.train.texts} == set(NAMES)
    assert dataset.sealed_test().split is Split.TEST
    (line,) = dataset.recognised()
    assert line.endswith("Arrow, read as labelled: text = text, label = label")


def test_a_part_of_a_saved_folder_is_a_file_like_any_other(saved, expected):
    parts = {"train": saved / "train", "valid": saved / "validation", "test": saved / "test"}
    assert load_dataset(DataSpec("small", **parts)).fingerprint == expected
    whole = {"train": saved / "train", "valid": saved, "test": saved}
    assert load_dataset(DataSpec("small", **whole)).fingerprint == expected


def test_a_folder_of_one_part_needs_shares(saved):
    assert (
        "neither a valid file nor a share"
        in misuse(DataSpec("s", train=saved / "train")).faults[0].why
    )
    halves = load_dataset(DataSpec("s", train=saved / "train", split=HALVES))
    assert sum(halves.rows.values()) == 40
    both = misuse(DataSpec("s", train=saved, split=SplitRule(0.2, 0.0)))
    assert "a file of its own and a share" in both.faults[0].why


@pytest.mark.parametrize(
    "layout", ["data/{}-00000-of-00001.parquet", "{}.parquet", "{}/part.parquet"]
)
def test_parquet_is_read_by_the_names_of_files_or_folders(tmp_path, expected, layout):
    for name in ("train", "validation", "test"):
        path = tmp_path / "hub" / layout.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table(name).to_parquet(str(path))
    assert load_dataset(DataSpec("small", train=tmp_path / "hub")).fingerprint == expected


def test_what_a_folder_has_besides_is_named(tmp_path):
    table("train").to_parquet(str(tmp_path / "a.parquet"))
    write_jsonl(tmp_path / "notes.jsonl", [{"a": 1}])
    dataset = load_dataset(DataSpec("small", train=tmp_path, split=HALVES))
    assert f"{tmp_path}: 1 file not read, such as notes.jsonl" in dataset.warnings


def test_a_class_without_a_name_is_a_fault_with_its_row(tmp_path):
    rows = table("train").to_dict()
    rows["label"][4] = -1
    Dataset.from_dict(rows, features=table("train").features).to_parquet(
        str(tmp_path / "a.parquet")
    )
    fault = only_fault(tmp_path / "a.parquet")
    assert (fault.line, fault.what) == (5, "key 'label'")
    assert "found null" in fault.why


def test_numbers_and_missing_values_of_tables(tmp_path):
    columns = {
        "query": [f"q {n}" for n in range(40)],
        "positive": [f"p {n}" for n in range(40)],
        "negative_1": [f"n {n}" for n in range(40)],
        "negative_2": [None if n % 2 else f"m {n}" for n in range(40)],
        "__index_level_0__": list(range(40)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    dataset = load_dataset(DataSpec("s", train=tmp_path / "a.parquet", split=HALVES))
    assert {len(pair.negatives) for pair in dataset.train.pairs} == {1, 2}
    assert any("not read: __index_level_0__ (40 rows)" in note for note in dataset.warnings)


def test_a_damaged_or_changed_table_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    table("train").to_parquet(str(path))
    content = path.read_bytes()
    dataset = load_dataset(DataSpec("s", train=path, split=HALVES))
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match="digest changed"):
        dataset.sealed_test()
    path.write_bytes(content[: len(content) // 2])
    assert "reading broke off" in only_fault(path).why


HEAD = """---
configs:
- config_name: fine
  data_files:
  - {split: train, path: "fine/a-*"}
  - {split: validation, path: fine/b.parquet}
  - {split: test, path: [fine/c.parquet]}
- config_name: coarse
  data_files: coarse.parquet
---
# A data set
"""


@pytest.fixture
def hub(tmp_path) -> Path:
    """A cache in the hub's layout, and the folder of its one commit."""
    store = tmp_path / "hub" / "datasets--acme--tickets"
    (store / "refs").mkdir(parents=True)
    (store / "refs" / "main").write_text(COMMIT)
    folder = store / "snapshots" / COMMIT
    (folder / "fine").mkdir(parents=True)
    for name, file in (("train", "a-0"), ("validation", "b"), ("test", "c")):
        table(name).to_parquet(str(folder / "fine" / f"{file}.parquet"))
    table("coarse").to_parquet(str(folder / "coarse.parquet"))
    (folder / "README.md").write_text(HEAD)
    return folder


CODE = """
import sys
from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset
spec = DataSpec("s", hf="acme/tickets", revision=sys.argv[1] or None, subset="fine")
dataset = load_dataset(spec)
print(dataset.fingerprint, *dataset.sources.values())
"""


@pytest.mark.parametrize("revision", ["", "main", COMMIT])
def test_a_data_set_of_the_hub_is_read_at_its_commit(tmp_path, hub, expected, revision):
    # A process of its own, because the hub's client reads its settings when it is imported.
    settings = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", CODE, revision],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert said == [expected, *[f"hf:acme/tickets@{COMMIT}"] * 3]


def test_a_folder_in_the_hubs_layout_is_read_where_it_lies(hub, expected):
    assert load_dataset(DataSpec("s", hf=str(hub), subset="fine")).fingerprint == expected
    with pytest.raises(DataError, match="has the subsets fine, coarse"):
        load_dataset(DataSpec("s", hf=str(hub)))
    coarse = load_dataset(DataSpec("s", hf=str(hub), subset="coarse", split=HALVES))
    assert sum(coarse.rows.values()) == 40
    with pytest.raises(DataError, match="expected one of fine, coarse"):
        load_dataset(DataSpec("s", hf=str(hub), subset="medium"))


def test_a_data_set_that_is_not_at_hand_is_one_error():
    (fault,) = refusal(DataSpec("s", hf="acme/no-such-thing", revision=COMMIT)).faults
    assert fault.what == "data set acme/no-such-thing"
    assert "download it and give its folder" in fault.fix


def archive(path: Path, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for member in members:
            made.writestr(member, "x")


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        (
            ("[Content_Types].xml", "xl/workbook.xml"),
            "an Excel workbook (.xlsx)",
            "save the sheet as CSV",
        ),
        (("content.xml", "mimetype"), "an OpenDocument file", "save the sheet as CSV"),
        (("a/train.parquet", "a/test.parquet"), "a ZIP archive of 2 files", "unzip"),
        (b"BZh91AY&SY", "compressed with bzip2", "bunzip2"),
        (b"\xfd7zXZ\0more", "compressed with xz", "unxz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls)", "as CSV"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page", "download"),
        (b"<html>\n", "an HTML page", "download"),
        (b"<?xml version='1.0'?><rows/>", "an XML document", "JSON Lines"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"%PDF-1.7\n", "a PDF document", "CSV or JSON Lines"),
        (b"\0" * 257 + b"ustar\x0000" + b"\0" * 300, "a tar archive", "tar -xf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train.parquet"])
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path, name, content, what, fix):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        archive(path, *content)
    fault = only_fault(path)
    assert f"it is {what}" in fault.why
    assert fix in fault.fix
