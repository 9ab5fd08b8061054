"""Everything that two splits share: near-duplicates, groups, documents, and texts by another role.

What is exactly the same was refused or dropped before; what was dropped is among the findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

from embedsweep.core.dataset import Split, TrainingSet
from embedsweep.core.leakage import Citation, Finding, Leakage, LeakKind, Tally, cite
from embedsweep.data.leakage import Dropped
from embedsweep.data.near_duplicates import Signed, near_duplicates
from embedsweep.data.rows import Form, Row, SplitRows, T
from embedsweep.data.text import normalise

_V = TypeVar("_V")


class _Normalised(dict[str, str]):
    """Normalised texts by text, each made when first asked for: documents repeat."""

    def __missing__(self, text: str) -> str:
        self[text] = found = normalise(text)
        return found


class _Side:
    """What is looked at of one split, each made when first needed.

    Of several rows with the same key, group or document the first stands for all.
    """

    def __init__(
        self, split: Split, rows: Sequence[Row[Any]], form: Form[Any], normalised: _Normalised
    ) -> None:
        self.split = split
        self.rows = rows
        self._form = form
        self._normalised = normalised

    @cached_property
    def keys(self) -> dict[str, Row[Any]]:
        return _firsts((row.key, row) for row in self.rows)

    @cached_property
    def signed(self) -> Signed:
        return Signed.of(list(self.keys))

    @cached_property
    def groups(self) -> dict[str, Row[Any]]:
        return _firsts((row.group, row) for row in self.rows if row.group is not None)

    @cached_property
    def queries(self) -> dict[str, tuple[str, Row[Any]]]:
        return self._by_text(lambda row: self._form.roles(row.value).queries)

    @cached_property
    def documents(self) -> dict[str, tuple[str, Row[Any]]]:
        return self._by_text(lambda row: self._form.roles(row.value).documents)

    def _by_text(
        self, texts: Callable[[Row[Any]], tuple[str, ...]]
    ) -> dict[str, tuple[str, Row[Any]]]:
        return _firsts(
            (self._normalised[text], (text, row)) for row in self.rows for text in texts(row)
        )

    def cite(self, row: Row[Any], text: str | None = None) -> Citation:
        """The row, by a text of it or by what its key was made of."""
        if text is None:
            roles = self._form.roles(row.value)
            text = " / ".join(roles.queries or roles.documents)
        return cite(self.split.value, row.file, row.line, text)


def _firsts(pairs: Iterable[tuple[str, _V]]) -> dict[str, _V]:
    found: dict[str, _V] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def find_leakage(
    rows: SplitRows[T], dropped: Sequence[Dropped[T]], form: Form[T], training: TrainingSet
) -> Leakage:
    """All that the splits share, and how many pairs of train share a side.

    Args:
        rows: The rows of each split, all rules applied: no `Row.key` is in two of them.
        dropped: The rows that were taken out for that.
        form: The rows' form.
        training: What is trained on.
    """
    normalised = _Normalised()
    sides = {split: _Side(split, rows[split], form, normalised) for split in Split}
    findings: list[Finding] = []
    tallies: list[Tally] = []
    for look in (_overlaps(dropped), _near_duplicates, _groups, _other_roles, _documents):
        # What stands in an earlier split is known by the time the later one is measured on.
        for split, other in (
            (Split.TEST, Split.TRAIN),
            (Split.TEST, Split.VALID),
            (Split.VALID, Split.TRAIN),
        ):
            found, tally = look(sides[split], sides[other])
            findings += found
            tallies += [tally] if tally.of else []
    if training.pairs:
        tallies.append(_shared_pairs(training, normalised))
    return Leakage(tuple(findings), tuple(tallies))


_Looked = tuple[list[Finding], Tally]


def _tally(kind: LeakKind, here: _Side, there: _Side, found: int, of: int) -> Tally:
    return Tally(kind, here.split.value, there.split.value, found, of)


def _overlaps(dropped: Sequence[Dropped[Any]]) -> Callable[[_Side, _Side], _Looked]:
    """Rows of the earlier split that were dropped, each with the later one's that has its text."""

    def look(here: _Side, there: _Side) -> _Looked:
        lost = [each for each in dropped if (each.split, each.other) == (there.split, here.split)]
        found = [
            Finding(LeakKind.OVERLAP, here.cite(each.twin), there.cite(each.row)) for each in lost
        ]
        keys = {each.row.key for each in lost}
        count = sum(row.key in keys for row in here.rows)
        return found, _tally(LeakKind.OVERLAP, here, there, count, len(here.rows))

    return look


def _near_duplicates(here: _Side, there: _Side) -> _Looked:
    kind = LeakKind.NEAR_DUPLICATE
    ours, theirs = list(here.keys), list(there.keys)
    found, concerned = [], set()
    for left, right, similarity in near_duplicates(here.signed, there.signed):
        concerned.add(ours[left])
        row, twin = here.keys[ours[left]], there.keys[theirs[right]]
        found.append(Finding(kind, here.cite(row), there.cite(twin), similarity))
    count = sum(row.key in concerned for row in here.rows)
    return found, _tally(kind, here, there, count, len(here.rows))


def _groups(here: _Side, there: _Side) -> _Looked:
    kind = LeakKind.SHARED_GROUP
    found = [
        Finding(kind, here.cite(row), there.cite(there.groups[group]), None, group)
        for group, row in here.groups.items()
        if group in there.groups
    ]
    return found, _tally(kind, here, there, len(found), len(here.groups))


def _documents(here: _Side, there: _Side) -> _Looked:
    kind = LeakKind.SHARED_DOCUMENT
    found = list(_both(kind, (here, here.documents), (there, there.documents)))
    return found, _tally(kind, here, there, len(found), len(here.documents))


def _other_roles(here: _Side, there: _Side) -> _Looked:
    """Only where there are both roles; given negatives of training count as neither."""
    kind = LeakKind.OTHER_ROLE
    found = [
        *_both(kind, (here, here.queries), (there, there.documents)),
        *_both(kind, (here, here.documents), (there, there.queries)),
    ]
    roles = (here.queries, here.documents)
    return found, _tally(kind, here, there, len(found), sum(map(len, roles)) if all(roles) else 0)


_Texts = dict[str, tuple[str, Row[Any]]]


def _both(
    kind: LeakKind, ours: tuple[_Side, _Texts], theirs: tuple[_Side, _Texts]
) -> Iterator[Finding]:
    (here, texts), (there, others) = ours, theirs
    for key, (text, row) in texts.items():
        if key in others:
            other, twin = others[key]
            yield Finding(kind, here.cite(row, text), there.cite(twin, other))


def _shared_pairs(training: TrainingSet, normalised: _Normalised) -> Tally:
    """Pairs of train whose anchor or positive another pair has.

    In a batch each would be the other's negative, though its positive belongs to both; losses with
    in-batch negatives leave such candidates out.
    """
    sides = [(normalised[pair.anchor], normalised[pair.positive]) for pair in training.pairs]
    anchors = Counter(anchor for anchor, _ in sides)
    positives = Counter(positive for _, positive in sides)
    found = sum(anchors[anchor] > 1 or positives[positive] > 1 for anchor, positive in sides)
    return Tally(
        LeakKind.SHARED_PAIR, Split.TRAIN.value, Split.TRAIN.value, found, len(training.pairs)
    )
