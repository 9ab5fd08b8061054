"""Batches hold what a loss may see: each row once an epoch, no false negative as a negative."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from embedsweep.backends.rows import Batch, Rows, class_names, texts_by_role
from embedsweep.core.dataset import LabelledText, Pair, ScoredPair, TrainingSet, unfit
from embedsweep.core.recipe import DataForm, LocalRecipe, Loss
from embedsweep.core.roles import TextRole

LABELS = TrainingSet(
    texts=tuple(LabelledText(f"text {i} of {i % 5}", f"class {i % 5}") for i in range(43))
)
PAIRS = TrainingSet(
    pairs=tuple(Pair(f"question {i // 2}", f"answer {i}", grade=1 + i % 2) for i in range(41))
)
TRIPLETS = TrainingSet(
    pairs=tuple(Pair(f"q{i}", f"yes {i}", (f"no {i}", f"never {i}")) for i in range(20))
)
SCORED = TrainingSet(
    scored=tuple(ScoredPair(f"left {i}", f"right {i}", score=float(i % 6)) for i in range(30)),
    score_range=(0.0, 5.0),
)
FORMS = [
    (data, form)
    for data in (LABELS, PAIRS, TRIPLETS, SCORED)
    for form in DataForm
    if form in data.forms
]


def batches(data: TrainingSet, form: DataForm, epoch: int = 0, size: int = 8) -> list[Batch]:
    return list(Rows(data, form, size, seed=7).epoch(epoch))


@pytest.mark.parametrize(("data", "form"), FORMS)
def test_an_epoch_repeats_from_its_seed_and_differs_from_the_next(
    data: TrainingSet, form: DataForm
) -> None:
    rows = [[batch.columns for batch in batches(data, form, epoch)] for epoch in (0, 0, 1)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


@pytest.mark.parametrize(("data", "form"), FORMS)
def test_no_batch_is_a_single_row(data: TrainingSet, form: DataForm) -> None:
    for size in (2, 4, 8, 40):
        assert all(len(batch.columns[0]) >= 2 for batch in batches(data, form, size=size))


def test_every_pair_comes_once_an_epoch() -> None:
    seen = [
        pair
        for batch in batches(PAIRS, DataForm.PAIRS)
        for pair in zip(batch.columns[0], batch.columns[1], strict=True)
    ]
    assert sorted(seen) == sorted((pair.anchor, pair.positive) for pair in PAIRS.pairs)
    assert batches(PAIRS, DataForm.PAIRS)[0].roles == (TextRole.QUERY, TextRole.DOCUMENT)


def test_another_positive_of_the_same_query_is_blocked() -> None:
    positives = {(pair.anchor, pair.positive) for pair in PAIRS.pairs}
    blocked = 0
    for batch in batches(PAIRS, DataForm.PAIRS, size=40):
        assert batch.blocked is not None
        anchors, candidates = batch.columns
        for row, column in itertools.product(range(len(anchors)), range(len(candidates))):
            belongs = (anchors[row], candidates[column]) in positives and row != column
            assert batch.blocked[row, column] == belongs
            blocked += belongs
    assert blocked >= 30  # 20 questions have two answers each, nearly all in one batch of 40


def test_the_same_label_is_blocked() -> None:
    label = {row.text: row.label for row in LABELS.texts}
    for batch in batches(LABELS, DataForm.PAIRS):
        assert batch.blocked is not None
        anchors, candidates = batch.columns
        for row, column in itertools.product(range(len(anchors)), range(len(candidates))):
            same = label[anchors[row]] == label[candidates[column]]
            assert batch.blocked[row, column] == (same and row != column)
            if row == column:
                assert same
                assert anchors[row] != candidates[column]


def test_given_negatives_are_candidates_for_all_rows() -> None:
    batch = batches(TRIPLETS, DataForm.PAIRS)[0]
    anchors, candidates = batch.columns
    assert len(candidates) == 2 * len(anchors)
    assert sum(text.startswith("n") for text in candidates) == len(anchors)


def test_triplets_by_label_have_the_right_labels() -> None:
    label = {row.text: row.label for row in LABELS.texts}
    for batch in batches(LABELS, DataForm.TRIPLETS):
        for anchor, positive, negative in zip(*batch.columns, strict=True):
            assert label[anchor] == label[positive] != label[negative]
            assert anchor != positive


def test_marked_pairs_never_mark_a_known_positive_as_dissimilar() -> None:
    positives = {(pair.anchor, pair.positive) for pair in PAIRS.pairs}
    for batch in batches(PAIRS, DataForm.LABELLED_PAIRS):
        for first, second, mark in zip(*batch.columns, batch.targets, strict=True):
            assert mark == float((first, second) in positives)


def test_grades_become_scores() -> None:
    grade = {(pair.anchor, pair.positive): pair.grade for pair in PAIRS.pairs}
    targets = {
        mark - grade.get((first, second), 0) / 2
        for batch in batches(PAIRS, DataForm.SCORED_PAIRS)
        for first, second, mark in zip(*batch.columns, batch.targets, strict=True)
    }
    assert targets == {0.0}


@pytest.mark.parametrize(
    ("scale", "scores", "targets"),
    [
        ((0.0, 1.0), [0.8, 0.9, 1.0], [0.8, 0.9, 1.0]),
        ((0.0, 5.0), [4.0, 5.0], [0.8, 1.0]),
        ((1.0, 5.0), [1.0, 3.0], [0.0, 0.5]),
        ((-1.0, 1.0), [-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]),
    ],
)
def test_scores_are_trained_at_their_place_on_the_scale(scale, scores, targets) -> None:
    pairs = tuple(ScoredPair(f"a {score}", "b", score) for score in scores)
    data = TrainingSet(scored=pairs, score_range=scale)
    # The control: the range that the data has would give 0 and 1 for its ends.
    drawn = [mark for batch in batches(data, DataForm.SCORED_PAIRS) for mark in batch.targets]
    assert sorted(drawn) == pytest.approx(targets)


def test_the_scale_belongs_to_the_fingerprint_of_scored_pairs_only() -> None:
    assert replace(SCORED, score_range=(0.0, 10.0)).fingerprint != SCORED.fingerprint
    assert replace(PAIRS, score_range=(0.0, 10.0)).fingerprint == PAIRS.fingerprint


def test_classes_are_indices_into_their_names() -> None:
    names = class_names(LABELS)
    label = {row.text: row.label for row in LABELS.texts}
    for batch in batches(LABELS, DataForm.LABELLED_TEXTS):
        for text, place in zip(batch.columns[0], batch.targets, strict=True):
            assert names[int(place)] == label[text]


def test_data_declares_what_it_feeds_and_no_more() -> None:
    assert DataForm.TRIPLETS not in PAIRS.forms
    assert DataForm.LABELLED_TEXTS not in PAIRS.forms
    assert DataForm.TRIPLETS in TRIPLETS.forms
    assert SCORED.forms == {DataForm.SCORED_PAIRS}
    one_class = TrainingSet(texts=(LabelledText("a", "x"), LabelledText("b", "x")))
    assert not one_class.forms
    assert {loss.needs for loss in Loss} == set(DataForm)


def recipe(loss: Loss, batch_size: int = 8) -> LocalRecipe:
    return LocalRecipe(
        base_model="m", loss=loss, epochs=1, learning_rate=1e-5, batch_size=batch_size, seed=0
    )


@pytest.mark.parametrize(
    ("loss", "data"),
    [
        (Loss.TRIPLET, PAIRS),
        (Loss.SOFTMAX, PAIRS),
        (Loss.MULTIPLE_NEGATIVES_RANKING, TrainingSet(pairs=(Pair("a", "b"),))),
    ],
)
def test_data_that_cannot_feed_a_loss_is_refused_with_what_it_can_feed(
    loss: Loss, data: TrainingSet
) -> None:
    assert "what it can feed" in str(unfit(recipe(loss), data))


def test_a_batch_of_one_is_refused() -> None:
    ranking = recipe(Loss.MULTIPLE_NEGATIVES_RANKING, batch_size=1)
    assert unfit(ranking, PAIRS) == "there are no negatives in a batch of 1"
    assert unfit(recipe(Loss.MULTIPLE_NEGATIVES_RANKING), PAIRS) is None


@pytest.mark.parametrize(("data", "form"), FORMS)
def test_the_texts_by_role_are_those_of_the_batches(data: TrainingSet, form: DataForm) -> None:
    known = {(text, role) for role, texts in texts_by_role(data).items() for text in texts}
    seen = set()
    for epoch in range(12):
        for batch in batches(data, form, epoch):
            texts, roles = batch.flattened()
            seen |= set(zip(texts, roles, strict=True))
    assert seen <= known
    assert {role for _, role in seen} == {role for _, role in known}


def test_the_number_of_steps_is_that_of_an_epoch() -> None:
    for data, form in FORMS:
        for size in (2, 8, 40):
            rows = Rows(data, form, size, seed=7)
            assert rows.steps_per_epoch == len(list(rows.epoch(0)))
