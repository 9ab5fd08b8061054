"""Backends put together, and models opened from the folders they left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from embedsweep.core.canaries import check_canaries
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import Base
from embedsweep.wiring.evidence import job_book, locations, open_registry, scratch
from embedsweep.wiring.loopback import Loopback
from embedsweep.wiring.providers import Providers

if TYPE_CHECKING:
    from embedsweep.backends.hosted.backend import HostedBackend, Keep
    from embedsweep.backends.hosted.meter import Meter
    from embedsweep.backends.local.backend import LocalBackend
    from embedsweep.core.ports import Backend, Embedder

LOOPBACK_FOLDER = "loopback"
SERVICE_FOLDER = "fine-tuning"
CACHE_FOLDER = "embeddings"
ARRAYS_FOLDER = "arrays"
SERVER_PATIENCE = 20.0
"""Seconds that a command waits for a server that a person named; a sweep waits longer."""
REGISTERED = ("models:/", "runs:/")


def local_backend(home: Path | None = None, *, measuring: bool = False) -> LocalBackend:
    """Models of this machine.

    Args:
        home: Where token ids and the states of frozen layers are shared among trials and
            processes; None for nowhere.
        measuring: See `LocalBackend`.
    """
    from embedsweep.backends.local.backend import LocalBackend

    arrays = home / ARRAYS_FOLDER if home is not None else None
    return LocalBackend(arrays=arrays, measuring=measuring)


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


def load_libraries(kinds: Iterable[str]) -> None:
    """Those that the backends of these kinds of recipe need."""
    for kind in kinds:
        import_module(f"embedsweep.backends.{kind}.backend")


@contextmanager
def providers(
    home: Path, key_variables: Mapping[str, str], *, measuring: bool = False
) -> Iterator[Providers]:
    """The providers, the loopback service among them for as long as the context lasts."""
    with closing(Loopback(home / LOOPBACK_FOLDER, measuring=measuring)) as loopback:
        yield Providers(os.environ, key_variables, loopback)


@dataclass(frozen=True)
class Backends:
    """The backends of an experiment's sweeps, by recipe kind.

    Attributes:
        kept: To measure with. Vectors of frozen models go through the cache: no text is embedded,
            or paid for, twice. Models of this machine embed in the precision they train in.
        live: As a server has them: without the cache, in float32; what they ask for is billed too.
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
    from embedsweep.core.jobs import Account

    home, variables = locations(stores).home, experiment.key_variables
    vectors = EmbeddingCache(home / CACHE_FOLDER)
    with (
        providers(home, variables, measuring=True) as known,
        job_book(stores) as book,
    ):
        meter = Meter(book, Account(experiment.name, experiment.budget.cost), experiment.prices)

        def cached(base: Base, open_it: Callable[[], Embedder]) -> Embedder:
            digest = base_digest(base)
            # Those of a model of this machine are as exact as it measures here.
            digest = digest if base.provider else f"{digest} in {_measuring_precision()}"
            return CachedEmbedder(open_it, model_identity(base, digest), vectors)

        def with_vectors(keep: Keep, *, measuring: bool) -> Mapping[str, Backend]:
            @cache
            def hosted() -> HostedBackend:
                from embedsweep.backends.hosted.backend import HostedBackend
                from embedsweep.backends.hosted.settings import HostedSettings

                settings = HostedSettings(
                    cancel_on_interrupt=cancel_on_interrupt, key_variables=variables
                )
                return HostedBackend(known.connect, book, meter, settings, keep=keep)

            local = cache(partial(local_backend, home, measuring=measuring))

            @cache
            def open_local(base: Base) -> Embedder:
                # One frozen model serves every trial that stands on it.
                return local().embedder(base)

            def open_base(base: Base) -> Embedder:
                # What is hosted is kept by its own backend.
                return (
                    hosted().embedder(base)
                    if base.provider
                    else keep(base, partial(open_local, base))
                )

            def adapter() -> Backend:
                from embedsweep.backends.adapter.backend import AdapterBackend

                return AdapterBackend(open_base, base_digest, variables)

            return OnDemand({"local": local, "adapter": adapter, "hosted": hosted})

        yield Backends(
            kept=with_vectors(cached, measuring=True),
            live=with_vectors(lambda base, open_it: open_it(), measuring=False),
            meter=meter,
        )


def _measuring_precision() -> str:
    from embedsweep.backends.local.devices import best_device, fast_precision

    return str(fast_precision(best_device())).removeprefix("torch.")


def base_digest(base: Base) -> str:
    """Identity of an untuned model; raises a `UserError` when it cannot be had."""
    if base.provider:
        from embedsweep.backends.hosted.identity import base_digest as hosted_digest

        return hosted_digest(base)
    # Not by the backend, whose libraries take seconds to load.
    from embedsweep.backends.local.base_models import base_model_digest

    return base_model_digest(base.model, base.revision)


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


@contextmanager
def model_at(
    stores: str | None, url: str, name: str, key_variable: str | None = None
) -> Iterator[Embedder]:
    """A model of a server that speaks the OpenAI API.

    Args:
        stores: Where the evidence is kept.
        url: Base URL of the server.
        name: The server's name of the model.
        key_variable: Variable that holds the server's key; `None` for the default one.

    Raises:
        UsageError: If the URL is not one of HTTP, or the variable is not set.
    """
    from embedsweep.backends.hosted.backend import open_hosted_base

    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(
            f"--url {url}",
            "the command line",
            "it starts with neither http:// nor https://",
            "give the server's base URL, such as --url http://127.0.0.1:8000/v1",
        )
    with providers(locations(stores).home, {}) as known:
        connect = partial(known.connect, key_variable=key_variable)
        yield open_hosted_base(Base(name, url.rstrip("/")), connect, SERVER_PATIENCE)


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
        return open_hosted_base(base, connect) if base.provider else local_backend().embedder(base)

    return AdapterBackend(open_base, base_digest).open(folder)
