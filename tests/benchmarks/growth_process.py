"""One size of what growth is measured over, in a process of its own, so that its memory is its own.

Run as ``python -m tests.benchmarks.growth_process KIND SIZE FOLDER``; prints one JSON document.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tokenizers import Tokenizer

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.core.dataset import Benchmark, Pair, RetrievalTask, Split, TrainingSet
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.evaluation import evaluate
from embedsweep.executors.in_process import measured
from tests.benchmarks.clocks import our_training_seconds
from tests.integration.tiny_models import make_tiny_base

FEW_TOKENS = 8
"""Of a text where it is not the tokens that grow, the two special ones included."""

PAIRS_OF_GROWING_TOKENS = 128
QUERIES = 500
BATCH_SIZE = 64
WARM_UP = 8


class Texts:
    """Draws texts of so many tokens, from the words of a vocabulary that are one token each."""

    def __init__(self) -> None:
        tokenizer = Tokenizer.from_file(str(base_folder(EMBEDDED) / "tokenizer.json"))
        words = (word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())
        self._words = sorted(word for word in words if len(word) > 2)
        self._random = Random(7)

    def text(self, tokens: int) -> str:
        """A text of exactly so many tokens, the two special ones included."""
        return " ".join(self._random.choices(self._words, k=tokens - 2))

    def pairs(self, count: int, tokens: int) -> TrainingSet:
        pairs = (Pair(self.text(tokens), self.text(tokens)) for _ in range(count))
        return TrainingSet(pairs=tuple(pairs))


def training(base: str, data: TrainingSet, folder: Path) -> Callable[[], float]:
    recipe = LocalRecipe(
        base_model=base,
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=1,
        learning_rate=1e-5,
        batch_size=BATCH_SIZE,
        seed=7,
    )
    backend = LocalBackend("cpu")
    few = TrainingSet(pairs=data.pairs[:WARM_UP])
    our_training_seconds(backend, recipe, few, folder / "warm-up")
    return lambda: our_training_seconds(backend, recipe, data, folder / "model")


def growing_pairs(size: int, folder: Path) -> Callable[[], float]:
    """Pairs of few tokens, two small layers."""
    return training(str(make_tiny_base(folder / "tiny")), Texts().pairs(size, FEW_TOKENS), folder)


def growing_tokens(size: int, folder: Path) -> Callable[[], float]:
    """A fixed number of pairs of so many tokens, the embedded default."""
    return training(EMBEDDED, Texts().pairs(PAIRS_OF_GROWING_TOKENS, size), folder)


def growing_documents(size: int, folder: Path) -> Callable[[], float]:
    """A fixed number of queries over so many documents of few tokens, two small layers."""
    embedder = LocalBackend("cpu").open(make_tiny_base(folder / "tiny"))
    texts = Texts()
    count = min(QUERIES, size)
    task = RetrievalTask(
        queries={f"q{place}": texts.text(FEW_TOKENS) for place in range(count)},
        documents={f"d{place}": texts.text(FEW_TOKENS) for place in range(size)},
        judgements={f"q{place}": {f"d{place}": 1} for place in range(count)},
    )
    benchmark = Benchmark("growing", Split.TEST, retrieval=task)

    def evaluated() -> float:
        began = time.perf_counter()
        evaluate(embedder, benchmark)
        return time.perf_counter() - began

    embedder.embed([texts.text(FEW_TOKENS)])
    return evaluated


KINDS = {"pairs": growing_pairs, "tokens": growing_tokens, "documents": growing_documents}


def resident() -> int:
    """Bytes of this process in memory now (Linux, proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def main(kind: str, size: int, folder: Path) -> None:
    work = KINDS[kind](size, folder)
    before = resident()
    took = measured(work)
    facts = {"seconds": took.result, "peak": took.peak_memory, "before": before}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
