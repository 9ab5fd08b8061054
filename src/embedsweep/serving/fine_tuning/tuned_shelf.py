"""Base models and what was fine-tuned from them, opened when first asked for."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embedsweep.core.errors import UserError
from embedsweep.core.ports import Embedder
from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.disk import NOT_AGAIN, Disk
from embedsweep.serving.fine_tuning.model_book import ModelBook
from embedsweep.serving.fine_tuning.records import TunedModel
from embedsweep.serving.served import Shelf

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """What is fine-tuned here, and how models are opened.

    Attributes:
        base_models: Names that clients know base models by.
        open_base: Opens one of these.
        open_model: Opens the folder that a training left.
        also: Whether a base model that is not listed is offered all the same.
    """

    base_models: Sequence[str]
    open_base: Callable[[str], Embedder]
    open_model: Callable[[Path], Embedder]
    also: Callable[[str], bool] = lambda name: False

    def has(self, name: str) -> bool:
        return name in self.base_models or self.also(name)


class OpenModels:
    """Models in memory, the least recently used ones let go. Safe from any thread.

    Args:
        most: How many are kept. Who embeds with one that is let go goes on doing so.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Embedder] = OrderedDict()
        self._turns: dict[str, threading.Lock] = {}

    def peek(self, model_id: str) -> Embedder | None:
        """The model if it is in memory; that counts as a use."""
        with self._lock:
            if model_id in self._models:
                self._models.move_to_end(model_id)
            return self._models.get(model_id)

    def get(self, model_id: str, open_it: Callable[[], Embedder]) -> Embedder:
        """The model, opened unless it is in memory; who comes meanwhile waits for it."""
        with self._lock:
            turn = self._turns.setdefault(model_id, threading.Lock())
        with turn:
            embedder = self.peek(model_id)
            if embedder is None:
                embedder = open_it()
                self._keep(model_id, embedder)
        return embedder

    def drop(self, model_id: str) -> None:
        with self._lock:
            self._models.pop(model_id, None)

    def _keep(self, model_id: str, embedder: Embedder) -> None:
        with self._lock:
            self._models[model_id] = embedder
            self._turns.pop(model_id, None)
            while len(self._models) > self._most:
                self._models.popitem(last=False)


@dataclass(frozen=True)
class ServedModel:
    """A base model, a fine-tuned model or a checkpoint; fulfils `serving.served.Served`."""

    id: str
    created: int
    models: OpenModels
    open_it: Callable[[], Embedder]
    version: None = None
    fingerprint: None = None

    @property
    def embedder(self) -> Embedder | None:
        return self.models.peek(self.id)

    def open(self) -> Embedder:
        return self.models.get(self.id, self.open_it)


class TunedShelf:
    """The base models, which are everybody's, and each owner's own.

    Args:
        offer: What is served, and how it is opened.
        book: The fine-tuned models.
        disk: Where they lie.
        most: How many are kept in memory.
        now: When the base models began to be served, in Unix seconds.
    """

    def __init__(self, offer: Offer, book: ModelBook, disk: Disk, most: int, now: int) -> None:
        self._offer = offer
        self._book = book
        self._disk = disk
        self._models = OpenModels(most)
        self._now = now

    def find(self, model_id: str, owner: str) -> ServedModel | None:
        if model_id in self._offer.base_models:
            return self._base(model_id)
        model = self._book.find(model_id, owner)
        if model is not None:
            return self._tuned(model)
        return self._base(model_id) if self._offer.also(model_id) else None

    def listings(self, owner: str) -> list[ServedModel]:
        """Checkpoints are left out, though they are served: their jobs list them."""
        bases = [self._base(name) for name in self._offer.base_models]
        return bases + [self._tuned(model) for model in self._book.all(owner)]

    def drop(self, model_id: str) -> None:
        """Let go of a model that was deleted."""
        self._models.drop(model_id)

    def _base(self, name: str) -> ServedModel:
        return ServedModel(name, self._now, self._models, partial(self._open_base, name))

    def _tuned(self, model: TunedModel) -> ServedModel:
        return ServedModel(
            model.id, model.created_at, self._models, partial(self._open_tuned, model)
        )

    def _open_base(self, name: str) -> Embedder:
        try:
            return self._offer.open_base(name)
        except UserError as error:
            logger.error("the base model %s cannot be opened: %s", name, error)
            raise _unavailable(name) from None

    def _open_tuned(self, model: TunedModel) -> Embedder:
        try:
            return self._offer.open_model(self._disk.models / model.folder)
        except (UserError, OSError) as error:
            if self._book.find(model.id, model.owner) is None:
                message = f"model {model.id!r} was deleted"
                raise ApiError(404, "model_not_found", message, "model") from None
            logger.error("the model %s cannot be opened: %s", model.id, error)
            raise _unavailable(model.id) from None


def _unavailable(name: str) -> ApiError:
    message = f"model {name!r} cannot be opened; the server's log tells why"
    return ApiError(500, "model_unavailable", message, headers=NOT_AGAIN)


_: type[Shelf] = TunedShelf
