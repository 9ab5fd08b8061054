"""Canaries: texts whose vectors are kept with a model, to notice when it no longer gives them.

A manifest says that a model's files are what was published. Canaries say that what opens from them
is the model that was measured: other weights with a manifest of their own, a library that computes
otherwise and a provider that changed its model all show in the vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedsweep.core.dataset import Benchmark
from embedsweep.core.errors import DataError
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure

CANARIES_FILE = "canaries.json"
CANARY_TEXTS = 4
"""For each role."""

LONGEST = 2000
"""Characters of a canary's text, where the data has texts as short."""

LEAST_COSINE = 1 - 1e-5
"""Between a vector kept and the same text's now, of a model whose weights are at hand.

The cosine lacks about half the square of the vector's relative error to 1. Float32 in batches of
another shape or by other kernels moves vectors by 1e-6: the cosine lacks 4e-13. This leaves other
processors a margin, and refuses what bfloat16 gives (1.8e-5) and other weights do (2e-3 for
another seed of a training of five steps).
"""

LEAST_COSINE_HOSTED = 1 - 1e-3
"""The same of a provider's model: providers give a text other vectors from call to call."""


@dataclass(frozen=True)
class Canary:
    """A text and the role it is embedded in."""

    text: str
    role: TextRole


def choose_canaries(benchmark: Benchmark) -> list[Canary]:
    """Return up to `CANARY_TEXTS` of the benchmark's texts for every role, spread over it.

    A client may request any role, so the roles that the benchmark does not evaluate are covered
    too.
    """
    task, roles = benchmark.retrieval, len(TextRole)
    every = _spread(benchmark.every_text(), CANARY_TEXTS * roles)
    chosen = {role: every[place::roles] or every for place, role in enumerate(TextRole)}
    if task is not None and not task.leave_one_out:
        chosen[TextRole.QUERY] = _spread(task.queries.values(), CANARY_TEXTS)
        chosen[TextRole.DOCUMENT] = _spread(task.documents.values(), CANARY_TEXTS)
    return [Canary(text, role) for role, texts in chosen.items() for text in texts]


def canaries_of(embedder: Embedder, benchmark: Benchmark, *, hosted: bool) -> str:
    """The content of a model's `CANARIES_FILE`.

    Args:
        embedder: The model, as it was measured.
        benchmark: Whose texts are taken.
        hosted: Whether a provider computes the vectors, or those that a head is put on.

    Returns:
        JSON. The vectors are float32, written exactly.
    """
    chosen = choose_canaries(benchmark)
    vectors = _embedded(embedder, chosen)
    rows = [
        {"text": canary.text, "role": canary.role.value, "vector": vector}
        for canary, vector in zip(chosen, vectors.tolist(), strict=True)
    ]
    return json.dumps({"hosted": hosted, "canaries": rows}, ensure_ascii=False) + "\n"


def check_canaries(embedder: Embedder, model: Path, where: str) -> float | None:
    """Check that a model gives the embeddings of its canaries.

    Args:
        embedder: The model as it opened here, or what answers requests for it.
        model: The folder of all its files, its manifest's.
        where: What to call the model in a message.

    Returns:
        The least cosine; None for a model kept without canaries.

    Raises:
        DataError: It gives other vectors than when it was measured.
    """
    path = model / CANARIES_FILE
    if not path.is_file():
        return None
    chosen, kept, hosted = _read(path, where)
    if not chosen:
        return None
    try:
        now = _embedded(embedder, chosen)
    except TrialFailure as failure:
        raise _other(f"it gives none: {failure.kind}: {failure.message}", where) from failure
    if now.shape != kept.shape:
        raise _other(f"its vectors have shape {now.shape}, kept were {kept.shape}", where)
    worst = float(min(_cosines(now, kept)))
    least = LEAST_COSINE_HOSTED if hosted else LEAST_COSINE
    if not worst >= least:
        raise _other(f"the least cosine of now and then is {worst:.6f}, expected {least:g}", where)
    return worst


def _read(path: Path, where: str) -> tuple[list[Canary], FloatArray, bool]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = values["canaries"]
        chosen = [Canary(row["text"], TextRole(row["role"])) for row in rows]
        return chosen, np.asarray([row["vector"] for row in rows], np.float32), values["hosted"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            CANARIES_FILE,
            where,
            f"it is not what this version writes: {type(error).__name__}: {error}",
            "use the version of embedsweep that its provenance.json names",
        ) from error


def _embedded(embedder: Embedder, chosen: Sequence[Canary]) -> FloatArray:
    vectors = np.zeros((len(chosen), embedder.dimension), np.float32)
    for role in dict.fromkeys(canary.role for canary in chosen):
        rows = [index for index, canary in enumerate(chosen) if canary.role is role]
        vectors[rows] = embedder.embed([chosen[index].text for index in rows], role)
    return vectors


def _cosines(left: FloatArray, right: FloatArray) -> list[float]:
    """Of the rows, in float64; not a number where a row is zero or not finite."""
    one, other = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (one * other).sum(axis=1) / lengths
    return [float(cosine) for cosine in np.where(np.isfinite(cosines), cosines, -1.0)]


def _spread(texts: Iterable[str], count: int) -> list[str]:
    """So many of the distinct texts, at even distances; all where there are no more."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    short = [text for text in distinct if len(text) <= LONGEST] or distinct
    count = min(count, len(short))
    return [short[place * len(short) // count] for place in range(count)]


def _other(why: str, where: str) -> DataError:
    return DataError(
        "vectors of the canary texts",
        where,
        f"they are not those of the model that was measured: {why}",
        "compare the packages in its provenance.json with `embedsweep doctor`; if they agree, this "
        "is another model: promote another version, or roll back",
    )
