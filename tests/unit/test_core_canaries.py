"""Canaries: which texts they are, how they are written, and what they notice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from embedsweep.core.canaries import (
    CANARIES_FILE,
    CANARY_TEXTS,
    LONGEST,
    canaries_of,
    check_canaries,
    choose_canaries,
)
from embedsweep.core.dataset import Benchmark, RetrievalTask, SimilarityTask, Split
from embedsweep.core.errors import DataError
from embedsweep.core.ports import FloatArray
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure

QUERIES = {f"q{n}": f"question {n}" for n in range(50)}
DOCUMENTS = {f"d{n}": f"answer {n}" for n in range(60)}
TASK = RetrievalTask(QUERIES, DOCUMENTS, {name: {"d0": 1} for name in QUERIES})
RETRIEVAL = Benchmark("mine", Split.VALID, retrieval=TASK)


@dataclass
class Vectors:
    """Random vectors that the text, its role and a seed decide, turned by an angle."""

    seed: int = 0
    dimension: int = 6
    angle: float = 0.0
    asked: list[tuple[str, TextRole]] = field(default_factory=list)

    def effective_role(self, role: TextRole) -> TextRole:
        return role

    def embed(self, texts: list[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        self.asked += [(text, role) for text in texts]
        return np.stack([self._one(text, role) for text in texts])

    def _one(self, text: str, role: TextRole) -> FloatArray:
        rng = np.random.default_rng([self.seed, *f"{role.value} {text}".encode()])
        axes = np.linalg.qr(rng.standard_normal((self.dimension, 2)))[0].T
        one = np.cos(self.angle) * axes[0] + np.sin(self.angle) * axes[1]
        return one.astype(np.float32)


def kept(folder: Path, hosted: bool = False) -> Path:
    text = canaries_of(Vectors(), RETRIEVAL, hosted=hosted)
    (folder / CANARIES_FILE).write_text(text, encoding="utf-8")
    return folder


def test_retrieval_gives_queries_and_documents_from_all_over_it() -> None:
    chosen = choose_canaries(RETRIEVAL)
    assert [canary.role for canary in chosen] == [role for role in TextRole for _ in range(4)]
    assert [canary.text for canary in chosen[:4]] == [f"question {n}" for n in (0, 12, 25, 37)]
    assert all(canary.text in DOCUMENTS.values() for canary in chosen[4:8])
    assert len(set(chosen)) == CANARY_TEXTS * len(TextRole)


def test_what_is_not_searched_gives_texts_for_every_role_too() -> None:
    pairs = {f"p{n}": (f"one {n}", f"other {n}") for n in range(3)}
    similarity = Benchmark("mine", Split.VALID, similarity=SimilarityTask(pairs, {}))
    alike = Benchmark("mine", Split.VALID, retrieval=replace(TASK, leave_one_out=True))
    single = Benchmark("mine", Split.VALID, similarity=SimilarityTask({"p": ("a", "a")}, {}))
    for benchmark, each in ((similarity, 2), (alike, CANARY_TEXTS), (single, 1)):
        chosen = choose_canaries(benchmark)
        assert Counter(canary.role for canary in chosen) == dict.fromkeys(TextRole, each)


def test_long_and_empty_texts_are_left_out_where_there_are_others() -> None:
    texts = {"a": "x" * (LONGEST + 1), "b": " ", "c": "short", "d": "short"}
    task = replace(TASK, documents=texts)
    of_documents = [c.text for c in choose_canaries(replace(RETRIEVAL, retrieval=task))[4:5]]
    assert of_documents == ["short"]
    task = replace(TASK, documents={"a": texts["a"]})
    assert choose_canaries(replace(RETRIEVAL, retrieval=task))[4].text == texts["a"]


def test_vectors_are_written_exactly_and_embedded_in_their_roles(tmp_path: Path) -> None:
    rows = json.loads((kept(tmp_path) / CANARIES_FILE).read_text())["canaries"]
    expected = Vectors().embed([row["text"] for row in rows[4:8]], TextRole.DOCUMENT)
    read = np.asarray([row["vector"] for row in rows[4:8]], np.float32)
    np.testing.assert_array_equal(read, expected)
    model = Vectors()
    assert check_canaries(model, tmp_path, "mine") == pytest.approx(1.0, abs=1e-7)
    assert {role for _, role in model.asked} == set(TextRole)


@pytest.mark.parametrize(
    ("hosted", "lacks", "passes"),
    [
        (False, 1e-7, True),
        (False, 1.8e-5, False),  # what bfloat16 gives
        (True, 1.8e-5, True),
        (True, 2.3e-3, False),  # another seed
    ],
)
def test_the_tolerance_is_of_cosines(
    tmp_path: Path, hosted: bool, lacks: float, passes: bool
) -> None:
    turned = Vectors(angle=float(np.arccos(1 - lacks)))
    if passes:
        assert check_canaries(turned, kept(tmp_path, hosted), "mine") is not None
        return
    with pytest.raises(DataError, match=rf"mine: .* cosine of now and then is {1 - lacks:.6f}"):
        check_canaries(turned, kept(tmp_path, hosted), "mine")


class Broken(Vectors):
    def embed(self, texts: list[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        raise TrialFailure("provider", "it does not answer")


class Blank(Vectors):
    def embed(self, texts: list[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        return np.zeros((len(texts), self.dimension), np.float32)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Vectors(seed=1), "the least cosine"),
        (Vectors(dimension=7), r"shape \(12, 7\), kept were \(12, 6\)"),
        (Blank(), "is -1.000000"),
        (Broken(), "provider: it does not answer"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, model: Vectors, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        check_canaries(model, kept(tmp_path), "models:/support/3")
    assert "models:/support/3" in str(caught.value)
    assert "roll back" in str(caught.value)


def test_a_model_kept_without_canaries_is_not_held_against_any(tmp_path: Path) -> None:
    assert check_canaries(Vectors(seed=1), tmp_path, "mine") is None
    empty = Benchmark("mine", Split.VALID)
    (tmp_path / CANARIES_FILE).write_text(canaries_of(Vectors(), empty, hosted=False))
    assert check_canaries(Vectors(seed=1), tmp_path, "mine") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"hosted": false, "canaries": [{}]}'])
def test_a_file_of_another_form_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / CANARIES_FILE).write_text(content)
    with pytest.raises(DataError, match="not what this version writes"):
        check_canaries(Vectors(), tmp_path, "mine")
