"""Models that are worth nothing: every one ends as a failure, none is the best, none is promoted.

Each is trained by a backend of its own through the whole story. Below the health check, measuring
itself gives them no more than a random order of the documents would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from embedsweep.core.dataset import Benchmark, RetrievalTask, Split
from embedsweep.core.errors import Refusal
from embedsweep.core.experiment import DataSpec, Experiment, Sampler
from embedsweep.core.ports import EpochEnd
from embedsweep.core.promotion import Verdict
from embedsweep.core.report import Measure
from embedsweep.core.roles import TextRole
from embedsweep.core.space import Arm, Choice, SearchSpace
from embedsweep.core.trial import Completed, Failed, Role
from embedsweep.evaluation import evaluate
from embedsweep.workflows.compare import leaderboard
from embedsweep.workflows.promote import promote
from embedsweep.workflows.sweep import run_sweep
from tests.integration.table_backend import DIMENSION, TableEmbedder, table_dataset
from tests.integration.table_story import services_of

MRR, NDCG = Measure("mrr", 10), Measure("ndcg", 10)
DATASET = table_dataset()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sound(texts, noise=1.0):
    return TableEmbedder(noise).embed(texts)


def constant(texts):
    return unit(np.ones((len(texts), DIMENSION), np.float32))


def collapsed(texts):
    return unit(1 + 0.05 * sound(texts))


def zero(texts):
    return np.zeros((len(texts), DIMENSION), np.float32)


def not_a_number(texts):
    return np.full((len(texts), DIMENSION), np.nan, np.float32)


def one_hot_by_length(texts):
    return np.eye(DIMENSION, dtype=np.float32)[[len(text) % DIMENSION for text in texts]]


def overflows_in_half_precision(texts):
    """Half precision ends at 65 504; what is infinite has no direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        halves = (1e6 * sound(texts)).astype(np.float16)
        return unit(halves.astype(np.float32))


def collapses_on_the_test_split(texts):
    unseen = np.array(["topic test" in text for text in texts])[:, np.newaxis]
    return np.where(unseen, constant(texts), sound(texts, noise=0.1)).astype(np.float32)


DEGENERATE = {
    constant: "collapsed",
    collapsed: "collapsed",
    zero: "zero_vectors",
    not_a_number: "non_finite_vectors",
    one_hot_by_length: "indistinct",
    overflows_in_half_precision: "non_finite_vectors",
}
MODELS = {each.__name__: each for each in (*DEGENERATE, sound, collapses_on_the_test_split)}


@dataclass(frozen=True)
class Model:
    """An embedder by its name in `MODELS`."""

    name: str
    dimension: int = DIMENSION

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN

    def embed(self, texts, role=TextRole.PLAIN):
        return MODELS[self.name](list(texts))


@dataclass(frozen=True)
class NamedBackend:
    """Trains the model whose place among `names` is a hundredth of the learning rate."""

    names: list[str]

    def base_digest(self, base):
        return f"digest of {base}"

    def untuned(self, base, folder: Path) -> None:
        self._save("sound", folder)

    def train(self, recipe, data, folder: Path | None, listener) -> None:
        name = self.names[round(100 * recipe.learning_rate) - 1]
        save = partial(self._save, name)
        listener.on_epoch(EpochEnd(1, {"train/loss": 0.0}, Model(name), save))
        if folder is not None:
            self._save(name, folder)

    def open(self, folder: Path) -> Model:
        return Model(json.loads((folder / "config.json").read_text())["model"])

    def _save(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model": name}))


def experiment(models: int) -> Experiment:
    """A grid of one trial for each model."""
    knobs = {
        "base_model": Choice(("table",)),
        "loss": Choice(("cosent",)),
        "epochs": Choice((1,)),
        "learning_rate": Choice(tuple(place / 100 for place in range(1, models + 1))),
        "batch_size": Choice((8,)),
    }
    return Experiment(
        name="worthless",
        path=Path("worthless.yaml"),
        text="name: worthless\n",
        data=DataSpec("topics", builtin="memory"),
        objective=MRR,
        space=SearchSpace((Arm("local", "local", knobs),), seed=7),
        trials=models,
        sampler=Sampler.GRID,
        model="worthless",
    )


@pytest.fixture
def swept(tmp_path):
    """Sweeps over models by name; gives the experiment, the services and each model's trial."""

    def sweep(*names):
        backend = NamedBackend(list(names))
        services = services_of(tmp_path, backend)
        of = experiment(len(names))
        trials = services.ledger.trials(run_sweep(of, DATASET, services))
        drawn = [trial for trial in trials if trial.role is Role.TRIAL]
        by_name = {names[round(100 * each.recipe.learning_rate) - 1]: each for each in drawn}
        return of, services, by_name

    return sweep


def test_every_one_fails_with_its_reason_and_none_is_best_or_promotable(swept):
    expected = {model.__name__: kind for model, kind in DEGENERATE.items()}
    of, services, trials = swept(*expected)
    found = {name: getattr(trial.outcome, "kind", None) for name, trial in trials.items()}
    assert found == expected
    assert all(trial.metrics == {} and trial.model_reference is None for trial in trials.values())
    assert leaderboard(services.ledger, of.name).best is None
    with pytest.raises(Refusal, match="no trial has a score"):
        promote(of, DATASET, services)
    assert services.registry.resolve(of.model) is None


def test_a_sound_one_among_them_is_the_best(swept):
    of, services, trials = swept(*(model.__name__ for model in DEGENERATE), "sound")
    assert [name for name, each in trials.items() if isinstance(each.outcome, Completed)] == [
        "sound"
    ]
    assert leaderboard(services.ledger, of.name).best == trials["sound"]


def test_control_without_the_check_most_are_scored_and_one_is_the_best(swept, monkeypatch):
    monkeypatch.setattr("embedsweep.evaluation.vectors.check_vectors", lambda *_: None)
    of, services, trials = swept(*(model.__name__ for model in DEGENERATE))
    scored = [name for name, each in trials.items() if isinstance(each.outcome, Completed)]
    assert {"constant", "collapsed", "zero", "one_hot_by_length"} <= set(scored)
    best = leaderboard(services.ledger, of.name).best
    assert best in [trials[name] for name in scored]


def test_what_collapses_on_the_test_split_alone_is_refused_there(swept):
    of, services, trials = swept("collapses_on_the_test_split")
    [trial] = trials.values()
    assert not isinstance(trial.outcome, Failed)
    assert trial.score(MRR) > 0.9
    decision = promote(of, DATASET, services).decision
    assert decision.verdict is Verdict.REFUSED
    assert "collapsed" in decision.reasons[0]
    champion = services.registry.resolve(of.model)
    assert champion.number == decision.champion_version != decision.version


def search(where, documents=400, queries=60):
    """One relevant document for each query: the first, the last, or any of the corpus."""
    places = {
        "first": np.zeros(queries, int),
        "last": np.full(queries, documents - 1),
        "random": np.random.default_rng(9).integers(0, documents, queries),
    }[where]
    return RetrievalTask(
        {f"q{row}": f"query {row}" for row in range(queries)},
        {f"d{place}": f"document {place}" for place in range(documents)},
        {f"q{row}": {f"d{place}": 1} for row, place in enumerate(places)},
    )


PLACES = ("first", "last", "random")


@pytest.mark.parametrize("model", [constant, zero], ids=lambda each: each.__name__)
def test_measuring_alike_vectors_gives_the_same_wherever_the_relevant_document_is(
    model, monkeypatch
):
    monkeypatch.setattr("embedsweep.evaluation.vectors.check_vectors", lambda *_: None)
    found = {
        where: evaluate(
            Model(model.__name__), Benchmark("b", Split.VALID, search(where)), NDCG
        ).means
        for where in PLACES
    }
    for measure in found["first"]:
        values = [found[where][measure] for where in PLACES]
        assert max(values) - min(values) < 0.02, measure
    random_order = sum(1 / np.log2(np.arange(2, 12))) / 400
    assert found["first"][NDCG] == pytest.approx(random_order)


def test_control_ranking_by_the_order_of_the_corpus_calls_them_perfect_or_hopeless():
    found = {}
    for where in PLACES:
        task = search(where)
        queries, documents = (constant(texts) for texts in (task.queries, task.documents))
        order = np.argsort(-(queries @ documents.T).round(5), axis=1, kind="stable")
        relevant = [int(next(iter(each))[1:]) for each in task.judgements.values()]
        ranks = [1 + row.tolist().index(place) for row, place in zip(order, relevant, strict=True)]
        found[where] = fmean(1 / np.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks)
    assert found["first"] == 1.0
    assert found["last"] == 0.0
