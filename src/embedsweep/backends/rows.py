"""Training data as batches of rows, in the form each loss asks for.

What is drawn (order, other texts of a class, negatives) is drawn anew each epoch from the seed and
the epoch alone, so that a trial repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from embedsweep.core.dataset import LabelledText, Pair, TrainingSet
from embedsweep.core.recipe import DataForm
from embedsweep.core.roles import TextRole

MIN_ROWS = 2
"""A batch of one row has no negatives in it."""

QUERY_DOCUMENT = (TextRole.QUERY, TextRole.DOCUMENT, TextRole.DOCUMENT)
SYMMETRIC = (TextRole.PLAIN, TextRole.PLAIN, TextRole.PLAIN)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that one optimiser step sees.

    Attributes:
        columns: Texts per input of the loss, such as anchors and candidates; the first columns
            have one text per row, a candidate column may have more.
        roles: Role of each column's texts.
        targets: Class index, similarity or score per row; empty for losses without.
        blocked: For candidates: True at (row, candidate) where the candidate may belong to the
            row's anchor too (same label, or another positive of the same anchor).
    """

    columns: tuple[tuple[str, ...], ...]
    roles: tuple[TextRole, ...]
    targets: tuple[float, ...] = ()
    blocked: npt.NDArray[np.bool_] | None = None

    def flattened(self) -> tuple[list[str], list[TextRole]]:
        """The texts column after column, and the role of each."""
        pairs = zip(self.columns, self.roles, strict=True)
        texts = [text for column in self.columns for text in column]
        return texts, [role for column, role in pairs for _ in column]


class Rows:
    """The batches of a training set for one form of data.

    Args:
        data: The training set; it must be able to feed the form.
        form: What the loss needs.
        batch_size: Rows per batch. The last batch may be smaller, or larger by one row.
        seed: Fixes every draw.
    """

    def __init__(self, data: TrainingSet, form: DataForm, batch_size: int, seed: int) -> None:
        self._draw = _DRAWS[form](data)
        self._batch_size = batch_size
        self._seed = seed
        rows, _ = self._draw(self._random(0))
        self.steps_per_epoch = len(_bounds(len(rows), batch_size))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 0."""
        random = self._random(number)
        rows, compose = self._draw(random)
        random.shuffle(rows)
        for start, end in _bounds(len(rows), self._batch_size):
            yield compose(rows[start:end])

    def _random(self, epoch: int) -> Random:
        return Random(f"{self._seed}/{epoch}")  # noqa: S311 - a shuffle, no secret


def _bounds(rows: int, size: int) -> list[tuple[int, int]]:
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] < MIN_ROWS:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


_Row = tuple[tuple[str, ...], float]
_Compose = Callable[[Sequence[_Row]], Batch]
_Draw = Callable[[Random], tuple[list[_Row], _Compose]]
_Belonging = Callable[[Sequence[str], Sequence[str]], npt.NDArray[np.bool_]]
"""From anchors and candidates to the matrix of which candidate belongs to which anchor."""


def _pairs(data: TrainingSet) -> _Draw:
    """(anchor, positive[, negative]) rows; candidates are the batch's positives and negatives."""
    if data.pairs:
        belonging = _judged(data.pairs)

        def draw(random: Random) -> tuple[list[_Row], _Compose]:
            rows: list[_Row] = [(_with_one_negative(pair, random), 0.0) for pair in data.pairs]
            return rows, lambda batch: _candidates(batch, QUERY_DOCUMENT, belonging)

        return draw

    same_label = _same_label(data.texts)

    def draw_by_label(random: Random) -> tuple[list[_Row], _Compose]:
        others = _Classmates(data.texts)
        rows: list[_Row] = [
            ((row.text, positive), 0.0)
            for index, row in enumerate(data.texts)
            if (positive := others.alike(index, random)) is not None
        ]
        return rows, lambda batch: _candidates(batch, SYMMETRIC, same_label)

    return draw_by_label


def _judged(pairs: Sequence[Pair]) -> _Belonging:
    """A candidate belongs to the anchors it is a positive of, and to itself."""
    keys: dict[str, str] = {}
    known: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        keys.update((text, _key(text)) for text in (pair.anchor, pair.positive, *pair.negatives))
        known[keys[pair.anchor]] |= {keys[pair.anchor], keys[pair.positive]}

    def belonging(anchors: Sequence[str], candidates: Sequence[str]) -> npt.NDArray[np.bool_]:
        columns: dict[str, list[int]] = defaultdict(list)
        for column, candidate in enumerate(candidates):
            columns[keys[candidate]].append(column)
        there = set(columns)
        matrix = np.zeros((len(anchors), len(candidates)), dtype=np.bool_)
        for row, anchor in enumerate(anchors):
            for key in known[keys[anchor]] & there:
                matrix[row, columns[key]] = True
        return matrix

    return belonging


def _same_label(texts: Sequence[LabelledText]) -> _Belonging:
    """A candidate belongs to the anchors of its class."""
    label_of = {_key(row.text): row.label for row in texts}
    number = {label: index for index, label in enumerate(sorted(set(label_of.values())))}
    class_of = {row.text: number[label_of[_key(row.text)]] for row in texts}

    def belonging(anchors: Sequence[str], candidates: Sequence[str]) -> npt.NDArray[np.bool_]:
        rows = np.array([class_of[text] for text in anchors])
        columns = np.array([class_of[text] for text in candidates])
        matrix: npt.NDArray[np.bool_] = rows[:, None] == columns[None, :]
        return matrix

    return belonging


def _with_one_negative(pair: Pair, random: Random) -> tuple[str, ...]:
    if not pair.negatives:
        return (pair.anchor, pair.positive)
    return (pair.anchor, pair.positive, random.choice(pair.negatives))


def _candidates(batch: Sequence[_Row], roles: tuple[TextRole, ...], belonging: _Belonging) -> Batch:
    anchors = tuple(texts[0] for texts, _ in batch)
    positives = tuple(texts[1] for texts, _ in batch)
    negatives = tuple(texts[2] for texts, _ in batch if len(texts) > 2)
    candidates = positives + negatives
    blocked = belonging(anchors, candidates)
    np.fill_diagonal(blocked, val=False)
    return Batch((anchors, candidates), roles[:2], blocked=blocked)


def _triplets(data: TrainingSet) -> _Draw:
    if any(pair.negatives for pair in data.pairs):

        def draw(random: Random) -> tuple[list[_Row], _Compose]:
            pairs = [pair for pair in data.pairs if pair.negatives]
            return [(_with_one_negative(pair, random), 0.0) for pair in pairs], compose

        compose = _columns(QUERY_DOCUMENT)
        return draw

    def draw_by_label(random: Random) -> tuple[list[_Row], _Compose]:
        others = _Classmates(data.texts)
        rows: list[_Row] = [
            ((row.text, positive, others.unlike(index, random)), 0.0)
            for index, row in enumerate(data.texts)
            if (positive := others.alike(index, random)) is not None
        ]
        return rows, _columns(SYMMETRIC)

    return draw_by_label


def _marked_pairs(data: TrainingSet) -> _Draw:
    """Each row with a text that belongs to it (target: the grade) and one that does not (0)."""
    if not data.pairs:
        return _marked_by_label(data.texts)
    known: dict[str, set[str]] = defaultdict(set)
    for pair in data.pairs:
        known[_key(pair.anchor)].add(_key(pair.positive))
    documents = list(dict.fromkeys(pair.positive for pair in data.pairs))
    top = max(pair.grade for pair in data.pairs)

    def draw(random: Random) -> tuple[list[_Row], _Compose]:
        rows: list[_Row] = []
        for pair in data.pairs:
            rows.append(((pair.anchor, pair.positive), pair.grade / top))
            if pair.negatives:
                rows.append(((pair.anchor, random.choice(pair.negatives)), 0.0))
            elif other := _stranger(documents, known[_key(pair.anchor)], random):
                rows.append(((pair.anchor, other), 0.0))
        return rows, _columns(QUERY_DOCUMENT)

    return draw


def _stranger(documents: Sequence[str], known: set[str], random: Random) -> str | None:
    """A document that is none of the known; None when a few draws find none."""
    for _ in range(10):
        document = random.choice(documents)
        if _key(document) not in known:
            return document
    return None


def _marked_by_label(texts: Sequence[LabelledText]) -> _Draw:
    def draw(random: Random) -> tuple[list[_Row], _Compose]:
        others = _Classmates(texts)
        rows: list[_Row] = []
        for index, row in enumerate(texts):
            if (positive := others.alike(index, random)) is not None:
                rows.append(((row.text, positive), 1.0))
            rows.append(((row.text, others.unlike(index, random)), 0.0))
        return rows, _columns(SYMMETRIC)

    return draw


def _binary_pairs(data: TrainingSet) -> _Draw:
    marked = _marked_pairs(data)

    def draw(random: Random) -> tuple[list[_Row], _Compose]:
        rows, compose = marked(random)
        return [(texts, float(target > 0)) for texts, target in rows], compose

    return draw


def _scored_pairs(data: TrainingSet) -> _Draw:
    if not data.scored:
        return _marked_pairs(data)
    low, high = data.score_range
    # A scale with scores below 0 keeps its zero, where the cosine is 0 too.
    zero, spread = (0.0, max(-low, high)) if low < 0 else (low, high - low)

    def draw(random: Random) -> tuple[list[_Row], _Compose]:
        del random
        rows: list[_Row] = [
            ((row.first, row.second), (row.score - zero) / spread) for row in data.scored
        ]
        return rows, _columns(SYMMETRIC)

    return draw


def _labelled_texts(data: TrainingSet) -> _Draw:
    index = {label: place for place, label in enumerate(class_names(data))}

    def draw(random: Random) -> tuple[list[_Row], _Compose]:
        del random
        rows: list[_Row] = [((row.text,), float(index[row.label])) for row in data.texts]
        return rows, _columns(SYMMETRIC)

    return draw


def texts_by_role(data: TrainingSet) -> dict[TextRole, list[str]]:
    """Every text that a batch can hold, by the role it has there; repeats and all."""
    texts: dict[TextRole, list[str]] = {role: [] for role in TextRole}
    for pair in data.pairs:
        texts[TextRole.QUERY].append(pair.anchor)
        texts[TextRole.DOCUMENT] += (pair.positive, *pair.negatives)
    texts[TextRole.PLAIN] += (row.text for row in data.texts)
    texts[TextRole.PLAIN] += (text for row in data.scored for text in (row.first, row.second))
    return texts


def class_names(data: TrainingSet) -> list[str]:
    """The classes in the order of their index in `Batch.targets`."""
    return sorted({row.label for row in data.texts})


def _columns(roles: tuple[TextRole, ...]) -> _Compose:
    def compose(batch: Sequence[_Row]) -> Batch:
        columns = tuple(zip(*(texts for texts, _ in batch), strict=True))
        return Batch(columns, roles[: len(columns)], tuple(target for _, target in batch))

    return compose


class _Classmates:
    """Draws texts of the same and of other classes."""

    def __init__(self, texts: Sequence[LabelledText]) -> None:
        self._texts = texts
        self._members: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(texts):
            self._members[row.label].append(index)

    def alike(self, index: int, random: Random) -> str | None:
        members = self._members[self._texts[index].label]
        if len(members) < MIN_ROWS:
            return None
        place = random.randrange(len(members) - 1)
        other = members[place] if members[place] != index else members[-1]
        return self._texts[other].text

    def unlike(self, index: int, random: Random) -> str:
        while True:
            other = random.choice(self._texts)
            if other.label != self._texts[index].label:
                return other.text


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


_DRAWS: dict[DataForm, Callable[[TrainingSet], _Draw]] = {
    DataForm.PAIRS: _pairs,
    DataForm.TRIPLETS: _triplets,
    DataForm.LABELLED_PAIRS: _binary_pairs,
    DataForm.SCORED_PAIRS: _scored_pairs,
    DataForm.LABELLED_TEXTS: _labelled_texts,
}
