"""What the columns of users' files are taken for, by their names and values."""

from __future__ import annotations

import json

import pytest
import yaml

from embedsweep.core.dataset import Dataset
from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset
from tests.unit.data_writing import HALVES, misuse, only_fault, refusal, write_jsonl, write_lines

COUNT = 60


def write_csv(path, header, row):
    """A file whose rows are made from their number; the fields hold no commas."""
    lines = [",".join(str(cell) for cell in row(n)) for n in range(COUNT)]
    return write_lines(path, [",".join(header), *lines])


def load(path, **options) -> Dataset:
    return load_dataset(DataSpec("small", train=path, split=HALVES, **options))


@pytest.mark.parametrize(
    ("header", "format_", "said"),
    [
        ("text,label", "labelled", "text = text, label = label"),
        ("Utterance,Intent", "labelled", "text = Utterance, label = Intent"),
        ("Unnamed: 0,sentence,category", "labelled", "text = sentence, label = category"),
        (",content,Class", "labelled", "text = content, label = Class"),
        ("query,text,label", "labelled", "text = text, label = label"),
        ("text,label_text,label", "labelled", "text = text, label = label"),
        ("query,positive", "pairs", "anchor = query, positive = positive"),
        ("Question,Answer", "pairs", "anchor = Question, positive = Answer"),
        ("query,passage", "pairs", "anchor = query, positive = passage"),
        ("question,answer,category", "pairs", "anchor = question, positive = answer"),
        ("sentence1,sentence2", "pairs", "anchor = sentence1, positive = sentence2"),
        ("anchor,positive,negative", "pairs", "negative = negative"),
        ("anchor,positive,negative_2,negative_10,negative_1", "pairs", "negative_1 + negative_2"),
    ],
)
def test_columns_are_recognised_by_name(tmp_path, header, format_, said):
    names = header.split(",")
    labels = {"label", "Intent", "category", "Class"}

    def row(n: int) -> list[str]:
        return [f"class {n % 2}" if name in labels else f"{name} {n}" for name in names]

    dataset = load(write_csv(tmp_path / "a.csv", names, row))
    assert dataset.format == format_
    (line,) = dataset.recognised()
    assert line.startswith("a.csv: text delimited by commas, read as")
    assert said in line


@pytest.mark.parametrize(
    ("header", "value", "why"),
    [
        ("query,passage,score", 0.5, "which fit pairs and scored"),
        ("question,answer,label", "billing", 'label holds "billing", expected 1 or 0'),
        ("utterance,intent,category", "x", "intent and category could be the label"),
        ("question,context,answer", "x", "context and answer could be the positive"),
    ],
)
def test_what_could_mean_two_things_is_one_error_whose_advice_works(tmp_path, header, value, why):
    names = header.split(",")

    def row(n: int) -> list[object]:
        return [f"{names[0]} {n}", f"{names[1]} {n % 7}", n % 3 if value is None else value]

    path = write_csv(tmp_path / "train.csv", names, row)
    fault = only_fault(path)
    assert why in fault.why
    assert ", ".join(json.dumps(name) for name in names) in fault.why
    for options in advised(fault.fix):
        assert load_or_say(path, options) != fault.why


@pytest.mark.parametrize(
    ("header", "given", "why"),
    [
        ("foo,bar", {}, 'names the columns "foo", "bar", expected names such as text and label'),
        ("id,col 1,col: 2,x", {}, '"col 1", "col: 2"'),
        ("foo,bar", {"text": "fooo", "label": "bar"}, 'none is "fooo"'),
        ("foo,label", {"text": "nothing"}, 'none is "nothing"'),
    ],
)
def test_unknown_columns_are_listed_with_the_lines_to_write(tmp_path, header, given, why):
    names = header.split(",")
    path = write_csv(tmp_path / "train.csv", names, lambda n: [f"{c} {n}" for c in names])
    fault = only_fault(path, columns=given)
    assert why in fault.why
    for options in advised(fault.fix):
        columns = {**given, **options.get("columns", {})}
        assert why not in load_or_say(path, {**options, "columns": columns})


def advised(fix: str) -> list[dict]:
    """The ``format`` and ``columns`` that the advice says to write, each way of them."""
    ways: list[dict] = []
    for part in fix.split("'")[1::2]:
        (key, value), *_ = yaml.safe_load(part).items()
        if key == "format" or not ways:
            ways.append({})
        ways[-1][key] = value
    assert ways, fix
    return ways


def load_or_say(path, options) -> str:
    spec = DataSpec("small", train=path, split=HALVES, **options)
    try:
        load_dataset(spec)
    except Exception as error:  # noqa: BLE001 - whatever it says, it may not be the same again
        return str(error)
    return ""


@pytest.mark.parametrize(
    "marks",
    [
        *((1, 0), ("1", "0"), (1.0, 0.0), (True, False), ("true", "False"), (1, -1)),
        *(("yes", "no"), ("Y", "N"), ("pos", "neg"), ("positive", "negative")),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "names",
    [
        "anchor,positive,label",
        "query,passage,label",
        "query,document,relevance",
        "query,doc,target",
        "question1,question2,is_match",
        "sentence1,sentence2,gold",
    ],
)
def test_pairs_with_labels_are_the_triplets_they_came_from(tmp_path, marks, names):
    first, second, label = names.split(",")
    rows, triplets = [], []
    for n in range(40):
        rows.append({first: f"ask {n}", second: f"yes {n}", label: marks[0]})
        rows.append({first: f"ask {n}", second: f"no {n}", label: marks[1]})
        triplets.append({"anchor": f"ask {n}", "positive": f"yes {n}", "negative": f"no {n}"})
    marked = load(write_jsonl(tmp_path / "marked.jsonl", rows))
    plain = load(write_jsonl(tmp_path / "plain.jsonl", triplets))
    assert marked.fingerprint == plain.fingerprint
    assert marked.train == plain.train
    # The control: without the label, what is marked 0 is a positive.
    without = [{k: v for k, v in row.items() if k != label} for row in rows]
    assert load(write_jsonl(tmp_path / "w.jsonl", without)).fingerprint != plain.fingerprint


def test_an_anchor_with_negatives_only_is_left_out_and_counted(tmp_path):
    rows = [{"anchor": f"a {n}", "positive": f"p {n}", "label": int(n % 4 > 0)} for n in range(40)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load(path)
    assert sum(dataset.rows.values()) == 30
    note = f"{path}: 10 rows with label 0 left out: the anchor has no positive text"
    assert dataset.warnings == (note,)


def test_a_label_that_is_neither_is_a_fault_with_its_line(tmp_path):
    rows = [{"anchor": f"a {n}", "positive": f"p {n}", "label": n % 2} for n in range(200)]
    rows[150]["label"] = 2
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows))
    assert (fault.line, fault.what) == (151, "key 'label'")
    assert "found 2, expected 1 or 0" in fault.why


@pytest.mark.parametrize("name", ["relevance", "rel", "grade", "relevance_label"])
def test_grades_beside_a_pair_are_kept_and_grade_0_is_a_negative(tmp_path, name):
    rows = [
        {"query": f"q {n}", "document": f"d {n} {grade}", name: grade}
        for n in range(30)
        for grade in (0, 1, 2, 3)
    ]
    pairs = load(write_jsonl(tmp_path / "train.jsonl", rows)).train.pairs
    assert {pair.grade for pair in pairs} == {1, 2, 3}
    assert all(pair.positive.endswith(f" {pair.grade}") for pair in pairs)
    assert all(pair.negatives == (pair.positive[:-1] + "0",) for pair in pairs)


@pytest.mark.parametrize("values", [(0, 1), (True, False), ("no", "yes"), (0, 1, 2, 3), ("0", "2")])
def test_an_unread_column_of_marks_beside_a_pair_is_an_error_until_it_is_settled(tmp_path, values):
    rows = [
        {"query": f"q {n // 4}", "document": f"d {n}", "flagged": values[n % len(values)]}
        for n in range(200)
    ]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    fault = only_fault(path)
    assert "flagged may say which texts do not belong together" in fault.why
    assert "flagged may say" in only_fault(path, format="pairs").why
    as_marks, as_plain = advised(fault.fix)
    assert all(pair.negatives for pair in load(path, **as_marks).train.pairs)
    as_plain["columns"]["label"] = ""  # what null in the experiment's file becomes
    assert not any(pair.negatives for pair in load(path, **as_plain).train.pairs)


@pytest.mark.parametrize("values", [(1, 1), (1, 2), (0, 900), (0.2, 0.7), ("a", "no")])
def test_other_unread_columns_beside_a_pair_are_a_note(tmp_path, values):
    rows = [{"query": f"q {n}", "document": f"d {n}", "x": values[n % 2]} for n in range(60)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    assert f"{path}: not read: x (60 rows)" in load(path).warnings


@pytest.mark.parametrize("format_", [None, "pairs"])
@pytest.mark.parametrize(
    "classes", [(0, 1, 2), (0, 1, 2, -1), ("entailment", "neutral", "contradiction")]
)
def test_classes_of_inference_are_never_dropped_from_a_pair(tmp_path, classes, format_):
    rows = [
        {"premise": f"p {n}", "hypothesis": f"h {n}", "label": classes[n % len(classes)]}
        for n in range(60)
    ]
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows), format=format_)
    assert "expected 1 or 0" in fault.why
    assert "keep the rows of entailment alone" in fault.fix


def test_a_negative_that_is_the_rows_own_positive_is_left_out_and_counted(tmp_path):
    rows = [
        {"anchor": f"a {n}", "positive": f"p {n}", "negative": f"P {n}" if n % 4 else f"n {n}"}
        for n in range(60)
    ]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load(path)
    assert f"{path}: 45 negatives left out: the row's own positive" in dataset.warnings
    assert {text[0] for pair in dataset.train.pairs for text in pair.negatives} == {"n"}


def test_a_label_in_two_places_is_asked_about(tmp_path):
    rows = [
        {"text": f"a {n}", "label": f"x{n % 2}", "metadata": {"label": f"y{n % 2}"}}
        for n in range(60)
    ]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    fault = only_fault(path)
    assert "metadata.label and label could be the label" in fault.why
    (way,) = advised(fault.fix)
    assert {row.label for row in load(path, **way).train.texts} == {"y0", "y1"}


@pytest.mark.parametrize("text", ["\U0001fae8", "\U0001fae9", "\U0001fac6"])
def test_emoji_newer_than_the_table_of_unicode_are_text(tmp_path, text):
    rows = [{"text": text * (n + 1), "label": f"x{n % 2}"} for n in range(60)]
    assert load(write_jsonl(tmp_path / "train.jsonl", rows)).format == "labelled"
    rows[5]["text"] = "\u200b \x1f\u2028"
    assert "expected text" in only_fault(write_jsonl(tmp_path / "b.jsonl", rows)).why


def test_a_label_that_cannot_be_read_is_an_error_where_pairs_are_asked_for(tmp_path):
    rows = [{"query": f"q {n}", "document": f"d {n}", "label": "ab"[n % 2]} for n in range(60)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    assert 'label holds "a"' in only_fault(path, format="pairs").why
    plain = load(path, format="pairs", columns={"label": ""})
    assert f"{path}: not read: label (60 rows)" in plain.warnings


def test_mined_lists_of_texts_are_read(tmp_path):
    """FlagEmbedding's form, the list form of sentence-transformers' miner, and its n-tuples."""
    flag = [
        {
            "query": f"q {n}",
            "pos": [f"p {n}", f"o {n}"],
            "neg": [f"n {n}", f"m {n}"],
            "pos_scores": [1],
        }
        for n in range(40)
    ]
    path = write_jsonl(tmp_path / "flag.jsonl", ({**row, "pos_scores": [1, 2]} for row in flag))
    dataset = load(path)
    pairs = dataset.train.pairs
    assert all(pair.negatives == (f"n {pair.anchor[2:]}", f"m {pair.anchor[2:]}") for pair in pairs)
    assert len({pair.anchor for pair in pairs}) * 2 == len(pairs)
    assert f"{path}: not read: pos_scores (40 rows)" in dataset.warnings
    lists = [
        {"anchor": row["query"], "positive": [*row["pos"], *row["neg"]], "labels": [1, 1, 0, 0]}
        for row in flag
    ]
    as_lists = load(write_jsonl(tmp_path / "lists.jsonl", lists))
    assert as_lists.fingerprint == dataset.fingerprint
    tuples = [
        {"anchor": r["query"], "positive": p, "negative_1": r["neg"][0], "negative_2": r["neg"][1]}
        for r in flag
        for p in r["pos"]
    ]
    assert load(write_jsonl(tmp_path / "t.jsonl", tuples)).fingerprint == dataset.fingerprint


def scored(tmp_path, scores, names="sentence1,sentence2,score", **options) -> DataSpec:
    first, second, score = names.split(",")
    rows = [
        {first: f"a {n}", second: f"b {n}", score: scores[n % len(scores)]} for n in range(COUNT)
    ]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    return DataSpec("small", train=path, split=HALVES, **options)


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        ([0.8, 0.9, 1.0], (0, 1)),
        ([0, 1], (0, 1)),
        ([-0.2, 0.9], (-1, 1)),
        ([4.2, 4.8, 3.1], (0, 5)),
        ([0, 3, 5], (0, 5)),
        ([1, 2, 5], (1, 5)),
        ([1.0, 3.7, 4.9], (1, 5)),
        ([0.5, 9.8], (0, 10)),
        ([12.5, 88], (0, 100)),
    ],
)
@pytest.mark.parametrize(
    "names", ["sentence1,sentence2,score", "sentence_A,sentence_B,relatedness_score"]
)
def test_the_scale_is_one_that_is_known_and_it_is_stated(tmp_path, scores, scale, names):
    dataset = load_dataset(scored(tmp_path, scores, names))
    assert dataset.score_range == scale
    low, high = scale
    assert any(f"scale of the scores is {low} to {high} (inferred" in w for w in dataset.warnings)


def test_a_declared_scale_counts_and_takes_part_in_the_fingerprint(tmp_path):
    wide = load_dataset(scored(tmp_path, [0.8, 1.0], score_range=(0.0, 5.0)))
    assert wide.score_range == (0.0, 5.0)
    assert any("is 0 to 5 (declared)" in note for note in wide.warnings)
    assert wide.fingerprint != load_dataset(scored(tmp_path, [0.8, 1.0])).fingerprint


@pytest.mark.parametrize("scores", [[0, 1, 2], [0, 3], [-3, 4], [1, 7], [0, 500]])
def test_scores_on_no_known_scale_ask_for_it(tmp_path, scores):
    spec = scored(tmp_path, scores)
    (fault,) = refusal(spec).faults
    assert "no well-known scale" in fault.why
    declared = f"'score_range: [{min(scores)}, {max(scores)}]'"
    assert declared in fault.fix
    mended = scored(tmp_path, scores, score_range=(float(min(scores)), float(max(scores))))
    assert load_dataset(mended).score_range == (min(scores), max(scores))


def test_scores_outside_the_declared_scale_are_one_fault(tmp_path):
    (fault,) = refusal(scored(tmp_path, [0, 3, 7], score_range=(0.0, 5.0))).faults
    assert (fault.line, fault.count) == (3, COUNT // 3)
    assert "found 7, expected a score from 0 to 5" in fault.why
    assert misuse(scored(tmp_path, [0, 1], score_range=(5.0, 0.0))).faults[0].what == "score_range"


def test_numbers_beside_a_pair_named_label_are_scores(tmp_path):
    dataset = load_dataset(scored(tmp_path, [0.5, 4.8], "sentence1,sentence2,label"))
    assert (dataset.format, dataset.score_range) == ("scored", (0, 5))


def test_what_is_chosen_is_not_asked_for_again(tmp_path):
    asked = scored(tmp_path, [0.5, 0.8], "query,passage,score", format="scored")
    assert load_dataset(asked).format == "scored"
    pairs = load_dataset(scored(tmp_path, [0.5, 0.8], "query,passage,score", format="pairs"))
    assert any("not read: score (60 rows)" in note for note in pairs.warnings)


def test_a_score_range_for_data_without_scores_is_a_fault(tmp_path):
    rows = [{"query": f"q {n}", "passage": f"p {n}"} for n in range(40)]
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows), score_range=(0.0, 1.0))
    assert (fault.what, fault.fix) == ("score_range", "remove 'score_range' from data")


def test_labels_of_which_none_marks_a_positive_are_a_fault(tmp_path):
    rows = [{"anchor": f"a {n}", "positive": f"p {n}", "label": 0} for n in range(40)]
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows))
    assert "no anchor has a positive text" in fault.why


def test_rows_inside_one_object_are_pointed_at(tmp_path):
    rows = [{"text": f"a {n}", "label": n % 2} for n in range(40)]
    path = write_jsonl(tmp_path / "train.json", [{"version": 1, "data": rows}])
    assert 'rows are in the list "data"' in only_fault(path).why
    path.write_text(json.dumps(rows))  # as the advice says
    assert load(path).format == "labelled"
