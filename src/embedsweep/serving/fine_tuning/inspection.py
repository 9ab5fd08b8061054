"""Looking through a job's files before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedsweep.serving.fine_tuning.hyperparameters import Unfit, Value, resolved
from embedsweep.serving.fine_tuning.orders import Inspected, JobFailure, JobFiles, Tell


@dataclass(frozen=True)
class Inspection:
    """Read the files, and settle what was left open.

    Attributes:
        files: The job's.
        hyperparameters: As asked.
        base_model: Its name.
        seed: The job's.
    """

    files: JobFiles
    hyperparameters: Mapping[str, Value]
    base_model: str
    seed: int

    def carry_out(self, tell: Tell) -> Inspected:
        training, _ = self.files.read()
        try:
            recipe, settled = resolved(self.hyperparameters, self.base_model, self.seed, training)
        except Unfit as unfit:
            raise JobFailure("invalid_hyperparameters", str(unfit), "hyperparameters") from None
        return Inspected(recipe, settled, len(training))
