"""The plain way to the same models, as the documentation of its parts teaches it.

sentence-transformers' trainer inside an Optuna objective, an evaluator after each epoch, pruning by
what it says, and a run in MLflow for each trial with params, metrics and the model. Nothing is
slower than those pages have it: no checkpoints are written, and models are kept as plain files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from datasets import Dataset as Columns
from datasets import disable_progress_bars
from mlflow import MlflowClient
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation.evaluator import BaseEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from sklearn.linear_model import LogisticRegression
from transformers import PrinterCallback, TrainerCallback

from embedsweep.core.dataset import Benchmark, ClassificationTask, RetrievalTask

disable_progress_bars()

NAME = "valid"
PROBE = "accuracy"


@dataclass(frozen=True)
class PlainRecipe:
    """What the objective draws; the loss is multiple negatives ranking."""

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int


class ProbeEvaluator(BaseEvaluator):
    """Accuracy of a logistic regression on the model's vectors, as an evaluator of one's own.

    Args:
        task: The texts to fit on, and those to classify.
    """

    def __init__(self, task: ClassificationTask) -> None:
        super().__init__()
        self._task = task
        self.primary_metric = f"{NAME}_{PROBE}"

    def __call__(
        self,
        model: SentenceTransformer,
        output_path: str | None = None,
        epoch: int = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        task = self._task
        fitted = LogisticRegression(max_iter=1000).fit(
            model.encode(list(task.fit_texts), show_progress_bar=False), task.fit_labels
        )
        vectors = model.encode(list(task.texts.values()), show_progress_bar=False)
        truth = [task.labels[example] for example in task.texts]
        return {f"{NAME}_{PROBE}": float(fitted.score(vectors, truth))}


def retrieval_evaluator(task: RetrievalTask, name: str = NAME) -> InformationRetrievalEvaluator:
    """The evaluator the documentation names for queries, documents and judgements."""
    relevant = {
        query: {document for document, grade in grades.items() if grade > 0}
        for query, grades in task.judgements.items()
    }
    return InformationRetrievalEvaluator(
        queries=dict(task.queries),
        corpus=dict(task.documents),
        relevant_docs=relevant,
        name=name,
        write_csv=False,
        show_progress_bar=False,
    )


def evaluator_of(benchmark: Benchmark) -> tuple[BaseEvaluator, str]:
    """An evaluator for the benchmark's own question, and the metric of it that decides."""
    if benchmark.classification is not None:
        return ProbeEvaluator(benchmark.classification), f"{NAME}_{PROBE}"
    if benchmark.retrieval is None:
        raise ValueError(f"{benchmark.name} asks neither for classes nor for documents")
    return retrieval_evaluator(benchmark.retrieval), f"{NAME}_cosine_ndcg@10"


def train(
    model: SentenceTransformer,
    columns: Columns,
    recipe: PlainRecipe,
    folder: Path,
    measured: tuple[BaseEvaluator, TrainerCallback] | None = None,
) -> None:
    """Train the model in place.

    Args:
        model: On the processor.
        columns: Anchors and positives.
        recipe: How to train; what it does not name is the trainer's default, fp32 among it.
        folder: Where the trainer may write.
        measured: What to measure by after each epoch, and who is told; None to train alone.
    """
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.1,  # a share of all steps
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="epoch" if measured else "no",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=recipe.seed,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=settings,
        train_dataset=columns,
        loss=MultipleNegativesRankingLoss(model),
        evaluator=measured[0] if measured else None,
        callbacks=[measured[1]] if measured else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


class _Told(TrainerCallback):
    """Records each epoch in MLflow and in the study, and ends what falls behind."""

    def __init__(self, trial: optuna.Trial, client: MlflowClient, run_id: str, metric: str) -> None:
        self._trial, self._client, self._run_id = trial, client, run_id
        self._metric = f"eval_{metric}"
        self.score = float("nan")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **rest: Any
    ) -> None:
        epoch = round(state.epoch)
        for name, value in metrics.items():
            self._client.log_metric(self._run_id, name.replace("@", "_at_"), value, step=epoch)
        self.score = metrics[self._metric]
        self._trial.report(self.score, epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


@dataclass(frozen=True)
class PlainTrial:
    """A trial that ended.

    Attributes:
        recipe: What was drawn.
        ended: Seconds since the sweep began.
        score: By its own evaluator after the last epoch; None where it was pruned.
        model: The folder that holds the model; None where it was pruned.
    """

    recipe: PlainRecipe
    ended: float
    score: float | None
    model: Path | None


class PlainSweep:
    """An Optuna study over the plain recipes; `run` may be called once.

    MLflow's database is made at once, so that the clock of the sweep does not run for its tables.

    Args:
        base: Folder of the base model.
        columns: The training pairs.
        valid: What trials are measured on.
        folder: For its databases and models; empty.
        space: Learning rates and epochs as (low, high), batch sizes as what there is to choose.
    """

    def __init__(
        self,
        base: Path,
        columns: Mapping[str, Sequence[str]],
        valid: Benchmark,
        folder: Path,
        space: PlainSpace,
    ) -> None:
        self._base, self._folder, self._space = base, folder, space
        self._columns = Columns.from_dict({name: list(rows) for name, rows in columns.items()})
        self._evaluator, self._metric = evaluator_of(valid)
        self._client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        artifacts = (folder / "artifacts").as_uri()
        self._experiment = self._client.create_experiment("plain", artifact_location=artifacts)
        self.trials: list[PlainTrial] = []
        self._began = 0.0

    def run(self, trials: int, seed: int) -> float:
        """Run so many trials; returns the seconds they took."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._began = time.perf_counter()
        study = optuna.create_study(
            storage=f"sqlite:///{self._folder}/optuna.db",
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(),
        )
        study.optimize(self._objective, n_trials=trials)
        return time.perf_counter() - self._began

    def _objective(self, trial: optuna.Trial) -> float:
        recipe = self._space.draw(trial)
        run_id = self._client.create_run(
            self._experiment, run_name=f"trial-{trial.number}"
        ).info.run_id
        for name, value in asdict(recipe).items():
            self._client.log_param(run_id, name, value)
        told = _Told(trial, self._client, run_id, self._metric)
        model = SentenceTransformer(str(self._base), device="cpu", local_files_only=True)
        work = self._folder / f"trial-{trial.number}"
        try:
            train(model, self._columns, recipe, work, (self._evaluator, told))
        except optuna.TrialPruned:
            self._client.set_terminated(run_id, "KILLED")
            self.trials.append(PlainTrial(recipe, self._elapsed(), None, None))
            raise
        kept = work / "model"
        model.save(str(kept), create_model_card=False)
        self._client.log_artifacts(run_id, str(kept), "model")
        self._client.set_terminated(run_id)
        self.trials.append(PlainTrial(recipe, self._elapsed(), told.score, kept))
        return told.score

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began


@dataclass(frozen=True)
class PlainSpace:
    """What the plain sweep draws from.

    Attributes:
        epochs, learning_rate: Lowest and highest; the rate is drawn evenly in its logarithm.
        batch_size: What there is to choose from.
        seed: Of every training.
    """

    epochs: tuple[int, int]
    learning_rate: tuple[float, float]
    batch_size: tuple[int, ...]
    seed: int

    def draw(self, trial: optuna.Trial) -> PlainRecipe:
        return PlainRecipe(
            epochs=trial.suggest_int("epochs", *self.epochs),
            learning_rate=trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            batch_size=trial.suggest_categorical("batch_size", list(self.batch_size)),
            seed=self.seed,
        )
