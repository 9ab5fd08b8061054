"""Trials on cached vectors: how many a minute, and that no text is embedded twice for them.

The whole sweep of the experiment, ledger and all, with a counter before the frozen model that the
trials train and measure on. The untuned baseline, and the few canaries that are taken of each kept
model as a server would have it, do not go through the cache and are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embedsweep import wiring
from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.embedding_cache import CachedEmbedder, EmbeddingCache, model_identity
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.recipe import AdapterRecipe, Base
from embedsweep.core.roles import TextRole
from embedsweep.workflows.services import Services
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.own_sweep import own_stores, swept
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import Workload, arms_of, experiment_file

pytestmark = BENCHMARK

ADAPTER = Workload("squad-mini-adapter", 1, 1e-3, 64, {})


class Counted:
    """An embedder that counts what it is asked for; fulfils `core.ports.Embedder`.

    Attributes:
        asked: How often by role and text.
        calls: How often at all.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.asked: Counter[tuple[TextRole, str]] = Counter()
        self.calls = 0

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        return self._embedder.effective_role(role)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        self.calls += 1
        self.asked.update((role, text) for text in texts)
        return self._embedder.embed(texts, role)


def test_adapter_trials_on_cached_vectors(
    data: Path, base_model: str, results: Results, tmp_path: Path
) -> None:
    arm = {**arms_of(ADAPTER)[0], "base_model": base_model}
    search = {"trials": SIZES.adapter_trials, "arms": [arm]}
    experiment, dataset = wiring.load(experiment_file(ADAPTER, tmp_path, search))
    frozen = Counted(LocalBackend("cpu", measuring=True).open(base_folder(base_model)))
    cache = EmbeddingCache(tmp_path / "cache")

    def open_base(base: Base) -> Embedder:
        identity = model_identity(base, base_model_digest(base_model))
        return CachedEmbedder(lambda: frozen, identity, cache)

    def with_counter(services: Services) -> Services:
        adapter = AdapterBackend(open_base, lambda base: base_model_digest(base_model))
        kinds = {"local": services.backends["local"], AdapterRecipe.kind: adapter}
        return replace(services, backends=kinds)

    ours = swept(
        own_stores(tmp_path), experiment, dataset, SIZES.adapter_trials, change=with_counter
    )

    completed = [trial for trial in ours.trials if trial.score is not None]
    texts = set(dataset.train.every_text()) | set(dataset.valid.every_text())
    detail = {
        "trials": len(ours.trials),
        "completed": len(completed),
        "pairs": len(dataset.train),
        "texts": len(texts),
        "calls_at_the_frozen_model": frozen.calls,
        "seconds_in_all": ours.seconds,
    }
    first, *rest = ours.trials  # the first one embeds the texts
    minutes = (rest[-1].ended - first.ended) / 60
    where = "adapter/squad-mini"
    results.record(f"{where}/trials", "trials/min", [len(rest) / minutes], **detail)
    results.record(f"{where}/first_trial", "s", [first.seconds], **detail)
    results.record(f"{where}/trial", "s", [trial.seconds for trial in rest], **detail)
    most = max(frozen.asked.values())
    results.record(f"{where}/embedded_texts", "texts", [frozen.asked.total()], **detail)
    results.record(f"{where}/embeddings_of_a_text", "times", [most], **detail)
    assert most == 1
    assert len(completed) > 0
