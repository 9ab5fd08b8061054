"""The story of promotion on a quick backend: looks, verdicts, guards, history, rollback."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from embedsweep.core.dataset import Benchmark, Dataset
from embedsweep.core.errors import Refusal, UsageError
from embedsweep.core.looks import Look
from embedsweep.core.ports import FloatArray
from embedsweep.core.promotion import PromotionPolicy, Verdict
from embedsweep.core.roles import TextRole
from embedsweep.stores.memory import MemoryRegistry
from embedsweep.workflows.promote import promote
from embedsweep.workflows.rollback import history, rollback
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import SweepOptions, run_sweep
from tests.integration.table_backend import TableBackend, TableEmbedder, table_dataset
from tests.integration.table_story import DATASET, experiment, services_of


@pytest.fixture
def backend() -> TableBackend:
    return TableBackend()


@pytest.fixture
def services(tmp_path: Path, backend: TableBackend) -> Services:
    return services_of(tmp_path, backend)


def test_promotion_history_and_rollback(services: Services) -> None:
    run_sweep(experiment(trials=8), DATASET, services)
    promotion = promote(experiment(), DATASET, services)
    decision = promotion.decision
    assert decision.verdict is Verdict.PROMOTED
    assert (decision.previous_version, decision.version, decision.champion_version) == (1, 2, 2)
    again = promote(experiment(), DATASET, services)
    assert again.recorded
    assert again.decision == decision
    back = rollback(services.registry, "topics")
    assert back.champion_version == 1
    rows = history(services.registry, "topics")
    assert [row["verdict"] for row in rows] == ["promoted", "rolled back"]
    champion = services.registry.resolve("topics")
    assert champion is not None
    assert champion.number == 1
    with pytest.raises(UsageError, match="models there are: topics"):
        rollback(services.registry, "nobody")


def test_what_does_not_beat_the_untuned_model_becomes_challenger(services: Services) -> None:
    strict = experiment(policy=PromotionPolicy(min_gain=0.99))
    run_sweep(strict, DATASET, services)
    decision = promote(strict, DATASET, services).decision
    assert decision.verdict is Verdict.INCONCLUSIVE
    champion = services.registry.resolve("topics")
    challenger = services.registry.resolve("topics", "challenger")
    assert champion is not None
    assert challenger is not None
    assert (champion.number, challenger.number, decision.champion_version) == (1, 2, 1)
    with pytest.raises(Refusal, match="first champion"):
        rollback(services.registry, "topics")


def test_too_small_a_test_split_gives_no_verdict(services: Services) -> None:
    small = table_dataset(test_queries=20)
    run_sweep(experiment(), small, services)
    decision = promote(experiment(), small, services).decision
    assert decision.verdict is Verdict.REFUSED
    assert "at least 30" in decision.reasons[0]


def looks(services: Services) -> list[Look]:
    assert isinstance(services.registry, MemoryRegistry)
    return services.registry.looks("topics")


def test_the_look_is_on_record_before_the_split_is_opened(services: Services) -> None:
    run_sweep(experiment(), DATASET, services)
    seen: list[int] = []

    def opened() -> Benchmark:
        seen.append(len(looks(services)))
        raise KeyboardInterrupt

    dying = replace(DATASET, sealed_test=opened)
    with pytest.raises(KeyboardInterrupt):
        promote(experiment(), dying, services)
    assert seen == [1]
    assert services.registry.history("topics") == []
    # The same candidate goes on with the look it has paid for.
    decision = promote(experiment(), DATASET, services).decision
    assert (decision.look, decision.alpha) == (1, 0.025)
    assert len(looks(services)) == 1


def test_a_look_at_other_data_opens_nothing(services: Services) -> None:
    run_sweep(experiment(), DATASET, services)
    promote(experiment(), DATASET, services)
    other = table_dataset(test_queries=60)
    with pytest.raises(Refusal, match="the look on record is at"):
        other.unseal(looks(services)[0])


def better_each_time(services: Services, rounds: int) -> None:
    """Promote after every one of so many sweeps, each with a candidate of its own."""
    for number in range(rounds):
        longer = experiment(trials=6 + number, space=replace(experiment().space, seed=number))
        run_sweep(longer, DATASET, services, SweepOptions(new_study=True))
        promote(longer, DATASET, services)


def test_a_test_split_that_has_judged_five_candidates_judges_no_sixth(
    services: Services,
) -> None:
    better_each_time(services, 5)
    assert [look.number for look in looks(services)] == [1, 2, 3, 4, 5]
    champion = services.registry.resolve("topics")
    with pytest.raises(Refusal, match="5 candidates were judged on this test split"):
        better_each_time(services, 7)
    assert services.registry.resolve("topics") == champion
    new = table_dataset(test_queries=130)
    run_sweep(experiment(), new, services, SweepOptions(new_study=True))
    assert promote(experiment(), new, services).decision.look == 1


@dataclass(frozen=True)
class Broken(TableEmbedder):
    """Sound on the validation split, and nothing but zeros for the texts of the test split."""

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        vectors = super().embed(texts, role)
        return np.asarray(vectors * [["test" not in text] for text in texts], dtype=np.float32)


def test_a_candidate_whose_vectors_break_on_test_texts_is_refused(
    services: Services, backend: TableBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(experiment(), DATASET, services)
    sound = TableBackend.open

    def open_broken(self: TableBackend, folder: Path) -> TableEmbedder:
        opened = sound(self, folder)
        return opened if opened.noise == 2.5 else Broken(opened.noise)

    monkeypatch.setattr(TableBackend, "open", open_broken)
    decision = promote(experiment(), DATASET, services).decision
    assert decision.verdict is Verdict.REFUSED
    assert decision.comparison is None
    assert "zero_vectors" in decision.reasons[0]
    assert decision.champion_version == 1
    assert services.registry.history("topics") == [decision]


@pytest.mark.parametrize(
    ("in_use", "verdict"), [(True, Verdict.REFUSED), (False, Verdict.PROMOTED)]
)
def test_vectors_of_another_length_are_refused_where_a_champion_was_in_use(
    services: Services, monkeypatch: pytest.MonkeyPatch, in_use: bool, verdict: Verdict
) -> None:
    run_sweep(experiment(), DATASET, services)
    if in_use:
        sweep = services.ledger.latest("topics")
        assert sweep is not None
        untuned = services.ledger.trials(sweep)[0]
        services.registry.crown(services.registry.publish("topics", untuned), expected=None)
    sound = TableBackend.open

    def open_longer(self: TableBackend, folder: Path) -> TableEmbedder:
        opened = sound(self, folder)
        return opened if opened.noise == 2.5 else replace(opened, dimension=20)

    monkeypatch.setattr(TableBackend, "open", open_longer)
    decision = promote(experiment(), DATASET, services).decision
    assert decision.verdict is verdict
    assert ("20 dimensions, the champion's 16" in decision.reasons[0]) is in_use


@dataclass(frozen=True)
class Slow(TableEmbedder):
    """Takes its time."""

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        time.sleep(0.003)
        return super().embed(texts, role)


def test_a_candidate_that_is_too_slow_is_refused(services: Services) -> None:
    guarded = experiment(policy=PromotionPolicy(max_latency=3.0))
    run_sweep(guarded, DATASET, services)

    def open_live(folder: Path) -> TableEmbedder:
        opened = services.open(folder)
        assert isinstance(opened, TableEmbedder)
        return opened if opened.noise == 2.5 else Slow(opened.noise)

    decision = promote(guarded, DATASET, replace(services, open_live=open_live)).decision
    assert decision.verdict is Verdict.REFUSED
    assert "3 times as long is allowed" in decision.reasons[0]
    assert decision.comparison is not None
    assert decision.comparison.latencies is not None
    assert decision.comparison.latencies[0] > 0.003


def sliced(dataset: Dataset) -> Dataset:
    """The first 40 queries of the test split are in a slice of their own."""
    test = dataset.sealed_test()
    ids = list(test.retrieval.queries if test.retrieval else ())
    slices = {each: "hard" if place < 40 else "easy" for place, each in enumerate(ids)}
    return replace(dataset, sealed_test=lambda: replace(test, slices=slices))


@dataclass(frozen=True)
class Uneven(TableEmbedder):
    """Good, but for the first forty topics."""

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        hard = [f"topic test{number}:" for number in range(40)]
        other = [f"{text}, {role}" if text.startswith(tuple(hard)) else text for text in texts]
        noisy = TableEmbedder(8.0).embed(other)
        is_hard = np.array([text.startswith(tuple(hard)) for text in texts])[:, np.newaxis]
        return np.where(is_hard, noisy, super().embed(texts, role)).astype(np.float32)


@pytest.mark.parametrize(
    ("slice_loss", "verdict"), [(-0.05, Verdict.REFUSED), (None, Verdict.PROMOTED)]
)
def test_a_gain_on_the_whole_does_not_pay_for_a_slice_that_loses(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    slice_loss: float | None,
    verdict: Verdict,
) -> None:
    guarded = experiment(policy=PromotionPolicy(slice_loss=slice_loss))
    run_sweep(guarded, DATASET, services)
    sound = TableBackend.open

    def open_uneven(self: TableBackend, folder: Path) -> TableEmbedder:
        opened = sound(self, folder)
        return TableEmbedder(1.0) if opened.noise == 2.5 else Uneven(0.3)

    monkeypatch.setattr(TableBackend, "open", open_uneven)
    decision = promote(guarded, sliced(DATASET), services).decision
    assert decision.verdict is verdict, decision.reasons
    assert decision.comparison is not None
    assert decision.comparison.gain > 0
    if slice_loss is not None:
        assert "1 of 2 slices lose more than -0.0500 allows: 'hard'" in decision.reasons[0]


def test_the_decision_tells_how_optimistic_the_winners_score_was(services: Services) -> None:
    run_sweep(experiment(), DATASET, services)
    comparison = promote(experiment(), DATASET, services).decision.comparison
    assert comparison is not None
    assert comparison.optimism is not None
    assert 0 < comparison.optimism < 0.1


def test_the_version_carries_the_evidence_for_people(services: Services) -> None:
    run_sweep(experiment(), DATASET, services)
    decision = promote(experiment(), DATASET, services).decision
    assert isinstance(services.registry, MemoryRegistry)
    assert decision.version is not None
    text = services.registry.descriptions["topics", decision.version]
    assert "promoted" in text
    assert f"{decision.look}" in text
