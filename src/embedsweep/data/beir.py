"""A BEIR folder: ``corpus.jsonl``, ``queries.jsonl`` and graded ``qrels/*.tsv``, or ``….gz``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedsweep.core.dataset import Benchmark, Pair, Reading, RetrievalTask, Split, TrainingSet
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import SplitRule
from embedsweep.core.fingerprint import fingerprint
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind, read_fields
from embedsweep.data.files import TextFile
from embedsweep.data.foreign import HEAD_BYTES, foreign
from embedsweep.data.qrels import read_judgements
from embedsweep.data.records import Record, read_records
from embedsweep.data.retrieval import retrieval_benchmark
from embedsweep.data.rows import Draft, Row, SplitRows, Texts, ties_of
from embedsweep.data.text import counted, normalise, shorten
from embedsweep.data.usage import split_faults

_QRELS = {
    Split.TRAIN: ("train.tsv",),
    Split.VALID: ("dev.tsv", "valid.tsv", "val.tsv", "validation.tsv"),
    Split.TEST: ("test.tsv",),
}
_ID = Field("_id", Kind.NAME)
_DOCUMENT = (_ID, Field("title", Kind.OPTIONAL_NAME), Field("text", Kind.OPTIONAL_TEXT))
_QUERY = (_ID, Field("text", Kind.TEXT))
_OF_THE_USER = (
    Field("group", Kind.NAME, remedy="remove 'group_by' from data.split"),
    Field("slice", Kind.OPTIONAL_NAME),
)


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and its judgements in one split: (document id, grade) in the file's order."""

    id: str
    text: str
    grades: tuple[tuple[str, int], ...]
    group: str | None = None


class Judged:
    """Gives retrieval over the whole corpus; trains on each query with each relevant document.

    A query belongs to one split. Documents belong to none: they are the corpus.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._documents = documents

    def roles(self, value: JudgedQuery) -> Texts:
        relevant = (self._documents[document] for document, grade in value.grades if grade > 0)
        return Texts((value.text,), tuple(relevant))

    def training(self, values: Sequence[JudgedQuery]) -> TrainingSet:
        return TrainingSet(
            pairs=tuple(
                Pair(query.text, self._documents[document], grade=grade, group=query.id)
                for query in values
                for document, grade in query.grades
                if grade > 0
            )
        )

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[JudgedQuery],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        retrieval = RetrievalTask(
            queries={query.id: query.text for query in values},
            documents=self._documents,
            judgements={query.id: dict(query.grades) for query in values},
        )
        groups = {query.id: query.group for query in values if query.group is not None}
        named = dict(zip(retrieval.queries, slices, strict=bool(slices)))
        return retrieval_benchmark(name, split, retrieval, groups, named)

    def check(self, rows: SplitRows[JudgedQuery], faults: FaultLog) -> None:
        """Reading a folder checks all there is to check."""


@dataclass(slots=True)
class _Texts:
    """A file of texts: what it says of each by id; only the line where the text was faulty."""

    name: str
    texts: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    slices: dict[str, str] = field(default_factory=dict)


def read_beir(
    folder: Path, rule: SplitRule | None, slice_by: str | None, faults: FaultLog
) -> Draft[JudgedQuery]:
    """The data set of a BEIR folder; a missing qrels file is split off train by query.

    Raises:
        DataError: With every fault of every file.
        UsageError: A qrels file is missing and no rule splits it off, or the reverse.
    """
    if not folder.is_dir():
        faults.add("folder", str(folder), *_no_folder(folder))
        faults.raise_if_any()
    qrels = {split: TextFile(path) for split, path in _qrels_paths(folder, faults)}
    _check_train(qrels, folder, faults)
    usage = [] if faults.total else list(split_faults({*qrels, Split.TRAIN}, rule))
    if usage:
        raise UsageError.of(usage)
    if not qrels:
        qrels[Split.TRAIN] = TextFile(folder / "qrels" / "train.tsv")
    corpus, queries = (
        TextFile(_plain_or_gzip(folder / f"{n}.jsonl")) for n in ("corpus", "queries")
    )
    documents = _read_documents(corpus, faults)
    named = {"group": rule.group_by if rule else None, "slice": slice_by}
    columns = {name: (path,) for name, path in named.items() if path}
    asked = _read_queries(queries, columns, faults)
    rows = {}
    for split in (each for each in Split if each in qrels):
        rows[split] = _read_rows(qrels[split], asked, documents, faults)
        if slice_by and (split is not Split.TRAIN or len(qrels) < len(Split)):
            _check_slices(rows[split], asked, slice_by, faults)
    faults.raise_if_any()
    files = (corpus, queries, *qrels.values())
    judged = {row.value.id for part in rows.values() for row in part}
    unused = len(asked.texts.keys() - judged)
    return Draft(
        format="beir",
        form=Judged(documents.texts),
        rows=rows,
        sources={split: qrels.get(split, qrels[Split.TRAIN]).name for split in Split},
        files=files,
        context=fingerprint(documents.texts),
        warnings=(f"{unused} of the queries left out: no judgement names them",) if unused else (),
        readings=tuple(Reading(file.name, "a BEIR folder", "beir") for file in files),
    )


def _no_folder(path: Path) -> tuple[str, str]:
    if not path.is_file():
        return "there is no such folder", "correct the path under beir"
    with path.open("rb") as raw:
        kind = foreign(raw.read(HEAD_BYTES), path)
    what = f"it is {kind.what}" if kind else "it is a file"
    return f"{what}, expected a folder", kind.fix if kind else "give the folder that holds it"


def _plain_or_gzip(path: Path) -> Path:
    zipped = path.with_name(f"{path.name}.gz")
    return zipped if zipped.exists() and not path.exists() else path


def _check_train(qrels: Mapping[Split, TextFile], folder: Path, faults: FaultLog) -> None:
    """Log it if only other splits are judged, as in benchmarks that are for measuring alone."""
    if not qrels or Split.TRAIN in qrels:
        return
    used, file = list(qrels.items())[-1]
    shares = (split for split in (Split.VALID, Split.TEST) if split not in qrels or split is used)
    rule = f"split: {{{', '.join(f'{split}: 0.2' for split in shares)}}}"
    why = "there is no such file, and nothing else to train on"
    name = file.path.name
    train = f"train.{name.partition('.')[2]}"
    fix = f"rename {name} to {train} and write under data '{rule}'"
    faults.add("file", str(folder / "qrels" / "train.tsv"), why, fix)


def _qrels_paths(folder: Path, faults: FaultLog) -> Iterator[tuple[Split, Path]]:
    for split, names in _QRELS.items():
        paths = [_plain_or_gzip(folder / "qrels" / name) for name in names]
        found = [path for path in paths if path.exists()]
        if len(found) > 1:
            why = f"{' and '.join(path.name for path in found)} are judgements of one split"
            faults.add("folder", str(folder / "qrels"), why, "keep one of them")
        if found:
            yield split, found[0]


def _read_documents(file: TextFile, faults: FaultLog) -> _Texts:
    found = _Texts(file.name)
    for record in read_records(file, faults).records:
        values = read_fields(record, _DOCUMENT, {}, file.name, faults)
        if values is None:
            _note_line(found, record)
            continue
        text = f"{values['title']} {values['text']}".strip()
        if not text:
            why = "title and text are empty"
            fix = "take the document and its judgements out"
            faults.add(f"document {shorten(values['_id'])}", file.name, why, fix, record.line)
        _note(found, values["_id"], text, record.line, file, faults)
    if len(found.texts) == 1 and not faults.total:
        why = "one document, expected several to choose from"
        faults.add("corpus", file.name, why, "add the other documents")
    return found


def _read_queries(
    file: TextFile, columns: Mapping[str, tuple[str, ...]], faults: FaultLog
) -> _Texts:
    found = _Texts(file.name)
    fields = (*_QUERY, *(each for each in _OF_THE_USER if each.name in columns))
    for record in read_records(file, faults).records:
        values = read_fields(record, fields, columns, file.name, faults)
        if values is None:
            _note_line(found, record)
            continue
        _note(found, values["_id"], values["text"], record.line, file, faults)
        if "group" in columns:
            found.groups[values["_id"]] = values["group"]
        if values.get("slice"):
            found.slices[values["_id"]] = values["slice"]
    return found


def _note_line(found: _Texts, record: Record) -> None:
    """Remember the id of a faulty record, so that judgements of it are not called unknown."""
    found.lines.setdefault(str(record.values.get("_id")).strip(), record.line)


def _note(
    found: _Texts, number: str, text: str, line: int, file: TextFile, faults: FaultLog
) -> None:
    first = found.lines.setdefault(number, line)
    if first != line:
        same = "the same text" if found.texts.get(number) == text else "another text"
        why = f"line {first} has this id too, with {same}"
        faults.add(f"id {shorten(number)}", file.name, why, "give each its own id", line)
    found.texts.setdefault(number, text)


def _read_rows(
    file: TextFile, queries: _Texts, documents: _Texts, faults: FaultLog
) -> list[Row[JudgedQuery]]:
    grades: dict[str, dict[str, int]] = {}
    lines: dict[str, int] = {}
    before = faults.total
    for line, query, document, grade in read_judgements(file, faults):
        lines.setdefault(query, line)
        _check_ids(file, line, (query, queries), (document, documents), faults)
        judged = grades.setdefault(query, {})
        if document in judged:
            why = f"query {shorten(query)} and document {shorten(document)} are judged twice"
            faults.add("judgement", file.name, why, "keep one of the two lines", line)
        judged.setdefault(document, grade)
    if not grades and faults.total == before:
        why = "no records: only a header"
        faults.add("file", file.name, why, "give a file with judgements in it")
    rows = []
    for query, judged in grades.items():
        if not any(judged.values()):
            why = f"none of its {counted(len(judged), 'judged document')} is relevant"
            fix = "judge a document 1 or higher, or take the query out"
            faults.add(f"query {shorten(query)}", file.name, why, fix, lines[query])
        elif query in queries.texts:
            rows.append(_row(file, lines[query], query, judged, queries))
    return rows


def _row(
    file: TextFile, line: int, query: str, judged: Mapping[str, int], queries: _Texts
) -> Row[JudgedQuery]:
    text, group = queries.texts[query], queries.groups.get(query)
    key = normalise(text)
    value = JudgedQuery(query, text, tuple(judged.items()), group)
    ties = ties_of([key], group)
    named = queries.slices.get(query)
    return Row(value, key, ties, file.name, line, group=group, slice=named)


def _check_slices(
    rows: Sequence[Row[JudgedQuery]], queries: _Texts, slice_by: str, faults: FaultLog
) -> None:
    """Queries that are only trained on need no slice, so reading alone cannot tell."""
    for row in rows:
        if row.slice is None:
            why = f"query {shorten(row.value.id)} is measured on and has no slice"
            fix = "add the key, or remove 'slice_by' from data"
            line = queries.lines[row.value.id]
            faults.add(f"missing key {slice_by!r}", queries.name, why, fix, line)


def _check_ids(
    file: TextFile,
    line: int,
    query: tuple[str, _Texts],
    document: tuple[str, _Texts],
    faults: FaultLog,
) -> None:
    for what, (number, known), where in (
        ("query", query, "queries.jsonl"),
        ("document", document, "corpus.jsonl"),
    ):
        if known.lines and number not in known.lines:
            why = f"{where} has no such id"
            fix = f"add the {what} to {where}, or take the line out"
            faults.add(f"{what} {shorten(number)}", file.name, why, fix, line)
