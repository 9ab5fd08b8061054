"""What a job is: the request that creates it, its key, and what tells it from others' jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embedsweep.backends.hosted.training_file import PREFIX, TrainingFile
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.jobs import JobRecord
from embedsweep.core.recipe import HostedRecipe

METADATA_KEY = "job_key"
_KEY_LENGTH = 32
_SUFFIX_LENGTH = 10


@dataclass(frozen=True)
class JobOrder:
    """A fine-tuning job to be had once.

    Attributes:
        recipe: How to train.
        file: What to train on.
    """

    recipe: HostedRecipe
    file: TrainingFile

    @cached_property
    def key(self) -> str:
        """Digest of all that decides the result; nothing of the sweep or the trial is in it."""
        recipe = self.recipe
        validation_file = None
        return fingerprint(
            recipe.provider.rstrip("/"),
            recipe.base_model,
            self.file.digest,
            validation_file,
            self.method,
            recipe.seed,
        )[:_KEY_LENGTH]

    @property
    def suffix(self) -> str:
        """Ends up in the name of the model; servers that keep no metadata keep that."""
        return f"{PREFIX}{self.key[:_SUFFIX_LENGTH]}"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """OpenAI's three, and the loss for servers that take one there."""
        values: dict[str, Any] = {
            "n_epochs": self.recipe.epochs,
            "batch_size": self.recipe.batch_size,
            "learning_rate_multiplier": self.recipe.learning_rate_multiplier,
        }
        if self.recipe.loss is not None:
            values["loss"] = self.recipe.loss.value
        return values

    @property
    def method(self) -> dict[str, Any]:
        return {"type": "supervised", "supervised": {"hyperparameters": self.hyperparameters}}

    @property
    def tokens(self) -> int:
        """About how many are trained on, each epoch anew."""
        return self.file.tokens * self.recipe.epochs

    def likeness(self, job: Mapping[str, Any], file_id: str | None) -> int:
        """How surely a job at the provider is this one.

        Returns:
            3 by its metadata, 2 by its suffix, 1 by its training file and whatever it tells of its
            training; 0 when it is another.
        """
        metadata = job.get("metadata")
        told = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
        if told is not None:
            return 3 if told == self.key else 0
        suffix = job.get("user_provided_suffix") or job.get("suffix")
        if suffix is not None:
            return 2 if suffix == self.suffix else 0
        model = job.get("fine_tuned_model")
        if isinstance(model, str) and PREFIX in model:
            return 2 if self.suffix in model else 0
        is_same = (
            file_id is not None
            and job.get("training_file") == file_id
            and job.get("model") in (None, self.recipe.base_model)
            and job.get("seed") in (None, self.recipe.seed)
            and self._trains_alike(job.get("hyperparameters"))
        )
        return 1 if is_same else 0

    def _trains_alike(self, told: object) -> bool:
        if not isinstance(told, Mapping):
            return True
        ours = self.hyperparameters
        return all(told.get(name) in (None, "auto", value) for name, value in ours.items())


def by_hand(record: JobRecord) -> str:
    """The way on for a person who knows better than the provider's replies."""
    return f"`embedsweep jobs resubmit {record.key} --yes`"
