"""The training file of a job: canonical, and read back by the project's own reader."""

from __future__ import annotations

import json

import pytest

from embedsweep.backends.hosted.training_file import training_file
from embedsweep.core.bill import tokens_in
from embedsweep.core.dataset import LabelledText, Pair, TrainingSet
from embedsweep.core.recipe import FileForm
from embedsweep.data.training_file import read_training_file

LABELS = TrainingSet(
    texts=tuple(
        LabelledText(text, label)
        for text, label in (
            ("apple", "fruit"),
            ("Birne “süß” \u2028 🍐", "fruit"),
            ("red car", "vehicle"),
            ("quince", "fruit"),
            ("blue bus", "vehicle"),
            ("oak", "tree"),
        )
    )
)
PAIRS = TrainingSet(
    pairs=(
        Pair("how to cancel", "Open settings.", ("Call us.", "Wait.")),
        Pair("how to pay", "Use a card."),
        Pair("where is it", "On the way.", ("Gone.",)),
    )
)


def rows(data, form):
    return [json.loads(line) for line in training_file(data, form).content.splitlines()]


def read(data, form, folder):
    file = training_file(data, form)
    (folder / file.name).write_bytes(file.content)
    return read_training_file(folder / file.name)


def test_labelled_texts_are_read_back_as_they_were(tmp_path):
    assert read(LABELS, FileForm.LABELLED, tmp_path) == LABELS


def test_pairs_are_read_back_without_their_negatives(tmp_path):
    expected = tuple(Pair(pair.anchor, pair.positive) for pair in PAIRS.pairs)
    assert read(PAIRS, FileForm.PAIRS, tmp_path) == TrainingSet(pairs=expected)


def test_triplets_have_a_row_for_each_negative(tmp_path):
    expected = (
        Pair("how to cancel", "Open settings.", ("Call us.",)),
        Pair("how to cancel", "Open settings.", ("Wait.",)),
        Pair("where is it", "On the way.", ("Gone.",)),
    )
    assert read(PAIRS, FileForm.TRIPLETS, tmp_path) == TrainingSet(pairs=expected)


def test_labels_give_each_text_a_positive_of_its_label():
    label_of = {row.text: row.label for row in LABELS.texts}
    found = [(row["anchor"], row["positive"]) for row in rows(LABELS, FileForm.PAIRS)]
    assert [anchor for anchor, _ in found] == [row.text for row in LABELS.texts[:-1]]
    assert all(anchor != positive for anchor, positive in found)
    assert all(label_of[anchor] == label_of[positive] for anchor, positive in found)
    assert len({positive for _, positive in found}) == len(found)


def test_labels_give_each_text_a_negative_of_another():
    label_of = {row.text: row.label for row in LABELS.texts}
    found = rows(LABELS, FileForm.TRIPLETS)
    assert len(found) == 5
    assert all(label_of[row["anchor"]] == label_of[row["positive"]] for row in found)
    assert all(label_of[row["anchor"]] != label_of[row["negative"]] for row in found)


@pytest.mark.parametrize("form", FileForm)
def test_equal_data_gives_an_equal_file_and_other_data_another(form):
    file = training_file(LABELS, form)
    again = training_file(TrainingSet(texts=tuple(LABELS.texts)), form)
    assert (file.content, file.name) == (again.content, again.name)
    assert file.name == f"embedsweep-{file.digest[:16]}.jsonl"
    other = TrainingSet(texts=LABELS.texts[::-1])
    assert training_file(other, form).digest != file.digest
    assert file.content.endswith(b"}\n")


def test_the_tokens_of_all_its_texts_are_counted():
    file = training_file(PAIRS, FileForm.TRIPLETS)
    texts = [text for row in rows(PAIRS, FileForm.TRIPLETS) for text in row.values()]
    assert file.tokens == tokens_in(texts)
    assert training_file(LABELS, FileForm.LABELLED).tokens == tokens_in(
        row.text for row in LABELS.texts
    )
