"""What the trainings of one sweep share: a frozen model's vectors, and the batches drawn of them.

None of it hangs on a trial: vectors follow from the model and the texts, batches from the training
set, the form, their size, the seed and the epoch. So a trial finds here what it would work out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embedsweep.backends.rows import Batch, Rows, texts_by_role
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.recipe import DataForm
from embedsweep.core.roles import TextRole

HELD_BYTES = 512 * 2**20
"""Vectors held by `HeldVectors`: the newest lists of texts."""

BATCHES_BYTES = 256 * 2**20
"""Batches that `Inputs` remembers, about; further ones are drawn anew."""


TokenReader = Callable[[Sequence[str], TextRole], list[tuple[int, ...]] | None]


def token_reader(base: Embedder) -> TokenReader:
    """Return the model's `core.coverage.ReadsTokens.token_ids`, or what stands in for it."""
    found: TokenReader | None = getattr(base, "token_ids", None)
    return found or (lambda texts, role: None)


class HeldVectors:
    """A frozen model that gives a list of texts it has seen at once; fulfils `Embedder`.

    A list is known by its texts: the same tuple, or an equal one. The arrays are not to be changed.

    Args:
        base: The frozen model.
        held_bytes: Bound on the vectors held; a list that exceeds it is not held.
    """

    def __init__(self, base: Embedder, held_bytes: int = HELD_BYTES) -> None:
        self._base = base
        self._held: dict[tuple[TextRole, tuple[str, ...]], FloatArray] = {}
        self._left = held_bytes
        count = getattr(base, "count_tokens", None)
        if count is not None:
            self.count_tokens: Callable[[Sequence[str], TextRole], int] = count
        self.token_ids = token_reader(base)

    @cached_property
    def dimension(self) -> int:
        return self._base.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        return self._base.effective_role(role)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        key = (self.effective_role(role), tuple(texts))
        # Taken out and put back: the newest come last.
        vectors = self._held.pop(key, None)
        if vectors is None:
            vectors = self._base.embed(texts, role)
            self._left -= vectors.nbytes
        self._held[key] = vectors
        while self._left < 0:
            self._left += self._held.pop(next(iter(self._held))).nbytes
        return vectors


_: type[Embedder] = HeldVectors


@dataclass(frozen=True, slots=True)
class PlacedBatch(Batch):
    """A batch whose texts are known by their place in `TrainingVectors`.

    Attributes:
        places: Of the texts, column after column.
    """

    places: Tensor | None = None


class TrainingVectors:
    """The frozen model's vectors of a training set, as one matrix that batches index.

    Args:
        base: The frozen model; each distinct text is asked of it once in every role it has.
        data: The training set.
    """

    def __init__(self, base: Embedder, data: TrainingSet) -> None:
        self._rows: dict[TextRole, dict[str, int]] = {}
        parts, count = [], 0
        for role, texts in texts_by_role(data).items():
            distinct = tuple(dict.fromkeys(texts))
            self._rows[role] = {text: count + place for place, text in enumerate(distinct)}
            if distinct:
                parts.append(base.embed(distinct, role))
            count += len(distinct)
        self._matrix = torch.from_numpy(np.concatenate(parts))

    def of(self, batch: Batch) -> Tensor:
        """Vectors of the batch's texts, column after column, (texts, dimension)."""
        known = batch.places if isinstance(batch, PlacedBatch) else None
        # It gives what `index_select` does, a quarter sooner.
        return functional.embedding(self.places(batch) if known is None else known, self._matrix)

    def places(self, batch: Batch) -> Tensor:
        """The rows of the batch's texts."""
        columns = zip(batch.columns, batch.roles, strict=True)
        return torch.tensor([self._rows[role][text] for column, role in columns for text in column])


class Inputs:
    """A frozen model and a training set, for all trainings of the one on the other.

    Args:
        base: The frozen model.
        data: The training set.
        batches_bytes: Bound on the batches remembered.

    Attributes:
        base: The model, its vectors held.
        data: The training set.
        bytes_left: Of `batches_bytes`.
    """

    def __init__(
        self, base: Embedder, data: TrainingSet, batches_bytes: int = BATCHES_BYTES
    ) -> None:
        self.base = HeldVectors(base)
        self.data = data
        self.bytes_left = batches_bytes
        self._rows: dict[tuple[DataForm, int, int], PlacedRows] = {}

    @cached_property
    def vectors(self) -> TrainingVectors:
        """The training set's vectors."""
        return TrainingVectors(self.base, self.data)

    def rows(self, form: DataForm, batch_size: int, seed: int) -> PlacedRows:
        """The batches of these, the same object for the same ones."""
        key = (form, batch_size, seed)
        if key not in self._rows:
            self._rows[key] = PlacedRows(self, form, batch_size, seed)
        return self._rows[key]


class PlacedRows(Rows):
    """`Rows` whose batches are placed, and remembered as long as there is room.

    Args:
        inputs: Where the texts have their places, and what room there is.
        form, batch_size, seed: As of `Rows`.
    """

    def __init__(self, inputs: Inputs, form: DataForm, batch_size: int, seed: int) -> None:
        super().__init__(inputs.data, form, batch_size, seed)
        self._inputs = inputs
        self._known: dict[int, list[PlacedBatch]] = {}

    def epoch(self, number: int) -> Iterator[PlacedBatch]:
        """The batches of an epoch, numbered from 0."""
        if number in self._known:
            yield from self._known[number]
            return
        batches: list[PlacedBatch] = []
        size = 0
        for batch in super().epoch(number):
            places = self._inputs.vectors.places(batch)
            placed = PlacedBatch(batch.columns, batch.roles, batch.targets, batch.blocked, places)
            yield placed
            size += _bytes(placed, places)
            if size <= self._inputs.bytes_left:
                batches.append(placed)
            else:
                batches.clear()
        if size <= self._inputs.bytes_left:
            self._inputs.bytes_left -= size
            self._known[number] = batches


def _bytes(batch: Batch, places: Tensor) -> int:
    """About: of each text and target there is a reference, the texts themselves are elsewhere."""
    blocked = 0 if batch.blocked is None else batch.blocked.nbytes
    return blocked + places.nbytes + 8 * len(places) + 32 * len(batch.targets)
