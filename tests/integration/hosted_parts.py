"""What the tests of the hosted backend share: small recipes, a fast clock, and a backend."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedsweep.backends.hosted.backend import HostedBackend
from embedsweep.backends.hosted.clock import Clock
from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.provider import open_client
from embedsweep.backends.hosted.settings import HostedSettings
from embedsweep.core.bill import Price
from embedsweep.core.dataset import LabelledText, TrainingSet
from embedsweep.core.jobs import Account
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import FileForm, HostedRecipe
from embedsweep.stores.job_book import SqlJobBook
from tests.integration.misbehaving_provider import KEY

SPEED = 200.0
"""The hosted backend's seconds in one of ours: a minute of settling takes 0.3 s."""

PROVIDER = "http://provider.example/v1"
RECIPE = HostedRecipe(
    base_model="all-MiniLM-L6-v2",
    provider=PROVIDER,
    form=FileForm.LABELLED,
    epochs=2,
    learning_rate_multiplier=0.5,
    batch_size=4,
    seed=7,
)
DATA = TrainingSet(
    texts=tuple(
        LabelledText(text, label)
        for text, label in (
            ("apple pie", "fruit"),
            ("pear tart", "fruit"),
            ("red car", "vehicle"),
            ("blue bus", "vehicle"),
        )
    )
)


def fast_clock(slept=None):
    def sleep(seconds):
        if slept is not None:
            slept.append(seconds)
        time.sleep(seconds / SPEED)

    return Clock(lambda: time.monotonic() * SPEED, sleep, lambda: 0.0)


@dataclass
class Heard:
    """A listener, and all that it was told."""

    epochs: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    metrics: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    def listener(self, on_epoch=None):
        def remember(end):
            self.epochs.append((end.epoch, dict(end.losses)))
            self.scores.append(score_of(end.embedder))
            if on_epoch is not None:
                on_epoch(end)

        return TrainingListener(
            on_epoch=remember,
            on_step=lambda done, total: self.steps.append((done, total)),
            on_metrics=lambda step, metrics: self.metrics.append((step, dict(metrics))),
            on_fact=self.facts.__setitem__,
            say=self.lines.append,
        )


def score_of(embedder):
    first, second = embedder.embed(["apple", "pear"])
    return float(first @ second)


@dataclass
class Desk:
    """A backend at a provider, with its book."""

    url: str
    folder: Path
    cap: float | None = None
    prices: dict = field(default_factory=dict)
    settings: HostedSettings = field(default_factory=HostedSettings)
    key: str = KEY
    read_seconds: float = 20.0
    http_client: object = None
    book: object = None
    scope: str = "sweep"
    clock: Clock | None = None

    def __post_init__(self):
        self.slept = []
        self.book = self.book or SqlJobBook(f"sqlite:///{self.folder / 'jobs.db'}")
        self.meter = Meter(self.book, Account(self.scope, self.cap), self.prices)
        self.backend = HostedBackend(
            lambda name: open_client(self.url, self.key, self.read_seconds, self.http_client),
            self.book,
            self.meter,
            self.settings,
            self.clock or fast_clock(self.slept),
        )
        self.heard = Heard()

    def train(self, recipe=RECIPE, on_epoch=None, data=DATA):
        folder = self.folder / f"model-{time.monotonic_ns()}"
        self.backend.train(recipe, data, folder, self.heard.listener(on_epoch))
        return folder


def price_for(cost, recipe=RECIPE):
    """Prices by which the recipe's job is estimated at this cost."""
    tokens = sum(max(1, -(-len(row.text) // 4)) for row in DATA.texts) * recipe.epochs
    return {recipe.base_model: Price(training=cost / tokens * 1e6)}


def other(number):
    return replace(RECIPE, seed=100 + number)
