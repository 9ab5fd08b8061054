"""What a sweep is billed at a provider: kept within the cap, and told of every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from embedsweep.stores.job_book import SqlJobBook
from tests.e2e.projects import PAIRS, Ended, Project
from tests.integration.misbehaving_provider import KEY, Misbehaving

pytestmark = pytest.mark.slow

EMBEDDING, TRAINING = 1.0, 1000.0
"""Prices per million tokens."""

TRAINED = 800
"""Tokens that the provider counts for a job; the estimate is a little more."""

LOW, HIGH = 2.0, 10.0
"""Caps: two jobs go into the one, all four into the other."""

EXPERIMENT = f"""
name: billed
data: {{train: pairs.jsonl, split: {{valid: 0.25, test: 0.25, seed: 7}}}}
objective: ndcg@10
search:
  trials: 4
  sampler: grid
  arms:
    - backend: hosted
      base_model: small
      base_url: URL
      epochs: 2
      learning_rate_multiplier: [1.0, 2.0, 3.0, 4.0]
      batch_size: 8
prices: {{small: {{embedding: {EMBEDDING}, training: {TRAINING}}}}}
budget: {{cost: CAP}}
"""


@dataclass(frozen=True)
class Billed:
    """A project whose hosted arm is at a provider that counts."""

    project: Project
    provider: Misbehaving

    def sweep(self, cap: float, *options: str, code: int = 0) -> Ended:
        text = EXPERIMENT.replace("URL", self.provider.url).replace("CAP", str(cap))
        (self.project.folder / "billed.yaml").write_text(text)
        return self.project.run("sweep", "billed.yaml", "--json", *options, code=code)

    def trained(self) -> int:
        return sum(job["trained_tokens"] or 0 for job in self.provider.jobs())

    def embedded(self) -> int:
        counted: int = self.provider.ledger()["embedded_tokens"]
        return counted

    def bill(self) -> float:
        """What the provider would write on its bill."""
        return (self.trained() * TRAINING + self.embedded() * EMBEDDING) / 1e6

    def told(self, metric: str) -> float:
        """The metric's sum over the runs of trials and baselines."""
        return sum(run.data.metrics.get(metric, 0.0) for run in self.project.runs("billed"))

    def booked(self) -> float:
        with closing(SqlJobBook(f"sqlite:///{self.project.home}/study.db")) as book:
            return book.spent("billed")


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Billed]:
    project = Project(tmp_path_factory.mktemp("billed"), EMBEDSWEEP_PROVIDER_KEY=KEY).with_stores()
    project.write_rows("pairs.jsonl", PAIRS)
    with closing(Misbehaving()) as provider:
        provider.tell(statuses=["succeeded"], tokens=TRAINED)
        yield Billed(project, provider)


@pytest.fixture(scope="module")
def capped(billed: Billed) -> Ended:
    return billed.sweep(LOW, "--no-promote", code=5)


def test_the_sweep_ends_before_it_is_billed_more_than_its_cap(
    billed: Billed, capped: Ended
) -> None:
    assert "error: budget reached" in capped.err
    assert "Fix: raise budget.cost" in capped.err
    assert len(billed.provider.jobs()) == 2
    assert 0 < billed.bill() <= LOW


def test_every_run_tells_what_it_was_billed(billed: Billed, capped: Ended) -> None:
    ended = [run for run in billed.project.runs("billed") if run.info.status == "FINISHED"]
    by_role = {
        role: [run.data.metrics for run in ended if run.data.tags["embedsweep.role"] == role]
        for role in ("trial", "baseline")
    }
    assert [metrics["trained_tokens"] for metrics in by_role["trial"]] == [TRAINED, TRAINED]
    assert all(metrics["embedded_tokens"] > 0 for metrics in by_role["trial"])
    # The words of BM25 are nobody's to bill.
    assert sorted("cost" in metrics for metrics in by_role["baseline"]) == [False, True]
    assert billed.told("trained_tokens") == billed.trained()
    assert billed.told("embedded_tokens") == billed.embedded()
    assert billed.told("cost") == pytest.approx(billed.bill(), abs=1e-9)
    assert billed.booked() == pytest.approx(billed.bill(), abs=1e-9)


def test_with_a_higher_cap_it_goes_on(billed: Billed, capped: Ended) -> None:
    document = billed.sweep(HIGH, "--no-promote").document
    assert [trial["state"] for trial in document["trials"]] == ["completed"] * 4
    # The control: without the lower cap it costs more than that.
    assert len(billed.provider.jobs()) == 4
    assert LOW < billed.bill() <= HIGH
    assert billed.told("trained_tokens") == billed.trained()
    assert billed.told("embedded_tokens") == billed.embedded()
    assert billed.told("cost") == pytest.approx(billed.bill(), abs=1e-9)
    # Promotion embeds the test split on top, which is no trial's.
    before = billed.embedded()
    billed.sweep(HIGH)
    assert billed.embedded() > before
    assert billed.booked() == pytest.approx(billed.bill(), abs=1e-9)
