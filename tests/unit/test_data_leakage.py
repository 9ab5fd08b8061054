"""Rows that stand in two splits, and rows that repeat within one."""

from __future__ import annotations

import random

import pytest

from embedsweep.core.dataset import Split
from embedsweep.core.errors import SHOWN_LINES
from embedsweep.core.experiment import DataSpec, OnOverlap, SplitRule
from embedsweep.core.leakage import LeakKind
from embedsweep.data import load_dataset, rules
from tests.unit.data_writing import labelled, labelled_rows, refusal, write_jsonl

DROP = OnOverlap.DROP_FROM_TRAIN


def spec(folder, train, valid, test, **options) -> DataSpec:
    files = {
        name: write_jsonl(folder / f"{name}.jsonl", rows)
        for name, rows in (("train", train), ("valid", valid), ("test", test))
    }
    return DataSpec("small", **files, **options)


def disguise(text: str, chance: random.Random) -> str:
    """The same words in other case, with other blanks and punctuation."""
    words = [chance.choice([str.upper, str.title, str.lower])(word) for word in text.split()]
    blanks = [chance.choice([" ", "  ", "\t", ", ", " - ", "\u00a0"]) for _ in words]
    return "".join(word + blank for word, blank in zip(words, blanks, strict=True)) + "?"


def test_every_planted_row_is_found_named_and_dropped(tmp_path):
    chance = random.Random(5)
    train, test = labelled_rows(1000), labelled_rows(300, mark="test")
    planted = chance.sample(range(1000), 30)
    for number, row in enumerate(planted):
        test.insert(number * 7, labelled(disguise(train[row]["text"], chance), "label 0"))
    small = spec(tmp_path, train, labelled_rows(20, mark="valid"), test)
    error = refusal(small)
    assert error.total == 30
    (fault,) = error.faults
    assert (fault.count, fault.where) == (30, str(small.train))
    assert fault.lines == tuple(row + 1 for row in sorted(planted))[:SHOWN_LINES]
    assert f"{small.test}:" in fault.why
    assert "on_overlap: drop_from_train" in fault.fix

    exact = {row["text"] for row in train} & {row["text"] for row in test}
    assert not exact  # comparing texts as they are written would have found none
    dataset = load_dataset(spec_with(small, on_overlap=DROP))
    assert dataset.rows == {Split.TRAIN: 970, Split.VALID: 20, Split.TEST: 330}
    assert dataset.warnings == (
        "30 rows of train dropped: the text is in test too (30 rows of test)",
    )
    left = {row.text for row in dataset.train.texts}
    assert left == {row["text"] for n, row in enumerate(train) if n not in planted}


def other_labelled(count: int, mark: str) -> list[dict[str, object]]:
    return labelled_rows(count, mark=mark)


def other_pairs(count: int, mark: str) -> list[dict[str, object]]:
    return [{"anchor": f"{mark} asks {n}", "positive": f"answer {n}"} for n in range(count)]


def other_scored(count: int, mark: str) -> list[dict[str, object]]:
    return [
        {"sentence1": f"{mark} says {n}", "sentence2": f"{mark} hears {n}", "score": n % 6}
        for n in range(count)
    ]


PLANTS = [(other_labelled, ("text",)), (other_pairs, ("anchor",))]
PLANTS.append((other_scored, ("sentence1", "sentence2")))


@pytest.mark.parametrize(("rows", "fields"), PLANTS)
def test_three_in_a_hundred_of_test_in_train_are_all_refused(tmp_path, monkeypatch, rows, fields):
    chance = random.Random(6)
    train, test = rows(500, "train"), rows(500, "test")
    leaked = sorted(chance.sample(range(500), 15))
    for place in leaked:
        train.append(
            {**test[place], **{name: disguise(str(test[place][name]), chance) for name in fields}}
        )
    small = spec(tmp_path, train, rows(30, "valid"), test)
    error = refusal(small)
    assert error.total == 15
    (fault,) = error.faults
    assert (fault.count, fault.lines) == (15, (501, 502, 503, 504, 505))
    assert f"{small.test}:{leaked[0] + 1}," in fault.why

    dataset = load_dataset(spec_with(small, on_overlap=DROP))
    assert dataset.rows[Split.TRAIN] == 500
    lost = [each for each in dataset.leakage.findings if each.kind is LeakKind.OVERLAP]
    assert [(each.here.line, each.there.line) for each in lost] == [
        (place + 1, 501 + number) for number, place in enumerate(leaked)
    ]
    assert all((each.here.split, each.there.split) == ("test", "train") for each in lost)
    assert lost[0].there.text == " / ".join(str(train[500][name]) for name in fields)

    # The control: without the check the leak goes unseen.
    monkeypatch.setattr(rules, "part_splits", lambda rows, *_: (dict(rows), [], []))
    assert load_dataset(small).rows[Split.TRAIN] == 515


def spec_with(small: DataSpec, **changes) -> DataSpec:
    return DataSpec(**{**vars(small), **changes})


def test_the_twin_is_named_by_file_and_line(tmp_path):
    small = spec(
        tmp_path,
        [*labelled_rows(10), labelled("Same, text", "label 0")],
        [*labelled_rows(6, mark="valid"), labelled("same TEXT", "label 1")],
        labelled_rows(6, mark="test"),
    )
    (fault,) = refusal(small).faults
    assert (fault.what, fault.line) == ("overlap of train and valid", 11)
    assert f'"same text" is also at {small.valid}:7' in fault.why


def test_valid_gives_way_to_test_and_train_to_both(tmp_path):
    shared = labelled("in all three", "label 0")
    small = spec(
        tmp_path,
        [*labelled_rows(10), shared, labelled("in train and valid", "label 1")],
        [*labelled_rows(6, mark="v"), shared, labelled("in train and valid", "label 1")],
        [*labelled_rows(6, mark="t"), shared],
    )
    assert refusal(small).total == 4
    dataset = load_dataset(spec_with(small, on_overlap=DROP))
    assert dataset.rows == {Split.TRAIN: 10, Split.VALID: 7, Split.TEST: 7}
    assert len(dataset.warnings) == 3


def test_pairs_may_share_documents_and_not_anchors(tmp_path):
    def pairs(mark: str, count: int = 6) -> list[dict[str, object]]:
        return [{"anchor": f"{mark} {n}", "positive": f"document {n}"} for n in range(count)]

    assert load_dataset(spec(tmp_path, pairs("a"), pairs("b"), pairs("c"))).format == "pairs"
    twin = {"anchor": "B 3!", "positive": "another document"}
    error = refusal(spec(tmp_path, [*pairs("a"), twin], pairs("b"), pairs("c")))
    assert [fault.line for fault in error.faults] == [7]


def test_scored_pairs_overlap_in_either_order(tmp_path):
    def scored(mark: str) -> list[dict[str, object]]:
        return [
            {"sentence1": "the first", "sentence2": f"{mark} {n}", "score": n} for n in range(6)
        ]

    turned = {"sentence1": "B 3", "sentence2": "The first.", "score": 1}
    assert load_dataset(spec(tmp_path, scored("a"), scored("b"), scored("c"))).format == "scored"
    error = refusal(spec(tmp_path, [*scored("a"), turned], scored("b"), scored("c")))
    assert [fault.line for fault in error.faults] == [7]
    assert '"b 3 / the first" is also at' in error.faults[0].why


def test_a_split_off_part_is_checked_against_the_files(tmp_path):
    train = labelled_rows(200)
    test = [*labelled_rows(6, mark="test"), *({**row} for row in train[:50])]
    files = {
        "train": write_jsonl(tmp_path / "train.jsonl", train),
        "test": write_jsonl(tmp_path / "test.jsonl", test),
    }
    small = DataSpec("small", **files, split=SplitRule(0.2, 0.0))
    error = refusal(small)
    assert error.total == 50
    assert {fault.what for fault in error.faults} == {
        "overlap of valid and test",
        "overlap of train and test",
    }
    dataset = load_dataset(spec_with(small, on_overlap=DROP))
    assert sum(dataset.rows.values()) == 200 - 50 + 56


def test_dropping_everything_is_a_fault(tmp_path):
    small = spec(
        tmp_path, labelled_rows(8), labelled_rows(8), labelled_rows(8, mark="t"), on_overlap=DROP
    )
    error = refusal(small)
    assert "no row is left for train" in error.faults[0].why
    assert error.faults[0].where == str(small.train)


def test_exact_repeats_leave_train_alone(tmp_path):
    again = [labelled("same", "label 0")] * 3 + [labelled("Same", "label 0")]
    dataset = load_dataset(
        spec(
            tmp_path,
            [*labelled_rows(10), *again],
            [*labelled_rows(6, mark="v"), *[labelled("twice", "label 1")] * 2],
            labelled_rows(6, mark="t"),
        )
    )
    assert dataset.rows[Split.TRAIN] == 12
    assert dataset.rows[Split.VALID] == 8
    assert dataset.warnings == ("2 rows of train dropped: an earlier row is exactly the same",)
    assert [row.text for row in dataset.train.texts][-2:] == ["same", "Same"]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_one_text_with_two_labels_is_noted(tmp_path, split):
    parts = {name: labelled_rows(6, mark=name) for name in ("train", "valid", "test")}
    parts[split] += [labelled("either", "label 0"), labelled("Either!", "label 1")]
    dataset = load_dataset(spec(tmp_path, **parts))
    assert dataset.warnings == (f"1 text of {split} with two labels or more",)


def test_groups_in_two_files_are_noted(tmp_path):
    parts = {
        name: [labelled(f"{name} {n}", n % 2, document=n // 2) for n in range(size)]
        for name, size in (("train", 12), ("valid", 6), ("test", 8))
    }
    rule = SplitRule(0.0, 0.0, group_by="metadata.document")
    dataset = load_dataset(spec(tmp_path, **parts, split=rule))
    assert dataset.warnings == (
        "3 groups in both train and valid",
        "4 groups in both train and test",
        "3 groups in both valid and test",
    )


def test_digests_follow_the_rows_after_all_rules(tmp_path):
    parts = {name: labelled_rows(20, mark=name) for name in ("train", "valid", "test")}
    first = load_dataset(spec(tmp_path / "a", **parts))
    assert first.digests == load_dataset(spec(tmp_path / "b", **parts)).digests
    for name in parts:
        changed = {**parts, name: [*parts[name][:-1], labelled("another", "label 0")]}
        digests = load_dataset(spec(tmp_path / "c", **changed)).digests
        differing = {split for split in Split if digests[split] != first.digests[split]}
        assert differing == {Split(name)}
