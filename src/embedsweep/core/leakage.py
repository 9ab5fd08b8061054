"""What a model could know of a split before it is measured there: findings, counts, and words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SHOWN_CHARACTERS = 500
"""A longer text is cut in a finding; its place says where the whole stands."""


class LeakKind(StrEnum):
    """How something is on two sides.

    OVERLAP is a text that is the same but for case, blanks and punctuation, and was dropped;
    NEAR_DUPLICATE one that is nearly the same. SHARED_GROUP is a group with rows in both splits.
    SHARED_DOCUMENT is a text that answers a row of both; OTHER_ROLE one that asks in one split and
    answers in the other. SHARED_PAIR is within train: a pair that shares a side with another.
    """

    OVERLAP = "overlap"
    NEAR_DUPLICATE = "near_duplicate"
    SHARED_GROUP = "shared_group"
    SHARED_DOCUMENT = "shared_document"
    OTHER_ROLE = "other_role"
    SHARED_PAIR = "shared_pair"


@dataclass(frozen=True, slots=True)
class Citation:
    """A text of a split and where it stands.

    Attributes:
        split: ``train``, ``valid`` or ``test``.
        file: The file, or the name of the built-in data set.
        line: Of the row that has the text, from 1.
        text: As written, cut to `SHOWN_CHARACTERS`.
    """

    split: str
    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is on two sides.

    Attributes:
        kind: How.
        here: The later of the two splits (test, then valid).
        there: The earlier one.
        similarity: 1 where the texts count as the same; of near-duplicates the Jaccard index of
            their shingles; None where groups are the same and the texts need not be.
        group: The group's name, where it is one that is shared.
    """

    kind: LeakKind
    here: Citation
    there: Citation
    similarity: float | None = 1.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How much of a split is concerned, such as 25 of 3080 rows; ``found`` may be 0."""

    kind: LeakKind
    split: str
    other: str
    found: int
    of: int


@dataclass(frozen=True, slots=True)
class Leakage:
    """All findings of a data set, and what was looked at.

    Attributes:
        findings: With the places and the texts; of `LeakKind.SHARED_PAIR` there are none.
        tallies: For every kind that was looked for and every two splits.
    """

    findings: tuple[Finding, ...] = ()
    tallies: tuple[Tally, ...] = ()

    def notes(self) -> Iterator[str]:
        """A line of each kind that was found and that loading the data does not tell of itself."""
        for kind, (said, meaning) in _WORDS.items():
            found = [tally for tally in self.tallies if tally.kind is kind and tally.found]
            if found:
                counts = ", ".join(said.format(**_fields(tally)) for tally in found)
                yield f"{counts}: {meaning}"

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """JSON-able; with the first ``most`` findings only, if that is given."""
        return {
            "counts": [_fields(tally) for tally in self.tallies],
            "findings": [_row(finding) for finding in self.findings[:most]],
        }

    def as_json(self) -> str:
        """Counts and findings as one JSON document."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def as_csv(self) -> str:
        """One line per finding, below a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(finding) for finding in self.findings)
        return text.getvalue()


def cite(split: str, file: str, line: int, text: str) -> Citation:
    """A citation, its text cut."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return Citation(split, file, line, cut)


_COLUMNS: Sequence[str] = (
    "kind", "split", "file", "line", "text",
    "other_split", "other_file", "other_line", "other_text", "similarity", "group",
)  # fmt: skip

_WORDS: Mapping[LeakKind, tuple[str, str]] = {
    LeakKind.NEAR_DUPLICATE: (
        "{found} of {of} rows of {split} have a near-duplicate in {other}",
        "they are kept; see which with `embedsweep check EXPERIMENT.yaml --findings FILE.csv`",
    ),
    LeakKind.OTHER_ROLE: (
        "{found} of {of} texts of {split} are in {other} in the other role",
        "a query that was a document in training, or the reverse, is known to the model; "
        "take it out of one of the two",
    ),
    LeakKind.SHARED_DOCUMENT: (
        "{found} of {of} relevant texts of {split} are relevant in {other} too",
        "usual where splits share a corpus, and no leak, since what asks for them is new",
    ),
    LeakKind.SHARED_PAIR: (
        "{found} of {of} training pairs share their query or their document with another pair",
        "training here takes neither's document as a negative of the other's query, a provider's "
        "may",
    ),
}


def _fields(tally: Tally) -> dict[str, str | int]:
    return {
        "kind": tally.kind.value,
        "split": tally.split,
        "other": tally.other,
        "found": tally.found,
        "of": tally.of,
    }


def _row(finding: Finding) -> dict[str, str | int | float | None]:
    here, there = finding.here, finding.there
    similarity = finding.similarity
    return {
        "kind": finding.kind.value,
        "split": here.split,
        "file": here.file,
        "line": here.line,
        "text": here.text,
        "other_split": there.split,
        "other_file": there.file,
        "other_line": there.line,
        "other_text": there.text,
        "similarity": None if similarity is None else round(similarity, 4),
        "group": finding.group,
    }
