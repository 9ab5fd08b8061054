"""Text of the user's own: what a model trains on, and what it is measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import PurePath

from embedsweep.core.errors import Refusal
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.leakage import Leakage
from embedsweep.core.looks import Look
from embedsweep.core.recipe import DataForm, FileForm, HostedRecipe, Loss, TunedRecipe

SHOWN_FILES = 5
"""How many files a line on their reading names."""


class Split(StrEnum):
    """The three parts of a data set; only promotion reads the last one."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its class. ``group`` names what must not be split apart."""

    text: str
    label: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A query-like text and a text that belongs to it.

    Attributes:
        anchor: The query side.
        positive: The document side.
        negatives: Texts known not to belong to the anchor; empty for plain pairs.
        grade: How well the positive belongs, at least 1; graded judgements keep their grade.
        group: What must not be split apart.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    grade: int = 1
    group: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two texts and how alike they are; any finite scale, higher is more alike."""

    first: str
    second: str
    score: float
    group: str | None = None


@dataclass(frozen=True)
class TrainingSet:
    """What a backend trains on. The forms not given are empty.

    Attributes:
        texts: Labelled texts.
        pairs: Pairs, with or without given negatives.
        scored: Scored pairs.
        score_range: Lowest and highest score of the scale, whether or not a pair has them.
    """

    texts: tuple[LabelledText, ...] = ()
    pairs: tuple[Pair, ...] = ()
    scored: tuple[ScoredPair, ...] = ()
    score_range: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def forms(self) -> frozenset[DataForm]:
        """The forms this data can feed, derived ones included.

        Labels give pairs and triplets of equal and unequal classes, and pairs marked similar or
        not. Pairs give marked pairs: an anchor with another anchor's positive is dissimilar.
        Negatives are never invented for the triplet loss: it trains on those given, or on
        another class's texts; to mine them among pairs there is ``batch_hard_triplet``.
        """
        forms: set[DataForm] = set()
        classes = {row.label for row in self.texts}
        if len(classes) > 1:
            forms.add(DataForm.LABELLED_TEXTS)
            if len(classes) < len(self.texts):
                forms |= {DataForm.PAIRS, DataForm.TRIPLETS}
                forms |= {DataForm.LABELLED_PAIRS, DataForm.SCORED_PAIRS}
        if len(self.pairs) > 1:
            forms |= {DataForm.PAIRS, DataForm.LABELLED_PAIRS, DataForm.SCORED_PAIRS}
        if any(pair.negatives for pair in self.pairs):
            forms.add(DataForm.TRIPLETS)
        if self.scored:
            forms.add(DataForm.SCORED_PAIRS)
        return frozenset(forms)

    @cached_property
    def fingerprint(self) -> str:
        texts, pairs, scored = (
            [astuple(row) for row in rows] for rows in (self.texts, self.pairs, self.scored)
        )
        scale = [self.score_range] if scored else []
        return fingerprint(texts, pairs, scored, *scale)

    def __len__(self) -> int:
        """Rows of the form the data came in, whichever is the most."""
        return max(len(self.texts), len(self.pairs), len(self.scored))

    def every_text(self) -> Iterator[str]:
        for row in self.texts:
            yield row.text
        for pair in self.pairs:
            yield from (pair.anchor, pair.positive, *pair.negatives)
        for scored in self.scored:
            yield from (scored.first, scored.second)


def unfit(recipe: TunedRecipe, data: TrainingSet) -> str | None:
    """Why the recipe cannot be trained on the data, or None."""
    if isinstance(recipe, HostedRecipe) and _FORM_NEEDS[recipe.form] not in data.forms:
        fitting = ", ".join(form.value for form in FileForm if _FORM_NEEDS[form] in data.forms)
        return (
            f"a training file of {recipe.form.value} needs {_FORM_NEEDS[recipe.form].value}, which "
            f"this data does not give; what it can fill: {fitting or 'no file'}"
        )
    if recipe.loss is not None and recipe.loss.needs not in data.forms:
        fitting = ", ".join(loss.value for loss in Loss if loss.needs in data.forms)
        return (
            f"{recipe.loss.value} needs {recipe.loss.needs.value}, which this data does not "
            f"give; what it can feed: {fitting or 'no loss'}"
        )
    if recipe.batch_size < 2:
        return f"there are no negatives in a batch of {recipe.batch_size}"
    return None


_FORM_NEEDS = {
    FileForm.LABELLED: DataForm.LABELLED_TEXTS,
    FileForm.PAIRS: DataForm.PAIRS,
    FileForm.TRIPLETS: DataForm.TRIPLETS,
}
"""A file has what the data set has: labelled texts, pairs, or pairs with their negatives."""


@dataclass(frozen=True)
class RetrievalTask:
    """Find the relevant documents of each query.

    Attributes:
        queries: Text by query id; every query has at least one relevant document.
        documents: Text by document id.
        judgements: Grade by query id and document id; what is not listed, or 0, is not relevant.
        leave_one_out: A query never retrieves the document of its own id (same-label retrieval,
            where the queries are the documents).
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    leave_one_out: bool = False


@dataclass(frozen=True)
class ClassificationTask:
    """Tell the class from the embedding; the classifier is fitted on training texts.

    Attributes:
        fit_texts: Texts the classifier is fitted on, with `fit_labels`.
        texts: Text to classify by example id.
        labels: True class by example id.
    """

    fit_texts: tuple[str, ...]
    fit_labels: tuple[str, ...]
    texts: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class RelevanceTask:
    """Tell a relevant pair from an irrelevant one by its similarity.

    Attributes:
        pairs: (query text, document text) by example id.
        relevant: The truth by example id.
        calibration: Pairs and truth of the validation split, on which the threshold is chosen;
            None on the validation split itself, which then chooses its own.
    """

    pairs: Mapping[str, tuple[str, str]]
    relevant: Mapping[str, bool]
    calibration: RelevanceTask | None = None


@dataclass(frozen=True)
class TripletTask:
    """Put the positive nearer to the anchor than the negative; texts by example id."""

    triplets: Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True)
class SimilarityTask:
    """Rank pairs of texts as people scored them; texts and score by example id."""

    pairs: Mapping[str, tuple[str, str]]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Benchmark:
    """What a model is measured on, in one split.

    Attributes:
        name: The data set's name.
        split: ``valid`` or ``test``.
        retrieval, classification, relevance, triplets, similarity: The tasks this data gives.
        groups: Group by query or example id, where the data has groups.
        slices: Slice by query or example id, such as a topic, where the data has slices; what is
            told of a model is told of every slice too.
    """

    name: str
    split: Split
    retrieval: RetrievalTask | None = None
    classification: ClassificationTask | None = None
    relevance: RelevanceTask | None = None
    triplets: TripletTask | None = None
    similarity: SimilarityTask | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Of all but the slices: they part what is told, not what is measured."""
        return fingerprint({name: v for name, v in asdict(self).items() if name != "slices"})

    def every_text(self) -> Iterator[str]:
        """The texts of its tasks, repeats and all; those of training are not among them."""
        if self.retrieval is not None:
            yield from self.retrieval.queries.values()
            yield from self.retrieval.documents.values()
        if self.classification is not None:
            yield from self.classification.texts.values()
        if self.triplets is not None:
            yield from (text for texts in self.triplets.triplets.values() for text in texts)
        if self.similarity is not None:
            yield from (text for texts in self.similarity.pairs.values() for text in texts)


@dataclass(frozen=True)
class Reading:
    """How a file was read.

    Attributes:
        file: The file.
        written_as: Its notation, such as ``JSON Lines`` or ``text delimited by semicolons``.
        format: ``labelled``, ``pairs``, ``scored`` or ``beir``.
        columns: The file's columns by field of the format.
        unread: By key that is not read, the number of rows that have a value there.
    """

    file: str
    written_as: str
    format: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        named = ", ".join(
            f"{name} = {' + '.join(columns)}" for name, columns in self.columns.items() if columns
        )
        return f"{self.written_as}, read as {self.format}{f': {named}' if named else ''}"

    def as_dict(self) -> dict[str, object]:
        columns = {name: list(found) for name, found in self.columns.items() if found}
        return {
            "file": self.file,
            "written_as": self.written_as,
            "format": self.format,
            "columns": columns,
            "unread": dict(self.unread),
        }


@dataclass(frozen=True)
class Dataset:
    """A checked data set in its three splits.

    Attributes:
        name: What the experiment calls it.
        format: ``labelled``, ``pairs``, ``scored``, ``beir`` or ``builtin``.
        train: What backends train on.
        valid: What the sweep measures on.
        sealed_test: Makes the test benchmark. Only promotion may call it, through `unseal`.
        test_sketch: Of the test split's examples, by `core.looks.sketch_of`; tells a new test set
            from one that was only touched.
        rows: Rows per split: texts, pairs or queries, as the format has them.
        digests: SHA-256 of each split's content.
        sources: Where each split came from: a path, or ``builtin:python-docs``.
        warnings: What a reader of the results should know, such as dropped rows.
        find_leakage: Looks for what the splits share; `leakage` keeps what it finds.
        readings: How each file was read; empty if the data is built in.
    """

    name: str
    format: str
    train: TrainingSet
    valid: Benchmark
    sealed_test: Callable[[], Benchmark]
    rows: Mapping[Split, int]
    digests: Mapping[Split, str]
    sources: Mapping[Split, str]
    warnings: tuple[str, ...] = ()
    test_sketch: tuple[str, ...] = ()
    find_leakage: Callable[[], Leakage] = Leakage
    readings: tuple[Reading, ...] = ()

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The scale of the scores, or None if the data has none."""
        return self.train.score_range if self.train.scored else None

    def recognised(self) -> list[str]:
        """How the files were read, one line for all that were read alike."""
        alike: dict[str, list[str]] = {}
        for reading in self.readings:
            alike.setdefault(str(reading), []).append(PurePath(reading.file).name)
        lines = []
        for how, names in alike.items():
            more = f" and {len(names) - SHOWN_FILES} more" if names[SHOWN_FILES:] else ""
            lines.append(f"{', '.join(names[:SHOWN_FILES])}{more}: {how}")
        return lines

    def unseal(self, look: Look) -> Benchmark:
        """The test benchmark, for whoever has a look at it on record. Promotion alone does.

        Raises:
            Refusal: The look is at another test split.
        """
        digest = self.digests[Split.TEST]
        if look.benchmark != digest:
            raise Refusal(
                "test split",
                self.name,
                f"the look on record is at {look.benchmark[:12]}…, the split is {digest[:12]}…",
                "promote again, without changing the data meanwhile",
            )
        return self.sealed_test()

    @cached_property
    def leakage(self) -> Leakage:
        """What the splits share, by texts and places. Takes seconds, so only those pay who ask."""
        return self.find_leakage()

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint({split.value: digest for split, digest in self.digests.items()})
