"""BEIR folders: reading, every fault of ids and grades, and the tasks they give."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from embedsweep.core.dataset import Pair, Split
from embedsweep.core.errors import DataError
from embedsweep.core.experiment import DataSpec, OnOverlap, SplitRule
from embedsweep.data import load_dataset
from tests.unit.data_writing import misuse, refusal, write_jsonl, write_lines

HEADER = "query-id\tcorpus-id\tscore"
DOCUMENTS = [{"_id": f"d{n}", "title": f"Title {n}", "text": f"body {n}"} for n in range(12)]
QUERIES = [{"_id": f"q{n}", "text": f"what is body {n}"} for n in range(12)]
QRELS = {
    "train": [f"q{n}\td{n}\t1" for n in range(6)],
    "dev": [f"q{n}\td{n}\t1" for n in range(6, 9)],
    "test": [f"q{n}\td{n}\t1" for n in range(9, 12)],
}


def folder(path: Path, documents=DOCUMENTS, queries=QUERIES, **qrels) -> Path:
    """A BEIR folder; a qrels file given as None is left out."""
    write_jsonl(path / "corpus.jsonl", documents)
    write_jsonl(path / "queries.jsonl", queries)
    for name, lines in {**QRELS, **qrels}.items():
        if lines is not None:
            write_lines(path / "qrels" / f"{name}.tsv", [HEADER, *lines])
    return path


def faults(path: Path) -> DataError:
    return refusal(DataSpec("small", beir=path))


def test_a_folder_gives_pairs_retrieval_and_relevance(tmp_path):
    documents = [
        *DOCUMENTS,
        {"_id": "untitled", "text": "no title"},
        {"_id": 7, "title": "bare", "text": ""},
    ]
    dev = [*QRELS["dev"], "q6\tuntitled\t3", "q6\td0\t0", "", "q7\t7\t2"]
    dataset = load_dataset(DataSpec("small", beir=folder(tmp_path, documents, dev=dev)))
    assert dataset.format == "beir"
    assert dataset.rows == {Split.TRAIN: 6, Split.VALID: 3, Split.TEST: 3}
    assert dataset.train.pairs[0] == Pair("what is body 0", "Title 0 body 0", group="q0")
    retrieval = dataset.valid.retrieval
    assert list(retrieval.queries) == ["q6", "q7", "q8"]
    assert len(retrieval.documents) == 14
    assert retrieval.documents["untitled"] == "no title"
    assert retrieval.documents["7"] == "bare"
    assert retrieval.judgements["q6"] == {"d6": 1, "untitled": 3, "d0": 0}
    assert not retrieval.leave_one_out
    assert sum(dataset.valid.relevance.relevant.values()) == 5
    assert set(dataset.valid.groups.values()) == {"q6", "q7", "q8"}
    test = dataset.sealed_test()
    assert list(test.retrieval.queries) == ["q9", "q10", "q11"]
    assert test.relevance.calibration == dataset.valid.relevance
    assert dataset.sources[Split.VALID] == str(tmp_path / "qrels" / "dev.tsv")


def test_graded_judgements_keep_their_grade_in_training(tmp_path):
    train = ["q0\td0\t3", "q0\td1\t1", "q0\td2\t0"]
    dataset = load_dataset(DataSpec("small", beir=folder(tmp_path, train=train)))
    assert [(pair.positive, pair.grade) for pair in dataset.train.pairs] == [
        ("Title 0 body 0", 3),
        ("Title 1 body 1", 1),
    ]


def test_valid_may_be_called_valid_and_files_may_be_zipped(tmp_path):
    plain = load_dataset(DataSpec("small", beir=folder(tmp_path / "plain")))
    path = folder(tmp_path / "zipped", dev=None, valid=QRELS["dev"])
    for file in [*path.glob("*.jsonl"), *path.glob("qrels/*.tsv")]:
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert load_dataset(DataSpec("small", beir=path)).fingerprint == plain.fingerprint


def test_the_corpus_belongs_to_the_digests(tmp_path):
    plain = load_dataset(DataSpec("small", beir=folder(tmp_path / "plain")))
    more = [*DOCUMENTS, {"_id": "more", "text": "more"}]
    grown = load_dataset(DataSpec("small", beir=folder(tmp_path / "grown", more)))
    differing = {split for split in Split if plain.digests[split] != grown.digests[split]}
    assert differing == {Split.VALID, Split.TEST}


def test_ids_given_twice_name_both_lines(tmp_path):
    documents = [*DOCUMENTS, DOCUMENTS[2], {"_id": "d3", "text": "other"}]
    queries = [*QUERIES, {"_id": "q5", "text": "other"}]
    error = faults(folder(tmp_path, documents, queries))
    assert [(f.where, f.line, f.why) for f in error.faults] == [
        (str(tmp_path / "corpus.jsonl"), 13, "line 3 has this id too, with the same text"),
        (str(tmp_path / "corpus.jsonl"), 14, "line 4 has this id too, with another text"),
        (str(tmp_path / "queries.jsonl"), 13, "line 6 has this id too, with another text"),
    ]


@pytest.mark.parametrize(
    ("line", "what", "why"),
    [
        ("nobody\td0\t1", 'query "nobody"', "queries.jsonl has no such id"),
        ("q0\tnothing\t1", 'document "nothing"', "corpus.jsonl has no such id"),
        ("q0\td5\t-1", "judgement", 'grade "-1", expected a whole number, 0 or higher'),
        ("q0\td5\t1.5", "judgement", 'grade "1.5", expected a whole number'),
        ("q0\td5\thigh", "judgement", 'grade "high"'),
        ("q0\td5\t", "judgement", 'grade ""'),
        ("q0\td5\t٣", "judgement", "expected a whole number"),
        ("q0\td5\t" + "9" * 5000, "judgement", "expected a whole number"),
        ("q0 d5 1", "judgement", "found 1 field between tabs"),
        ("q0\t0\td5\t1", "judgement", "found 4 fields between tabs"),
        ("q0\td0\t1", "judgement", "are judged twice"),
        ("q0\td0\t2", "judgement", "are judged twice"),
        ("q11\td5\t0", 'query "q11"', "none of its 1 judged document is relevant"),
    ],
)
def test_bad_judgements_are_reported_by_line(tmp_path, line, what, why):
    error = faults(folder(tmp_path, train=[*QRELS["train"], line]))
    assert error.total == 1
    (fault,) = error.faults
    assert (fault.where, fault.line) == (str(tmp_path / "qrels" / "train.tsv"), 8)
    assert fault.what == what
    assert why in fault.why


def test_a_query_without_a_relevant_document_is_reported_in_its_split(tmp_path):
    test = ["q9\td9\t1", "q10\td10\t0", "q10\td11\t0"]
    (fault,) = faults(folder(tmp_path, test=test)).faults
    assert (fault.where, fault.line) == (str(tmp_path / "qrels" / "test.tsv"), 3)
    assert "none of its 2 judged documents is relevant" in fault.why


@pytest.mark.parametrize(
    ("document", "what", "why"),
    [
        ({"_id": "x", "title": " ", "text": ""}, 'document "x"', "title and text are empty"),
        ({"_id": "x"}, 'document "x"', "title and text are empty"),
        ({"_id": "x", "text": 5}, "key 'text'", "found 5"),
        ({"text": "a"}, "missing key '_id'", 'has only "text"'),
        ({"_id": None, "text": "a"}, "key '_id'", "found null"),
        ({"_id": "", "text": "a"}, "key '_id'", 'found ""'),
        ({"_id": "x", "text": "a\x00"}, "key 'text'", "NUL at character 2"),
    ],
)
def test_bad_documents_are_reported_by_line(tmp_path, document, what, why):
    (fault,) = faults(folder(tmp_path, [*DOCUMENTS, document])).faults
    assert (fault.where, fault.line) == (str(tmp_path / "corpus.jsonl"), 13)
    assert fault.what == what
    assert why in fault.why


def test_a_bad_query_is_reported_and_its_judgements_are_not(tmp_path):
    queries = [{**query, "text": " "} if query["_id"] == "q2" else query for query in QUERIES]
    (fault,) = faults(folder(tmp_path, queries=queries)).faults
    assert (fault.where, fault.line) == (str(tmp_path / "queries.jsonl"), 3)


@pytest.mark.parametrize(
    "lines",
    [
        QRELS["test"],
        ["q9 0 d9 1", "q10 0 d10 1", "q11 0 d11 1"],
        ["q9\tQ0\td9\t1", "q10\tQ0\td10\t1", "q11\tQ0\td11\t1"],
        ["doc_id\tquery_id\trelevance", *(f"d{n}\tq{n}\t1.0" for n in (9, 10, 11))],
        ["Query-ID\titeration\tCorpus-ID\tScore", *(f"q{n}\t0\td{n}\t1" for n in (9, 10, 11))],
        [HEADER, *(f"{line}.00" for line in QRELS["test"])],
    ],
    ids=["no header", "TREC", "TREC with tabs", "other names", "more columns", "1.00"],
)
def test_judgements_may_have_any_usual_header_or_none(tmp_path, lines):
    plain = load_dataset(DataSpec("small", beir=folder(tmp_path / "plain")))
    path = folder(tmp_path / "other")
    write_lines(path / "qrels" / "test.tsv", lines)
    assert load_dataset(DataSpec("small", beir=path)).fingerprint == plain.fingerprint


def test_a_header_that_says_nothing_is_a_fault(tmp_path):
    path = folder(tmp_path)
    write_lines(path / "qrels" / "test.tsv", ["a\tb\tc", *QRELS["test"]])
    (fault,) = faults(path).faults
    assert (fault.what, fault.line) == ("header", 1)
    assert "query-id<TAB>corpus-id<TAB>score" in fault.fix


@pytest.mark.parametrize(("title", "text"), [(None, "body 0"), (1984, "1984 body 0")])
def test_a_title_may_be_null_or_a_number(tmp_path, title, text):
    documents = [{"_id": "d0", "title": title, "text": "body 0"}, *DOCUMENTS[1:]]
    dataset = load_dataset(DataSpec("small", beir=folder(tmp_path, documents)))
    assert dataset.valid.retrieval.documents["d0"] == text


@pytest.mark.parametrize("name", ["valid", "validation", "dev"])
def test_files_may_be_named_as_gzip_and_valid_in_three_ways(tmp_path, name):
    plain = load_dataset(DataSpec("small", beir=folder(tmp_path / "plain")))
    path = folder(tmp_path / "zipped", **{"dev": None, name: QRELS["dev"]})
    for file in [*path.glob("*.jsonl"), *path.glob("qrels/*.tsv")]:
        (file.parent / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert load_dataset(DataSpec("small", beir=path)).fingerprint == plain.fingerprint


def test_an_archive_is_named_for_what_it_is(tmp_path):
    path = tmp_path / "scifact.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scifact/corpus.jsonl", "{}")
    (fault,) = faults(path).faults
    assert "a ZIP archive of 1 files" in fault.why
    assert "unzip" in fault.fix


def test_all_files_are_reported_together(tmp_path):
    path = folder(
        tmp_path,
        [*DOCUMENTS, {"_id": "x"}],
        [*QUERIES, {"_id": "x", "text": ""}],
        train=[*QRELS["train"], "q0\td5\t-1"],
        test=[],
    )
    error = faults(path)
    assert [Path(fault.where).name for fault in error.faults] == [
        "corpus.jsonl",
        "queries.jsonl",
        "train.tsv",
        "test.tsv",
    ]
    assert "only a header" in error.faults[-1].why


def test_missing_files_and_folders_are_faults(tmp_path):
    assert "no such folder" in faults(tmp_path / "absent").faults[0].why
    path = folder(tmp_path / "beir")
    (path / "corpus.jsonl").unlink()
    (fault,) = faults(path).faults
    assert fault.where.endswith("corpus.jsonl")
    assert "no such file" in fault.why
    (path / "qrels" / "train.tsv").unlink()
    assert faults(path).total == 2


def test_a_missing_split_is_split_off_by_query(tmp_path):
    queries = [{"_id": f"q{n}", "text": f"Query {n // 2}" + "!" * (n % 2)} for n in range(60)]
    train = [f"q{n}\td{n % 12}\t1" for n in range(60)]
    path = folder(tmp_path, queries=queries, train=train, dev=None, test=None)
    assert "'split: {valid: 0.15, test: 0.2}'" in misuse(DataSpec("s", beir=path)).faults[0].fix
    dataset = load_dataset(DataSpec("s", beir=path, split=SplitRule(0.2, 0.2)))
    assert sum(dataset.rows.values()) == 60
    asked = {
        "train": {pair.group for pair in dataset.train.pairs},
        "valid": set(dataset.valid.retrieval.queries),
        "test": set(dataset.sealed_test().retrieval.queries),
    }
    for numbers in asked.values():
        pairs = {int(number[1:]) // 2 for number in numbers}
        assert len(numbers) == 2 * len(pairs)  # queries of equal normalised text went together


def test_a_share_beside_a_file_is_misuse(tmp_path):
    error = misuse(DataSpec("s", beir=folder(tmp_path), split=SplitRule(0.2, 0.0)))
    assert "a file of its own" in str(error)


def test_groups_come_from_the_queries(tmp_path):
    queries = [{**query, "metadata": {"user": n // 2}} for n, query in enumerate(QUERIES)]
    path = folder(tmp_path, queries=queries)
    rule = SplitRule(0.0, 0.0, group_by="metadata.user")
    dataset = load_dataset(DataSpec("s", beir=path, split=rule))
    queried = {number: dataset.valid.groups[number] for number in dataset.valid.retrieval.queries}
    assert queried == {"q6": "3", "q7": "3", "q8": "4"}
    assert dataset.warnings == ("1 group in both valid and test",)


def test_a_query_in_two_splits_is_refused_or_dropped(tmp_path):
    queries = [*QUERIES, {"_id": "again", "text": "WHAT is: body 10?"}]
    path = folder(tmp_path, queries=queries, train=[*QRELS["train"], "again\td10\t1", "q6\td6\t1"])
    error = faults(path)
    assert [(f.what, f.line) for f in error.faults] == [
        ("overlap of train and valid", 9),
        ("overlap of train and test", 8),
    ]
    assert f"is also at {path / 'qrels' / 'test.tsv'}:3" in error.faults[1].why
    spec = DataSpec("s", beir=path, on_overlap=OnOverlap.DROP_FROM_TRAIN)
    assert load_dataset(spec).rows[Split.TRAIN] == 6


def test_sizes_cut_queries_and_never_the_corpus(tmp_path):
    path = folder(tmp_path, train=[*QRELS["train"], *(f"q{n}\td7\t1" for n in range(6))])
    dataset = load_dataset(DataSpec("s", beir=path, max_train=2, max_valid=1))
    assert dataset.rows == {Split.TRAIN: 2, Split.VALID: 1, Split.TEST: 3}
    assert len(dataset.train.pairs) == 4
    assert len(dataset.valid.retrieval.documents) == 12


def test_queries_without_judgements_are_counted(tmp_path):
    queries = [*QUERIES, {"_id": "lonely", "text": "nobody judges me"}]
    dataset = load_dataset(DataSpec("s", beir=folder(tmp_path, queries=queries)))
    assert dataset.warnings == ("1 of the queries left out: no judgement names them",)


def test_a_corpus_of_one_is_refused(tmp_path):
    path = folder(
        tmp_path, DOCUMENTS[:1], train=["q0\td0\t1"], dev=["q1\td0\t1"], test=["q2\td0\t1"]
    )
    assert "one document, expected several" in faults(path).faults[0].why


def test_copied_queries_are_all_refused(tmp_path):
    queries = [{"_id": f"q{n}", "text": f"what is body {n}"} for n in range(200)]
    copies = [{"_id": f"c{n}", "text": f"WHAT  is body, {n}?"} for n in range(100, 103)]
    train = [f"q{n}\td{n % 12}\t1" for n in range(50)]
    train += [f"c{n}\td{n % 12}\t1" for n in range(100, 103)]
    test = [f"q{n}\td{n % 12}\t1" for n in range(100, 200)]
    dev = ["q60\td0\t1", "q61\td1\t1"]
    path = folder(tmp_path, queries=[*queries, *copies], train=train, dev=dev, test=test)
    error = faults(path)
    assert [fault.lines for fault in error.faults] == [(52, 53, 54)]
    spec = DataSpec("small", beir=path, on_overlap=OnOverlap.DROP_FROM_TRAIN)
    assert load_dataset(spec).rows[Split.TRAIN] == 50


@pytest.mark.parametrize("dev", [None, QRELS["dev"]])
def test_a_folder_without_train_is_told_what_to_rename(tmp_path, dev):
    path = folder(tmp_path, train=None, dev=dev)
    (fault,) = faults(path).faults
    shares = "{test: 0.2}" if dev else "{valid: 0.2, test: 0.2}"
    assert fault.fix == f"rename test.tsv to train.tsv and write under data 'split: {shares}'"


def test_judgements_to_validate_on_may_be_called_val_and_stand_once(tmp_path):
    path = folder(tmp_path, dev=None, val=QRELS["dev"])
    assert load_dataset(DataSpec("small", beir=path)).rows[Split.VALID]
    (path / "qrels" / "dev.tsv").write_text((path / "qrels" / "val.tsv").read_text())
    (fault,) = faults(path).faults
    assert (fault.why, fault.fix) == (
        "dev.tsv and val.tsv are judgements of one split",
        "keep one of them",
    )
