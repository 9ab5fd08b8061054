"""An evaluator that measures epoch after epoch gives each what it would have alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from embedsweep.core.dataset import Benchmark, ClassificationTask, Split
from embedsweep.core.roles import TextRole
from embedsweep.evaluation import Evaluator, evaluate
from embedsweep.evaluation.classification import nearest_neighbours

CLASSES = 20
DIMENSION = 32


def texts(count, kind):
    return [f"{kind} {row} of {row % CLASSES:02}" for row in range(count)]


class Epoch:
    """A model that an epoch has moved a little further."""

    dimension = DIMENSION

    def __init__(self, number):
        self.number = number

    def effective_role(self, role):
        return TextRole.PLAIN

    def embed(self, texts, role=TextRole.PLAIN):
        rows = []
        for text in texts:
            noise = np.random.default_rng(list(text.encode())).standard_normal(DIMENSION)
            rows.append(noise + (0.5 + 0.2 * self.number) * CENTRES[int(text[-2:])])
        vectors = np.array(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


CENTRES = np.random.default_rng(4).standard_normal((CLASSES, DIMENSION))
FIT, MEASURED = texts(240, "fit"), texts(300, "measured")


def label(text):
    return f"class {text[-2:]}"


def benchmark():
    by_id = {f"e{row}": text for row, text in enumerate(MEASURED)}
    task = ClassificationTask(
        tuple(FIT), tuple(map(label, FIT)), by_id, {row: label(by_id[row]) for row in by_id}
    )
    return Benchmark("classes", Split.VALID, classification=task)


def test_reports_repeat_whatever_was_measured_between():
    evaluator = Evaluator(benchmark())
    first = evaluator.report(Epoch(1))
    others = [evaluator.report(Epoch(number)) for number in range(4)]
    again = evaluator.report(Epoch(1))
    alone = evaluate(Epoch(1), benchmark())
    assert again.scores == first.scores == alone.scores
    assert again.means == first.means == alone.means
    # The control: a model that an epoch has moved does have other scores.
    assert others[0].scores != first.scores


@pytest.mark.parametrize("fitted", [3, 40, 240])
def test_neighbours_are_scikit_learns(fitted, monkeypatch):
    fit_vectors, vectors = Epoch(1).embed(FIT[:fitted]), Epoch(1).embed(MEASURED)
    labels = list(map(label, FIT[:fitted]))
    theirs = KNeighborsClassifier(min(5, fitted), metric="cosine").fit(fit_vectors, labels)
    expected = theirs.predict(vectors).tolist()
    assert nearest_neighbours(fit_vectors, labels, vectors) == expected
    monkeypatch.setattr("embedsweep.evaluation.classification.BLOCK_BYTES", 7 * fitted * 4)
    assert nearest_neighbours(fit_vectors, labels, vectors) == expected


def test_one_tuple_of_texts_is_asked_of_every_model():
    asked = []

    class Asked(Epoch):
        def embed(self, texts, role=TextRole.PLAIN):
            asked.append(texts)
            return super().embed(texts, role)

    evaluator = Evaluator(benchmark())
    for number in range(3):
        evaluator.report(Asked(number))
    assert len(asked) == 3
    assert asked[0] is asked[1] is asked[2]
    assert isinstance(asked[0], tuple)
    assert len(asked[0]) == len(set(asked[0])) == len(FIT) + len(MEASURED)
