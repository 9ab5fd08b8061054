"""The probe begun where it ended: the same optimum, in fewer steps, and nobody else's business."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from embedsweep.core.dataset import Benchmark, ClassificationTask, Split, TextRole
from embedsweep.evaluation import Evaluator, WarmStart, evaluate
from embedsweep.evaluation.classification import (
    ACCURACY,
    WARM_TOLERANCE,
    fit_probe,
    nearest_neighbours,
)

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


def optimum(number):
    """The predictions of a solver that goes on for as long as it can."""
    probe = LogisticRegression(max_iter=10_000, tol=1e-9)
    probe.fit(Epoch(number).embed(FIT).astype(np.float64), list(map(label, FIT)))
    return probe.predict(Epoch(number).embed(MEASURED))


def steps(probe):
    return int(probe.n_iter_[0])


def test_it_ends_at_the_optimum_wherever_it_began():
    labels = list(map(label, FIT))
    for before in (0, 2, 5):
        start = WarmStart()
        fit_probe(Epoch(before).embed(FIT), labels, start)
        probe, converged = fit_probe(Epoch(3).embed(FIT), labels, start)
        assert converged
        assert start.probe is probe
        differing = probe.predict(Epoch(3).embed(MEASURED)) != optimum(3)
        assert differing.mean() < 1e-2


def test_it_takes_fewer_steps_than_a_start_from_nothing_to_the_same_tolerance():
    labels = list(map(label, FIT))
    start = WarmStart()
    fit_probe(Epoch(3).embed(FIT), labels, start)
    assert start.probe.tol == WARM_TOLERANCE
    nothing, _ = fit_probe(Epoch(3.2).embed(FIT), labels, WarmStart())
    near, _ = fit_probe(Epoch(3.2).embed(FIT), labels, start)
    assert steps(near) < steps(nothing)


def test_without_a_start_reports_repeat_whatever_was_measured_between():
    evaluator = Evaluator(benchmark())
    first = evaluator.report(Epoch(1))
    start = WarmStart()
    for number in range(4):
        evaluator.report(Epoch(number), start)
    again = evaluator.report(Epoch(1))
    alone = evaluate(Epoch(1), benchmark())
    assert again.scores == first.scores == alone.scores
    assert again.means == first.means == alone.means


def test_starts_of_two_trainings_do_not_meet():
    evaluator = Evaluator(benchmark())
    alone = WarmStart()
    by_itself = [evaluator.report(Epoch(number), alone).scores for number in (1, 2)]
    ours, theirs = WarmStart(), WarmStart()
    beside = []
    for number in (1, 2):
        evaluator.report(Epoch(number + 3), theirs)
        beside.append(evaluator.report(Epoch(number), ours).scores)
    assert beside == by_itself
    assert ours.probe is not theirs.probe


def test_control_a_start_that_is_shared_decides_where_the_solver_stops():
    labels = list(map(label, FIT))
    shared, own = WarmStart(), WarmStart()
    fit_probe(Epoch(0).embed(FIT), labels, shared)
    ours, _ = fit_probe(Epoch(1).embed(FIT), labels, own)
    theirs, _ = fit_probe(Epoch(1).embed(FIT), labels, shared)
    assert not np.array_equal(ours.coef_, theirs.coef_)


@pytest.mark.parametrize(
    ("dimension", "classes"), [(DIMENSION, 5), (DIMENSION - 1, CLASSES)], ids=["classes", "length"]
)
def test_a_start_of_another_task_is_none(dimension, classes):
    labels = list(map(label, FIT))
    start = WarmStart()
    fit_probe(Epoch(1).embed(FIT), labels, start)
    some = [row for row, text in enumerate(FIT) if int(text[-2:]) < classes]
    vectors = Epoch(2).embed(FIT)[some][:, :dimension]
    names = [labels[row] for row in some]
    probe, _ = fit_probe(vectors, names, start)
    fresh, _ = fit_probe(vectors, names, WarmStart())
    assert np.array_equal(probe.coef_, fresh.coef_)


def test_a_probe_that_did_not_converge_is_no_start():
    start = WarmStart()
    vectors = Epoch(1).embed(FIT).astype(np.float64) * 1e100
    assert not fit_probe(vectors, list(map(label, FIT)), start)[1]
    assert start.probe is None


def test_the_accuracy_of_a_warm_start_is_that_of_the_optimum():
    evaluator, start = Evaluator(benchmark()), WarmStart()
    for number in range(5):
        found = evaluator.report(Epoch(number), start).means[ACCURACY]
        expected = np.mean(optimum(number) == list(map(label, MEASURED)))
        assert found == pytest.approx(expected, abs=4e-3)


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
