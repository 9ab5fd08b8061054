"""Vectors of frozen models: each computed once, then shared by all trials, sweeps and processes.

They lie under the model's identity, the role and the SHA-256 of the text; no text is kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedsweep.backends.disposable_database import DisposableDatabase
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.recipe import Base
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure

CHUNK = 256
"""Texts embedded and committed together: what a kill can lose."""

MEMORY_BYTES = 512 * 2**20
"""Vectors kept in memory beside the file, the newest."""

_STORED = np.dtype("<f4")
_FILE = "embeddings-1.sqlite"
"""Its number is raised when the tables below change."""

_SCHEMA = """
CREATE TABLE model (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL,
    query TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE vector (
    model INTEGER NOT NULL REFERENCES model,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (model, role, text)
);
"""


def model_identity(base: Base, digest: str) -> str:
    """What the vectors of a frozen model are kept under.

    Args:
        base: The model.
        digest: Its `Backend.base_digest`.
    """
    prompts = [base.prompts.as_dict()] if base.prompts else []
    return fingerprint([base.provider, base.model, base.dimensions, digest, *prompts])


@dataclass(frozen=True)
class ModelFacts:
    """What a model tells of itself without a text: its vectors' length, and what roles come to."""

    dimension: int
    query: TextRole
    document: TextRole


class EmbeddingCache:
    """The vectors on disk, the newest of them in memory too. Safe for threads and processes.

    Args:
        folder: Where the file lies; created if absent. Not on a network drive.
        memory_bytes: Bound on the vectors kept in memory.

    Raises:
        UsageError: The folder cannot be written. Every method raises `StoreError` when the disk
            is full or the file is out of reach; a damaged file is begun anew.
    """

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self._database = DisposableDatabase(folder / _FILE, _SCHEMA)
        self._memory: dict[tuple[str, TextRole, str], FloatArray] = {}
        self._memory_left = memory_bytes
        self._memory_lock = threading.Lock()

    def filling(self, identity: str) -> AbstractContextManager[None]:
        """Be the only one to embed with this model; whoever comes meanwhile waits."""
        return self._database.locked(f"fill-{fingerprint(identity)[:16]}")

    def facts(self, identity: str) -> ModelFacts | None:
        """What is known of a model; None before `describe`."""

        def select(connection: sqlite3.Connection) -> tuple[int, str, str] | None:
            query = "SELECT dimension, query, document FROM model WHERE identity = ?"
            row: tuple[int, str, str] | None = connection.execute(query, (identity,)).fetchone()
            return row

        row = self._database.transaction(select)
        return ModelFacts(row[0], TextRole(row[1]), TextRole(row[2])) if row else None

    def describe(self, identity: str, facts: ModelFacts) -> None:
        """Keep what is known of a model."""
        self._database.transaction(lambda connection: _insert_model(connection, identity, facts))

    def find(self, identity: str, role: TextRole, texts: Iterable[str]) -> dict[str, FloatArray]:
        """The vectors there are, by text."""
        memory = self._memory
        wanted = {text: memory.get((identity, role, text)) for text in texts}
        found = {text: vector for text, vector in wanted.items() if vector is not None}
        if len(found) < len(wanted):
            texts_by_digest = {_digest(text): text for text in wanted if text not in found}
            read = self._database.transaction(
                lambda connection: dict(_select(connection, identity, role, [*texts_by_digest]))
            )
            vectors = {texts_by_digest[digest]: vector for digest, vector in read.items()}
            self._remember(identity, role, vectors)
            found |= vectors
        return found

    def add(
        self,
        identity: str,
        facts: ModelFacts,
        role: TextRole,
        vectors: Mapping[str, FloatArray],
    ) -> None:
        """Keep vectors, by text, in one transaction."""
        blobs = {text: vector.astype(_STORED).tobytes() for text, vector in vectors.items()}
        rows = [
            (identity, role.value, _digest(text), blob, zlib.crc32(blob))
            for text, blob in blobs.items()
        ]

        def insert(connection: sqlite3.Connection) -> None:
            _insert_model(connection, identity, facts)
            connection.executemany(
                "INSERT OR REPLACE INTO vector (model, role, text, vector, checksum) "
                "VALUES ((SELECT id FROM model WHERE identity = ?), ?, ?, ?, ?)",
                rows,
            )

        self._database.transaction(insert)
        self._remember(identity, role, {text: _vector(blob) for text, blob in blobs.items()})

    def _remember(self, identity: str, role: TextRole, vectors: Mapping[str, FloatArray]) -> None:
        with self._memory_lock:
            for text, vector in vectors.items():
                if self._memory.setdefault((identity, role, text), vector) is vector:
                    self._memory_left -= vector.nbytes
            while self._memory_left < 0 and self._memory:
                oldest = next(iter(self._memory))
                self._memory_left += self._memory.pop(oldest).nbytes


def _digest(text: str) -> str:
    # A text may hold half a surrogate pair: JSON allows it.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _vector(blob: bytes) -> FloatArray:
    return np.frombuffer(blob, dtype=_STORED)


def _insert_model(connection: sqlite3.Connection, identity: str, facts: ModelFacts) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO model (identity, dimension, query, document) VALUES (?, ?, ?, ?)",
        (identity, *astuple(facts)),
    )


def _select(
    connection: sqlite3.Connection, identity: str, role: TextRole, digests: Sequence[str]
) -> Iterator[tuple[str, FloatArray]]:
    """The vectors there are, by the text's digest; one whose bytes have changed is not there."""
    rows = connection.execute(
        "SELECT text, vector, checksum FROM vector "
        "WHERE model = (SELECT id FROM model WHERE identity = ?) AND role = ? "
        "AND text IN (SELECT value FROM json_each(?))",
        (identity, role.value, json.dumps(digests)),
    )
    for digest, blob, checksum in rows:
        if zlib.crc32(blob) == checksum:
            yield digest, _vector(blob)


class CachedEmbedder:
    """A frozen model behind the cache; fulfils `core.ports.Embedder`.

    Args:
        open_embedder: Opens the model; called at most once, when something is not in the cache.
        identity: Equal for equal models alone; see `model_identity`.
        cache: Shared with whoever else uses the model.
        chunk: Texts embedded and committed together.
    """

    def __init__(
        self,
        open_embedder: Callable[[], Embedder],
        identity: str,
        cache: EmbeddingCache,
        chunk: int = CHUNK,
    ) -> None:
        self._open_embedder = open_embedder
        self._identity = identity
        self._cache = cache
        self._chunk = chunk

    @property
    def dimension(self) -> int:
        return self._facts.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        facts = self._facts
        return {TextRole.QUERY: facts.query, TextRole.DOCUMENT: facts.document}.get(role, role)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        """See `core.ports.Embedder`.

        Raises:
            TrialFailure: The model gave a vector that is zero, not finite or of another length;
                its text is named, and it is not kept.
        """
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        role = self.effective_role(role)
        found = self._cache.find(self._identity, role, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for start in range(0, len(missing), self._chunk):
            found |= self._fill(missing[start : start + self._chunk], role)
        return np.concatenate([found[text] for text in texts]).reshape(len(texts), -1)

    def count_tokens(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> int:
        """Tokens where the model counts them, else words between blanks, which are fewer."""
        count: Callable[..., int] | None = getattr(self._embedder, "count_tokens", None)
        return count(texts, role) if count else sum(len(text.split()) for text in texts)

    def token_ids(
        self, texts: Sequence[str], role: TextRole = TextRole.PLAIN
    ) -> list[tuple[int, ...]] | None:
        """See `core.coverage.ReadsTokens`; `None` if the model does not offer it."""
        read: Callable[..., list[tuple[int, ...]] | None] | None
        read = getattr(self._embedder, "token_ids", None)
        return read(texts, role) if read else None

    @cached_property
    def _embedder(self) -> Embedder:
        return self._open_embedder()

    @cached_property
    def _facts(self) -> ModelFacts:
        facts = self._cache.facts(self._identity)
        if facts is None:
            roles = map(self._embedder.effective_role, (TextRole.QUERY, TextRole.DOCUMENT))
            facts = ModelFacts(self._embedder.dimension, *roles)
            self._cache.describe(self._identity, facts)
        return facts

    def _fill(self, texts: Sequence[str], role: TextRole) -> dict[str, FloatArray]:
        """Vectors of texts that were not in the cache a moment ago."""
        with self._cache.filling(self._identity):
            # Another process may have embedded them while this one waited.
            found = self._cache.find(self._identity, role, texts)
            missing = [text for text in texts if text not in found]
            if missing:
                vectors = self._embedder.embed(missing, role).astype(np.float32, copy=False)
                self._refuse_another_shape(vectors, missing)
                usable = np.asarray(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))
                rows = zip(missing, vectors, usable, strict=True)
                good = {text: vector for text, vector, is_good in rows if is_good}
                # Before the refusal: what was paid for is kept.
                self._cache.add(self._identity, self._facts, role, good)
                _refuse_unusable(missing, usable)
                found |= good
        return found

    def _refuse_another_shape(self, vectors: FloatArray, texts: Sequence[str]) -> None:
        expected = (len(texts), self.dimension)
        if vectors.shape != expected:
            raise TrialFailure(
                "bad_embedding",
                f"the model gave vectors of shape {vectors.shape}, expected {expected}, for the "
                f"text {texts[0]!r:.80} and those after it",
            )


def _refuse_unusable(texts: Sequence[str], usable: npt.NDArray[np.bool_]) -> None:
    if not usable.all():
        text = texts[int(usable.argmin())]
        raise TrialFailure(
            "bad_embedding",
            f"the model gave a vector that is zero or not finite for the text {text!r:.80} "
            f"({int((~usable).sum())} of {len(texts)} texts)",
        )


_: type[Embedder] = CachedEmbedder
