"""What the sample that epochs are measured on says of models, against the whole validation split.

Every pair of models is compared by both: the untuned one, and each epoch of a few trainings. Told
is how many pairs change places, and how far apart the two differences are; a sample may have all
differences larger or smaller and do no harm. Beside ours stands one of as many random documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.core.dataset import Benchmark, RetrievalTask
from embedsweep.core.ports import Embedder, EpochEnd, FloatArray, TrainingListener
from embedsweep.core.report import Measure
from embedsweep.core.roles import TextRole
from embedsweep.evaluation import Evaluator
from embedsweep.evaluation.sample import for_epochs
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import SQUAD_MINI, opened

pytestmark = BENCHMARK

RATES = (2e-5, 1e-4, 2e-4)
EPOCHS = 3


class Remembered:
    """A model that has embedded all texts of a split, and only looks them up."""

    def __init__(self, embedder: Embedder, task: RetrievalTask) -> None:
        self.dimension = embedder.dimension
        self._vectors: dict[tuple[TextRole, str], FloatArray] = {}
        for role, texts in ((TextRole.QUERY, task.queries), (TextRole.DOCUMENT, task.documents)):
            every = tuple(texts.values())
            vectors = embedder.embed(every, role)
            self._vectors |= {(role, text): row for text, row in zip(every, vectors, strict=True)}

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        return np.stack([self._vectors[role, text] for text in texts])

    def effective_role(self, role: TextRole) -> TextRole:
        return role


def test_sample_for_epochs(base_model: str, data: Path, results: Results, tmp_path: Path) -> None:
    experiment, dataset = opened(SQUAD_MINI, tmp_path)
    # Relevance draws pairs of its own.
    valid = replace(dataset.valid, relevance=None)
    task = valid.retrieval
    assert task is not None
    backend = LocalBackend("cpu", measuring=True)
    models = [Remembered(backend.open(base_folder(base_model)), task)]

    def on_epoch(end: EpochEnd) -> None:
        models.append(Remembered(end.embedder, task))

    for rate in RATES[: SIZES.rounds]:
        recipe = replace(SQUAD_MINI.recipe(base_model, 7), epochs=EPOCHS, learning_rate=rate)
        backend.train(recipe, dataset.train, None, TrainingListener(on_epoch=on_epoch))

    sample = for_epochs(valid)
    assert sample.retrieval is not None
    kept = len(sample.retrieval.documents)
    splits = {"whole": valid, "sample": sample, "at_random": _at_random(valid, task, kept)}
    scores = {name: _scores(models, split, experiment.objective) for name, split in splits.items()}
    swapped = {}
    for name in ("sample", "at_random"):
        gains = list(zip(_gains(scores[name]), _gains(scores["whole"]), strict=True))
        swapped[name] = sum(part * whole < 0 for part, whole in gains)
        detail = {"documents": kept, "of": len(task.documents), "scores": scores}
        where = f"sample/squad-mini/{name}"
        results.record(
            f"{where}/swapped", "pairs of models", [swapped[name]], of=len(gains), **detail
        )
        apart = [abs(part - whole) for part, whole in gains]
        results.record(f"{where}/apart", str(experiment.objective), apart, **detail)
    assert swapped["sample"] <= swapped["at_random"]


def _gains(scores: Sequence[float]) -> list[float]:
    return [better - worse for worse, better in combinations(scores, 2)]


def _at_random(valid: Benchmark, task: RetrievalTask, count: int) -> Benchmark:
    """The judged documents, and others drawn at random."""
    judged = {document for grades in task.judgements.values() for document in grades}
    others = sorted(task.documents.keys() - judged)
    drawn = judged.union(Random(7).sample(others, count - len(judged)))
    documents = {name: text for name, text in task.documents.items() if name in drawn}
    return replace(valid, retrieval=replace(task, documents=documents))


def _scores(models: Sequence[Embedder], split: Benchmark, objective: Measure) -> list[float]:
    evaluator = Evaluator(split, objective)
    return [evaluator.report(model).means[objective] for model in models]
