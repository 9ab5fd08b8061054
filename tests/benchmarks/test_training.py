"""Training throughput: our loop against sentence-transformers' own trainer, in turns, as a ratio.

Same model, loss, pairs, batch size, epochs and truncation; the trainer set up as its docs do it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.local.encoder import open_model, training_precision
from embedsweep.backends.local.training import Training
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.experiment import DataSpec
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.data import PYTHON_DOCS, load_dataset

ROUNDS, PAIRS, BATCH, TOKENS = 3, 192, 32, 128


def ours(data: TrainingSet) -> None:
    recipe = LocalRecipe(
        base_model=EMBEDDED,
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=1,
        learning_rate=2e-5,
        batch_size=BATCH,
        seed=7,
        train_tokens=TOKENS,
    )
    model = open_model(base_folder(EMBEDDED), "cpu")
    Training(model, recipe, data, training_precision("cpu")).run(TrainingListener())


def theirs(data: TrainingSet, folder: Path) -> None:
    model = open_model(base_folder(EMBEDDED), "cpu")
    model.max_seq_length = TOKENS
    columns = {
        "anchor": [pair.anchor for pair in data.pairs],
        "positive": [pair.positive for pair in data.pairs],
    }
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=2e-5,
        warmup_steps=0.1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict(columns),
        loss=MultipleNegativesRankingLoss(model),
    ).train()


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.mark.bench
def test_training_throughput(tmp_path: Path) -> None:
    spec = DataSpec("docs", builtin=PYTHON_DOCS, max_train=PAIRS, max_valid=20)
    data = load_dataset(spec).train
    ratios = []
    for number in range(ROUNDS + 1):
        plain = seconds(lambda: theirs(data, tmp_path))
        own = seconds(lambda: ours(data))
        if number > 0:  # the first round warms both up
            ratios.append(plain / own)
            print(f"\nround {number}: trainer {PAIRS / plain:.1f} pairs/s, ours {PAIRS / own:.1f}")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ours is {statistics.median(ratios):.2f} times as fast (median of {ROUNDS}, {spread})")
    assert len(ratios) == ROUNDS
