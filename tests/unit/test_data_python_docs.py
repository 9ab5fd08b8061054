"""The built-in data set: read and not imported, clean, and without a near copy on both sides."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from embedsweep.core.dataset import Benchmark, Dataset, Split
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import PYTHON_DOCS, docstrings, load_dataset, normalise
from embedsweep.data.docstrings import split_docstring, standard_library_docstrings
from embedsweep.data.near_copies import near_copies, shingles
from embedsweep.data.python_docs import MIN_LABEL_ROWS, read_python_docs
from embedsweep.data.rows import ties_of
from embedsweep.data.splits import split_rows

SPEC = DataSpec("docs", builtin=PYTHON_DOCS)
REST = "and then it goes on to say a good deal more about it"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(SPEC)


@pytest.fixture(scope="module")
def unsealed(dataset) -> Benchmark:
    return dataset.sealed_test()


def entries(benchmark: Benchmark) -> list[tuple[str, str, str]]:
    """(summary, document, group) of each query."""
    task = benchmark.retrieval
    return [
        (text, task.documents[next(iter(task.judgements[query]))], benchmark.groups[query])
        for query, text in task.queries.items()
    ]


def sides(dataset, unsealed) -> dict[Split, list[tuple[str, str, str]]]:
    return {
        Split.TRAIN: [(pair.anchor, pair.positive, pair.group) for pair in dataset.train.pairs],
        Split.VALID: entries(dataset.valid),
        Split.TEST: entries(unsealed),
    }


def test_it_is_large_enough_and_split_as_asked(dataset):
    total = sum(dataset.rows.values())
    assert total > 1500
    assert abs(dataset.rows[Split.VALID] / total - 0.15) < 0.08
    assert abs(dataset.rows[Split.TEST] / total - 0.35) < 0.08
    assert dataset.format == "builtin"
    assert set(dataset.sources.values()) == {"builtin:python-docs"}
    assert dataset.warnings == ()


def test_another_process_makes_the_same_and_imports_no_module_for_it(dataset, unsealed):
    code = (
        "import sys; from embedsweep.core.experiment import DataSpec;"
        "from embedsweep.data import *; from embedsweep.data.python_docs import read_python_docs;"
        "before = set(sys.modules); read_python_docs(); assert set(sys.modules) == before;"
        "assert 'turtle' not in before; d = load_dataset(DataSpec('docs', builtin=PYTHON_DOCS));"
        "print(*d.digests.values(), d.valid.fingerprint, d.sealed_test().fingerprint)"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    here = [*dataset.digests.values(), dataset.valid.fingerprint, unsealed.fingerprint]
    assert done.stdout.split() == here, done.stderr


def test_no_group_stands_on_two_sides(dataset, unsealed):
    groups = {
        split: {group for _, _, group in rows} for split, rows in sides(dataset, unsealed).items()
    }
    assert not groups[Split.TRAIN] & groups[Split.VALID]
    assert not groups[Split.TRAIN] & groups[Split.TEST]
    assert not groups[Split.VALID] & groups[Split.TEST]


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


def plain_shingles(text: str) -> set[str]:
    words = normalise(text).split()
    return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def copies_between(left: list[tuple[str, str]], right: list[tuple[str, str]]) -> int:
    """Brute force: pairs of (summary, document) that are near copies by document or as a whole."""
    count = 0
    for of in (lambda entry: entry[1], " ".join):
        others = [plain_shingles(of(entry)) for entry in right]
        for entry in left:
            mine = plain_shingles(of(entry))
            count += sum(jaccard(mine, other) >= 0.6 for other in others)
    return count


def test_no_near_copy_stands_on_two_sides(dataset, unsealed):
    rows = {s: [e[:2] for e in part] for s, part in sides(dataset, unsealed).items()}
    sample = random.Random(3).sample(rows[Split.TEST], 150)
    assert copies_between(sample, rows[Split.TRAIN]) == 0
    assert copies_between(rows[Split.VALID][:150], rows[Split.TRAIN]) == 0
    summaries = [normalise(summary) for part in rows.values() for summary, _ in part]
    assert len(set(summaries)) == len(summaries)


def test_without_groups_near_copies_would_stand_on_two_sides():
    rows = read_python_docs().rows[Split.TRAIN]
    loose = [
        type(row)(row.value, row.key, ties_of([row.key], None), row.file, row.line) for row in rows
    ]
    parts = {
        split: [(row.value.summary, row.value.document) for row in part]
        for split, part in split_rows(loose, SplitRule(0.15, 0.35)).items()
    }
    assert copies_between(parts[Split.TEST][:120], parts[Split.TRAIN]) > 5


def test_documents_are_those_of_the_split_alone(dataset, unsealed):
    rows = sides(dataset, unsealed)
    for benchmark in (dataset.valid, unsealed):
        documents = [normalise(text) for text in benchmark.retrieval.documents.values()]
        assert len(set(documents)) == len(documents)
        assert set(documents) == {normalise(d) for _, d, _ in rows[benchmark.split]}
        assert all(len(judged) == 1 for judged in benchmark.retrieval.judgements.values())
        assert set(benchmark.groups) >= {*benchmark.retrieval.queries, *benchmark.relevance.pairs}


def test_classes_are_libraries_with_enough_in_train(dataset, unsealed):
    counts = Counter(text.label for text in dataset.train.texts)
    assert min(counts.values()) >= MIN_LABEL_ROWS
    assert {"asyncio", "email"} <= set(counts)
    for benchmark in (dataset.valid, unsealed):
        task = benchmark.classification
        assert set(task.labels.values()) <= set(counts)
        assert Counter(task.fit_labels) == counts
        assert set(task.texts) <= set(benchmark.retrieval.queries)
    assert unsealed.relevance.calibration == dataset.valid.relevance


def test_the_package_is_the_slice(dataset, unsealed):
    for benchmark in (dataset.valid, unsealed):
        labels = benchmark.classification.labels
        assert {number: benchmark.slices[number] for number in labels} == labels
        assert set(benchmark.slices) == {*benchmark.retrieval.queries, *benchmark.relevance.pairs}
    assert len(set(unsealed.slices.values())) > 50


def test_sizes_apply_and_leave_test_alone(dataset):
    small = load_dataset(DataSpec("docs", builtin=PYTHON_DOCS, max_train=300, max_valid=50))
    assert small.rows == {**dataset.rows, Split.TRAIN: 300, Split.VALID: 50}
    assert small.digests[Split.TEST] == dataset.digests[Split.TEST]
    other = load_dataset(DataSpec("docs", builtin=PYTHON_DOCS, split=SplitRule(0.2, 0.2, 8)))
    assert other.rows != dataset.rows
    tiny = load_dataset(DataSpec("docs", builtin=PYTHON_DOCS, max_train=20))
    assert tiny.valid.classification is None
    assert tiny.train.texts == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"Say what it does.\n\n{REST}.", ("Say what it does.", f"{REST}.")),
        (f"Say what\n  it does.\n\n  {REST}\n\n  twice.", ("Say what it does.", f"{REST} twice.")),
        (
            f"Say what it does. It is such\nthat {REST}.",
            ("Say what it does.", f"It is such that {REST}."),
        ),
        (f"Say {'very ' * 60}much.\n\n{REST}", None),
        (f"Say what it does. {'It is so. ' * 30}\n\n{REST}", ("Say what it does.", None)),
        (f"Too short.\n\n{REST}", None),
        ("Say what it does.\n\nSee the manual.", None),
        ("Say what it does.", None),
        (f"name(self, first, *rest) -> int\n\n{REST}", None),
        (f"See also the other one.\n\n{REST}", None),
        (f"**DEPRECATED** by the other\n\n{REST}", None),
        (f">>> import some more\n\n{REST}", None),
    ],
)
def test_a_docstring_is_split_into_summary_and_rest(text, parts):
    found = split_docstring(text)
    if parts is None or parts[1] is not None:
        assert found == parts
    else:
        assert found is not None
        assert found[0] == parts[0]
        assert found[1].endswith(REST)


def test_docstrings_are_read_from_public_modules():
    found = standard_library_docstrings()
    places = {(doc.module, doc.name) for doc in found}
    assert ("decimal", "Decimal.canonical") in places
    assert ("threading", "Thread.join") in places
    assert not any(part.startswith("_") for doc in found for part in doc.module.split("."))
    assert not any(doc.package in {"test", "idlelib", "site-packages"} for doc in found)
    assert len(places) > 0.95 * len(found)  # the rest are defined twice, once for each platform


NESTED = """
if True:
    def a(): "doc of a"
elif True:
    class B:
        "doc of B"
        async def c(self):
            "doc of c"
            def d(): "doc of d"
else:
    try:
        def e(): "doc of e"
    except OSError:
        def left_out(): "a handler's are not looked at"
    else:
        def f(): "doc of f"
    finally:
        def g(): "doc of g"
def h(): "doc of h"
"""


def test_docstrings_come_in_the_order_of_the_source(tmp_path):
    file = tmp_path / "nested.py"
    file.write_text(NESTED, encoding="utf-8")
    names = ["a", "B", "B.c", "B.c.d", "e", "f", "g", "h"]
    told = [(name, f"doc of {name.rpartition('.')[2]}") for name in names]
    assert list(docstrings._documented(file)) == told


def test_near_copies_are_all_found():
    chance = random.Random(11)
    words = [f"w{n}" for n in range(30)]
    texts = []
    for _ in range(120):
        text = chance.choices(words, k=chance.randint(1, 40))
        texts.append(" ".join(text))
        for _ in range(2):
            changed = list(text)
            changed[chance.randrange(len(changed))] = "other"
            texts.append(" ".join(changed).upper())
    expected = {
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if jaccard(plain_shingles(texts[i]), plain_shingles(texts[j])) >= 0.6
    }
    assert set(near_copies(texts)) == expected
    assert len(expected) > 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two three", {"one two three"}),
        ("a b c d e", {"a b c d e"}),
        ("a b c d e f", {"a b c d e", "b c d e f"}),
    ],
)
def test_shingles(text, expected):
    assert shingles(text) == expected
