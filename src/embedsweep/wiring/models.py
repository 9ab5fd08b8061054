"""Backends put together, and models opened from the folders they left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.core.canaries import check_canaries
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import Base
from embedsweep.wiring.evidence import job_book, locations, open_registry, scratch
from embedsweep.wiring.loopback import Loopback
from embedsweep.wiring.providers import Providers

if TYPE_CHECKING:
    from embedsweep.backends.hosted.backend import Keep
    from embedsweep.backends.hosted.meter import Meter
    from embedsweep.backends.local.backend import LocalBackend
    from embedsweep.core.ports import Backend, Embedder

LOOPBACK_FOLDER = "loopback"
SERVICE_FOLDER = "fine-tuning"
CACHE_FOLDER = "embeddings"
REGISTERED = ("models:/", "runs:/")


def local_backend() -> LocalBackend:
    from embedsweep.backends.local.backend import LocalBackend

    return LocalBackend()


class OnDemand(Mapping[str, "Backend"]):
    """Backends by recipe kind, each made when first asked for: the libraries of some take seconds.

    Args:
        makers: By recipe kind, what makes the backend.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Backend]]) -> None:
        self._makers = makers
        self._made: dict[str, Backend] = {}

    def __getitem__(self, kind: str) -> Backend:
        if kind not in self._made:
            self._made[kind] = self._makers[kind]()
        return self._made[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@contextmanager
def providers(home: Path, key_variables: Mapping[str, str]) -> Iterator[Providers]:
    """The providers, the loopback service among them for as long as the context lasts."""
    with closing(Loopback(home / LOOPBACK_FOLDER)) as loopback:
        yield Providers(os.environ, key_variables, loopback)


@dataclass(frozen=True)
class Backends:
    """The backends of an experiment's sweeps, by recipe kind.

    Attributes:
        kept: Vectors of frozen models go through the cache: no text is embedded, or paid for,
            twice.
        live: The same without the cache, as a server has them; what they ask for is billed too.
        meter: Of what all of them are billed.
    """

    kept: Mapping[str, Backend]
    live: Mapping[str, Backend]
    meter: Meter


@contextmanager
def backends(
    stores: str | None, experiment: Experiment, *, cancel_on_interrupt: bool = False
) -> Iterator[Backends]:
    """The backends of an experiment's sweeps, for as long as the context lasts."""
    from embedsweep.backends.embedding_cache import CachedEmbedder, EmbeddingCache, model_identity
    from embedsweep.backends.hosted.meter import Meter
    from embedsweep.backends.hosted.settings import HostedSettings
    from embedsweep.core.jobs import Account

    home, variables = locations(stores).home, experiment.key_variables
    cache = EmbeddingCache(home / CACHE_FOLDER)
    settings = HostedSettings(cancel_on_interrupt=cancel_on_interrupt, key_variables=variables)
    with (
        providers(home, variables) as known,
        job_book(stores) as book,
    ):
        meter = Meter(book, Account(experiment.name, experiment.budget.cost), experiment.prices)

        def cached(base: Base, open_it: Callable[[], Embedder]) -> Embedder:
            return CachedEmbedder(open_it, model_identity(base, base_digest(base)), cache)

        def with_vectors(keep: Keep) -> Mapping[str, Backend]:
            from embedsweep.backends.hosted.backend import HostedBackend

            hosted = HostedBackend(known.connect, book, meter, settings, keep=keep)

            def open_base(base: Base) -> Embedder:
                # What is hosted is kept by its own backend.
                return (
                    hosted.embedder(base)
                    if base.provider
                    else keep(base, partial(_open_local, base))
                )

            def adapter() -> Backend:
                from embedsweep.backends.adapter.backend import AdapterBackend

                return AdapterBackend(open_base, base_digest, variables)

            return OnDemand({"local": local_backend, "adapter": adapter, "hosted": lambda: hosted})

        yield Backends(with_vectors(cached), with_vectors(lambda base, open_it: open_it()), meter)


def base_digest(base: Base) -> str:
    """Identity of an untuned model; raises a `UserError` when it cannot be had."""
    if base.provider:
        from embedsweep.backends.hosted.backend import base_digest as hosted_digest

        return hosted_digest(base)
    # Not by the backend, whose libraries take seconds to load.
    from embedsweep.backends.local.base_models import base_model_digest

    return base_model_digest(base.model)


@contextmanager
def opener(home: Path) -> Iterator[Callable[[Path], Embedder]]:
    """Opens models of every kind from their folders, without a cache or a cap: to be served."""
    with providers(home, {}) as known:
        yield partial(_opened, known)


@contextmanager
def opened_model(stores: str | None, reference: str) -> Iterator[Embedder]:
    """A model by reference: ``models:/…``, ``runs:/…``, a folder or a base model's name.

    Raises:
        DataError: A registered model's files are not what was published, or it gives other vectors
            than when it was measured.
    """
    from embedsweep.backends.local.base_models import base_folder
    from embedsweep.backends.model_file import MODEL_FILE

    home = locations(stores).home
    with opener(home) as open_model:
        if not reference.startswith(REGISTERED):
            folder = Path(reference)
            # A hosted model has no weights, which is what a base model is looked through for.
            is_exported = (folder / MODEL_FILE).is_file()
            yield open_model(folder if is_exported else base_folder(reference))
            return
        with scratch(home) as work:
            embedder = open_model(open_registry(stores).fetch(reference, work))
            check_canaries(embedder, work, reference)
            yield embedder


def _opened(known: Providers, folder: Path) -> Embedder:
    from embedsweep.backends.model_file import kind_of, read_model_file

    kind = kind_of(folder)
    if kind == "local":
        return local_backend().open(folder)
    from embedsweep.backends.hosted.backend import open_hosted, open_hosted_base

    connect = partial(known.connect, key_variable=read_model_file(folder)["key_variable"])
    if kind == "hosted":
        return open_hosted(folder, connect)
    from embedsweep.backends.adapter.backend import AdapterBackend

    def open_base(base: Base) -> Embedder:
        return open_hosted_base(base, connect) if base.provider else _open_local(base)

    return AdapterBackend(open_base, base_digest).open(folder)


def _open_local(base: Base) -> Embedder:
    from embedsweep.backends.local.base_models import base_folder

    return local_backend().open(base_folder(base.model))
