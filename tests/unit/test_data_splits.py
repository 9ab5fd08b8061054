"""Splitting: who stays together, who goes where, and on what that hangs."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsweep.core.dataset import Split
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import load_dataset, normalise
from embedsweep.data.rows import Row
from embedsweep.data.splits import components, split_rows
from tests.unit.data_writing import (
    labelled,
    labelled_rows,
    misuse,
    only_fault,
    refusal,
    write_jsonl,
)

RULE = SplitRule(valid=0.2, test=0.3, seed=7)


def row(number: int, *ties: str, stratum: str = "") -> Row[int]:
    own = f"text:{number}"
    return Row(number, own, (own, *ties), "train.jsonl", number + 1, stratum)


def places(splits: dict[Split, list[Row[int]]]) -> dict[int, Split]:
    return {row.value: split for split, rows in splits.items() for row in rows}


@given(st.lists(st.frozensets(st.integers(0, 12), min_size=1, max_size=3), max_size=25))
def test_components_are_those_of_the_graph(rows):
    ties = [tuple(f"{tie:02}" for tie in sorted(found)) for found in rows]
    names = components(ties)
    reach = [set(found) for found in rows]
    for _ in rows:  # the plain way: merge until nothing changes
        reach = [set().union(*(other for other in reach if other & found)) for found in reach]
    assert names == [f"{min(found):02}" for found in reach]


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_split_does_not_hang_on_the_order_of_rows(shuffler, seed):
    rows = [row(n, f"group:{n % 17}", stratum=f"label {n % 3}") for n in range(60)]
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    rule = replace(RULE, seed=seed)
    assert places(split_rows(rows, rule)) == places(split_rows(shuffled, rule))


def test_another_seed_splits_otherwise():
    rows = [row(n) for n in range(60)]
    assert places(split_rows(rows, RULE)) != places(split_rows(rows, replace(RULE, seed=8)))


def test_shares_are_met_on_average():
    rows = [row(n, stratum=f"label {n % 7}") for n in range(1000)]
    sizes = {split: len(part) for split, part in split_rows(rows, RULE).items()}
    assert sizes[Split.VALID] == pytest.approx(200, abs=40)
    assert sizes[Split.TEST] == pytest.approx(300, abs=45)


def test_rows_that_come_later_move_none_of_the_others():
    rows = [row(n, f"group:{n // 2}", stratum=f"label {n % 5}") for n in range(300)]
    before = places(split_rows(rows[:200], RULE))
    after = places(split_rows(rows, RULE))
    assert all(after[number] is split for number, split in before.items())
    wider = places(split_rows(rows, replace(RULE, test=0.4)))
    assert all(wider[n] is Split.TEST for n, split in after.items() if split is Split.TEST)


@pytest.mark.parametrize("seed", range(20))
def test_no_split_is_empty_while_there_are_three_groups(seed):
    rule = SplitRule(valid=0.01, test=0.01, seed=seed)
    assert all(split_rows([row(n) for n in range(3)], rule).values())


@pytest.mark.parametrize("seed", range(20))
def test_every_label_is_in_train_where_groups_allow(seed):
    rows = [row(n, stratum=f"label {n // 2}") for n in range(80)]
    rule = SplitRule(valid=0.25, test=0.25, seed=seed)
    train = split_rows(rows, rule)[Split.TRAIN]
    assert {row.stratum for row in train} == {row.stratum for row in rows}
    blind = split_rows([replace(row, stratum="") for row in rows], rule)[Split.TRAIN]
    assert len({row.value // 2 for row in blind}) < 40  # without labels some would be missing


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_cut(seed):
    rows = [row(n, f"group:{n // 5}") for n in range(200)]
    found = places(split_rows(rows, replace(RULE, seed=seed)))
    assert all(len({found[n] for n in range(g * 5, g * 5 + 5)}) == 1 for g in range(40))
    plain = places(split_rows([row(n) for n in range(200)], replace(RULE, seed=seed)))
    cut = sum(len({plain[n] for n in range(g * 5, g * 5 + 5)}) > 1 for g in range(40))
    assert cut > 30


def conversation_rows() -> list[dict[str, object]]:
    """Sixty conversations of four turns; half of the turns also occur, written otherwise."""
    rows = []
    for document in range(60):
        for turn in range(4):
            text = f"Turn {turn} of {document}"
            rows.append(labelled(text, turn % 2, document=f"d{document}"))
    return rows


def sides(dataset) -> dict[str, set[Split]]:
    """Where each text of a labelled data set went."""
    found: dict[str, set[Split]] = {}
    for row in dataset.train.texts:
        found.setdefault(row.text, set()).add(Split.TRAIN)
    for benchmark in (dataset.valid, dataset.sealed_test()):
        for text in benchmark.classification.texts.values():
            found.setdefault(text, set()).add(benchmark.split)
    return found


def torn_documents(dataset) -> int:
    documents: dict[str, set[Split]] = {}
    for text, splits in sides(dataset).items():
        documents.setdefault(text.rsplit(" ", 1)[1], set()).update(splits)
    return sum(len(splits) > 1 for splits in documents.values())


def test_group_by_keeps_documents_whole_and_names_the_groups(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", conversation_rows())
    rule = SplitRule(0.2, 0.2, group_by="metadata.document")
    dataset = load_dataset(DataSpec("small", train=path, split=rule))
    assert torn_documents(dataset) == 0
    assert set(dataset.valid.groups) == set(dataset.valid.classification.texts)
    assert 5 < len(set(dataset.valid.groups.values())) < 20
    assert {row.group for row in dataset.train.texts} <= {f"d{n}" for n in range(60)}
    control = load_dataset(DataSpec("small", train=path, split=replace(rule, group_by=None)))
    assert torn_documents(control) > 30
    assert control.valid.groups == {}


def test_a_row_without_its_group_is_a_fault(tmp_path):
    rows = [*conversation_rows(), labelled("no document", 1), labelled("bad", 1, document=None)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    rule = SplitRule(0.2, 0.2, group_by="metadata.document")
    error = refusal(DataSpec("small", train=path, split=rule))
    assert [(f.line, f.what) for f in error.faults] == [
        (241, "missing key 'metadata.document'"),
        (242, "key 'metadata.document'"),
    ]


def test_equal_normalised_texts_stay_together(tmp_path):
    rows = [labelled(f"Text, number {n}", n % 2) for n in range(100)]
    rows += [labelled(f"  TEXT number {n}!", n % 2) for n in range(100)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load_dataset(DataSpec("small", train=path, split=RULE))
    by_normal: dict[str, set[Split]] = {}
    for text, splits in sides(dataset).items():
        by_normal.setdefault(normalise(text), set()).update(splits)
    assert len(by_normal) == 100
    assert all(len(splits) == 1 for splits in by_normal.values())


@pytest.mark.parametrize("shared", ["anchor", "positive"])
def test_pairs_that_share_a_side_stay_together(tmp_path, shared):
    rows = []
    for n in range(60):
        row = {"anchor": f"query {n}", "positive": f"document {n}"}
        row[shared] = f"the {'SAME' if n % 2 else 'same'} {n // 2}"
        rows.append(row)
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load_dataset(DataSpec("small", train=path, split=RULE))
    trained = {normalise(getattr(pair, shared)) for pair in dataset.train.pairs}
    assert len(dataset.train.pairs) == 2 * len(trained)
    for benchmark in (dataset.valid, dataset.sealed_test()):
        measured = (
            benchmark.retrieval.queries if shared == "anchor" else benchmark.retrieval.documents
        )
        assert not trained & {normalise(text) for text in measured.values()}


def test_a_data_set_that_hangs_together_cannot_be_split(tmp_path):
    rows = [labelled(f"text {n}", n % 2, document="one") for n in range(20)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    rule = replace(RULE, group_by="metadata.document")
    error = refusal(DataSpec("small", train=path, split=rule))
    assert [fault.what for fault in error.faults] == ["valid split", "test split"]


def test_shares_far_from_those_asked_for_are_noted(tmp_path):
    rows = [labelled(f"text {n}", n % 2, document=max(0, n - 80)) for n in range(100)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    rule = SplitRule(0.2, 0.2, group_by="metadata.document")
    dataset = load_dataset(DataSpec("small", train=path, split=rule))
    assert any("20.0% were asked for" in warning for warning in dataset.warnings)


def test_only_the_missing_split_is_split_off(tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", labelled_rows(100))
    test = write_jsonl(tmp_path / "test.jsonl", labelled_rows(10, mark="test"))
    dataset = load_dataset(DataSpec("s", train=train, test=test, split=SplitRule(0.1, 0)))
    assert dataset.rows[Split.TRAIN] + dataset.rows[Split.VALID] == 100
    assert dataset.rows[Split.TEST] == 10
    assert dataset.sources[Split.VALID] == str(train)
    assert dataset.sources[Split.TEST] == str(test)
    assert set(dataset.sealed_test().classification.texts.values()) == {
        f"test number {n}" for n in range(10)
    }


def test_few_shot_keeps_rows_of_each_label_whatever_their_order(tmp_path):
    rows = labelled_rows(200, labels=4)
    files = {
        name: write_jsonl(tmp_path / f"{name}.jsonl", labelled_rows(40, labels=4, mark=name))
        for name in ("valid", "test")
    }
    kept = []
    for seed in (1, 2):
        random.Random(seed).shuffle(rows)
        path = write_jsonl(tmp_path / f"train{seed}.jsonl", rows)
        kept.append(load_dataset(DataSpec("s", train=path, **files, few_shot=3)).train.texts)
    assert Counter(row.label for row in kept[0]) == {f"label {n}": 3 for n in range(4)}
    assert set(kept[0]) == set(kept[1])
    assert [row.text for row in kept[0]] != [row.text for row in kept[1]]


def test_sizes_cut_train_and_valid_and_never_test(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", labelled_rows(400, labels=8))
    whole = load_dataset(DataSpec("s", train=path, split=RULE))
    part = load_dataset(DataSpec("s", train=path, split=RULE, max_train=8, max_valid=30))
    assert part.rows == {Split.TRAIN: 8, Split.VALID: 30, Split.TEST: whole.rows[Split.TEST]}
    assert {row.label for row in part.train.texts} == {f"label {n}" for n in range(8)}
    assert set(part.train.texts) < set(whole.train.texts)
    assert part.digests[Split.TEST] == whole.digests[Split.TEST]
    assert part.digests[Split.VALID] != whole.digests[Split.VALID]


def test_a_missing_split_shows_the_line_to_add(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", labelled_rows())
    error = misuse(DataSpec("small", train=path))
    assert error.total == 2
    assert "'split: {valid: 0.15, test: 0.2}'" in error.faults[0].fix
    error = misuse(DataSpec("small", train=path, valid=path.with_name("valid.jsonl")))
    assert "'split: {test: 0.2}'" in error.faults[0].fix


def test_too_few_rows_to_split_is_a_fault(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", [labelled("one", "a"), labelled("two", "b")])
    error = refusal(DataSpec("small", train=path, split=RULE))
    assert "no row is left for valid" in error.faults[0].why
    single = write_jsonl(tmp_path / "one.jsonl", [labelled("one", "a"), labelled("two", "a")])
    assert "valid" in only_fault(single, RULE).why
