"""Each text is embedded once, whoever asks and whatever is killed, and nothing bad is kept."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sqlite3
import time
from collections import Counter
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from embedsweep.backends.embedding_cache import (
    CachedEmbedder,
    EmbeddingCache,
    ModelFacts,
    model_identity,
)
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.core.ports import Embedder
from embedsweep.core.recipe import Base
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from tests.unit.hash_embedder import DIMENSION, HashEmbedder, vector_of

SPAWN = multiprocessing.get_context("spawn")
TEXTS = [f"text {i}" for i in range(40)]
CHUNK = 8


class UnlockedCache(EmbeddingCache):
    """The control: nobody waits for anybody."""

    def filling(self, identity: str) -> AbstractContextManager[None]:
        return nullcontext()


def never() -> Embedder:
    raise AssertionError("the model was opened")


def over(embedder: HashEmbedder, cache: EmbeddingCache, identity: str = "m") -> CachedEmbedder:
    return CachedEmbedder(lambda: embedder, identity, cache, chunk=CHUNK)


def damaged_files(folder: Path) -> list[Path]:
    return list(folder.glob("damaged-*.sqlite"))


def fill(
    folder: Path, embedder: HashEmbedder, chunk: int, cache_type: type[EmbeddingCache]
) -> None:
    CachedEmbedder(lambda: embedder, "m", cache_type(folder), chunk).embed(TEXTS)


def test_each_distinct_text_is_embedded_once_and_comes_back_in_order(tmp_path: Path) -> None:
    model = HashEmbedder()
    cached = over(model, EmbeddingCache(tmp_path))
    texts = ["b", "a", "b", "\ud800", "c", "a"]
    vectors = cached.embed(texts)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, [vector_of(text, TextRole.PLAIN) for text in texts])
    assert model.calls == [["b", "a", "\ud800", "c"]]
    vectors[:] = 0  # what a caller does to its copy stays with the caller
    assert np.array_equal(cached.embed(["a"])[0], vector_of("a", TextRole.PLAIN))
    assert cached.embed([]).shape == (0, DIMENSION)
    assert len(model.calls) == 1


def test_the_model_is_not_opened_for_what_is_there(tmp_path: Path) -> None:
    filled = over(HashEmbedder(), EmbeddingCache(tmp_path)).embed(TEXTS, TextRole.QUERY)
    cached = CachedEmbedder(never, "m", EmbeddingCache(tmp_path))
    assert np.array_equal(cached.embed(TEXTS, TextRole.QUERY), filled)
    assert cached.dimension == DIMENSION
    assert cached.effective_role(TextRole.QUERY) is TextRole.QUERY
    assert cached.effective_role(TextRole.DOCUMENT) is TextRole.PLAIN
    assert cached.effective_role(TextRole.PLAIN) is TextRole.PLAIN
    with pytest.raises(AssertionError, match="opened"):
        cached.embed(["another text"])


def test_models_and_roles_do_not_share_vectors_but_equal_roles_do(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    model, other = HashEmbedder(), HashEmbedder()
    cached = over(model, cache)
    query, document, plain = (cached.embed(["a"], role)[0] for role in TextRole)
    assert not np.array_equal(query, plain)
    assert np.array_equal(document, plain)
    assert model.calls == [["a"], ["a"]]
    over(other, cache, identity="another").embed(["a"])
    assert other.calls == [["a"]]


def test_the_identity_follows_all_that_decides_the_vectors() -> None:
    bases = [Base("m"), Base("n"), Base("m", "openai"), Base("m", "openai", 256)]
    identities = {model_identity(base, digest) for base in bases for digest in ("x", "y")}
    assert len(identities) == 8
    assert model_identity(Base("m"), "x") in identities


@pytest.mark.parametrize(
    ("cache_type", "times"), [(EmbeddingCache, 1), (UnlockedCache, 2)], ids=["locked", "control"]
)
def test_two_processes_that_miss_the_same_texts(
    cache_type: type[EmbeddingCache], times: int, tmp_path: Path
) -> None:
    """The first to embed waits a moment for the other: it comes only where no lock holds it."""
    log = tmp_path / "log"
    meet = SPAWN.Barrier(2, timeout=1.5)
    ready = SPAWN.Barrier(2, timeout=60)
    processes = [
        SPAWN.Process(target=fill_together, args=(ready, tmp_path, log, meet, cache_type))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    embedded = Counter(log.read_text().splitlines())
    assert embedded.keys() == set(TEXTS)
    assert embedded[TEXTS[0]] == times
    if times == 1:
        assert embedded.total() == len(TEXTS)


def fill_together(
    ready: Barrier, folder: Path, log: Path, meet: Barrier, cache_type: type[EmbeddingCache]
) -> None:
    ready.wait()
    fill(folder, HashEmbedder(log, meet=meet), CHUNK, cache_type)


@pytest.mark.parametrize(
    ("chunk", "kept"), [(CHUNK, 16), (len(TEXTS), 0)], ids=["chunks", "control"]
)
def test_a_kill_in_mid_fill_loses_at_most_a_chunk(chunk: int, kept: int, tmp_path: Path) -> None:
    killed = HashEmbedder(kill_after=20)
    process = SPAWN.Process(target=fill, args=(tmp_path, killed, chunk, EmbeddingCache))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    cache = EmbeddingCache(tmp_path)
    assert len(cache.find("m", TextRole.PLAIN, TEXTS)) == kept
    model = HashEmbedder()
    over(model, cache).embed(TEXTS)
    assert [text for call in model.calls for text in call] == TEXTS[kept:]
    assert not damaged_files(tmp_path)


@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_no_vector_is_never_kept(number: float, tmp_path: Path) -> None:
    bad = np.full(DIMENSION, number, dtype=np.float32)
    cached = over(HashEmbedder(answers={"text 3": bad}), EmbeddingCache(tmp_path))
    with pytest.raises(TrialFailure, match=r"zero or not finite for the text 'text 3'") as failure:
        cached.embed(TEXTS)
    assert failure.value.kind == "bad_embedding"
    cache = EmbeddingCache(tmp_path)
    found = cache.find("m", TextRole.PLAIN, TEXTS)
    assert found.keys() == {text for text in TEXTS[:CHUNK] if text != "text 3"}
    mended = HashEmbedder()
    over(mended, cache).embed(TEXTS[:CHUNK])
    assert mended.calls == [["text 3"]]


def test_the_embedder_is_what_keeps_a_bad_vector_out(tmp_path: Path) -> None:
    """The control: the file itself would take it, and give it back for good."""
    cache = EmbeddingCache(tmp_path)
    facts = ModelFacts(DIMENSION, TextRole.QUERY, TextRole.PLAIN)
    bad = np.full(DIMENSION, np.nan, dtype=np.float32)
    cache.add("m", facts, TextRole.PLAIN, {"text 3": bad})
    assert np.isnan(CachedEmbedder(never, "m", EmbeddingCache(tmp_path)).embed(["text 3"])).all()


def test_vectors_of_another_length_or_number_are_never_kept(tmp_path: Path) -> None:
    class Short(HashEmbedder):
        def embed(self, texts, role=TextRole.PLAIN):
            return super().embed(texts, role)[:-1]

    longer = HashEmbedder(answers={text: np.ones(DIMENSION + 1, np.float32) for text in TEXTS})
    for model in (Short(), longer):
        with pytest.raises(TrialFailure, match="text 0") as failure:
            over(model, EmbeddingCache(tmp_path)).embed(TEXTS)
        assert failure.value.kind == "bad_embedding"
    assert not EmbeddingCache(tmp_path).find("m", TextRole.PLAIN, TEXTS)


def test_lookup_is_fast(tmp_path: Path) -> None:
    texts = [f"a longer text of number {i} " * 20 for i in range(5000)]
    cached = CachedEmbedder(HashEmbedder, "m", EmbeddingCache(tmp_path))
    filled = cached.embed(texts)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        assert np.array_equal(cached.embed(texts), filled)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1


def test_the_memory_has_a_bound_and_the_file_answers_beyond_it(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, memory_bytes=10 * DIMENSION * 4)
    model = HashEmbedder()
    cached = over(model, cache)
    filled = cached.embed(TEXTS)
    assert len(cache._memory) == 10
    assert np.array_equal(cached.embed(TEXTS), filled)
    assert len(cache._memory) == 10
    assert sum(map(len, model.calls)) == len(TEXTS)


def test_a_damaged_file_is_renamed_aside_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    over(HashEmbedder(), EmbeddingCache(tmp_path)).embed(TEXTS)
    (file,) = tmp_path.glob("*.sqlite")
    content = bytearray(file.read_bytes())
    first, second = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    for broken in (b"this is no database", content[:100] + b"\xff" * (len(content) - 100)):
        file.write_bytes(broken)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert not first.find("m", TextRole.PLAIN, ["a"])
            assert not second.find("m", TextRole.PLAIN, ["a"])
        assert len(caplog.records) == 1
        assert "damaged" in caplog.text
    aside = sorted(damaged_files(tmp_path))
    assert len(aside) == 2
    assert aside[0].read_bytes() == b"this is no database"
    model = HashEmbedder()
    over(model, first).embed(TEXTS)
    assert sum(map(len, model.calls)) == len(TEXTS)
    # Whoever saw the damage later finds a sound file, and leaves it.
    second._database._begin_anew()
    assert len(second.find("m", TextRole.PLAIN, TEXTS)) == len(TEXTS)


def test_a_deleted_file_is_begun_anew_without_what_it_left_behind(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    (file,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(file)) as holder:
        holder.execute("SELECT * FROM model").fetchall()  # keeps the write-ahead log on disk
        over(HashEmbedder(), cache).embed(TEXTS)
        assert file.with_name(f"{file.name}-wal").stat().st_size > 0
        file.unlink()
        assert not EmbeddingCache(tmp_path).find("m", TextRole.PLAIN, TEXTS)


def test_a_vector_whose_bytes_have_changed_is_embedded_again(tmp_path: Path) -> None:
    over(HashEmbedder(), EmbeddingCache(tmp_path)).embed(TEXTS)
    (file,) = tmp_path.glob("*.sqlite")
    content = file.read_bytes()
    stored = vector_of("text 7", TextRole.PLAIN).tobytes()
    assert content.count(stored) == 1
    file.write_bytes(content.replace(stored, stored[:-1] + bytes([stored[-1] ^ 1])))
    model = HashEmbedder()
    vectors = over(model, EmbeddingCache(tmp_path)).embed(TEXTS)
    assert model.calls == [["text 7"]]
    assert np.array_equal(vectors[7], vector_of("text 7", TextRole.PLAIN))


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="make the folder writable"):
        EmbeddingCache(tmp_path / "file" / "cache")
    EmbeddingCache(tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.sqlite")
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match="SQLite says"):
        EmbeddingCache(tmp_path / "cache")


def test_tokens_are_the_models_where_it_counts_them(tmp_path: Path) -> None:
    class Counting(HashEmbedder):
        def count_tokens(self, texts, role=None):
            return 7 * len(texts)

    cache = EmbeddingCache(tmp_path)
    assert over(Counting(), cache).count_tokens(["one two", "three"]) == 14
    assert over(HashEmbedder(), cache).count_tokens(["one two", "three"]) == 3
