"""Fine-tuned models and checkpoints, each seen by its owner alone."""

from __future__ import annotations

import shutil

from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.database import Database
from embedsweep.serving.fine_tuning.disk import Disk
from embedsweep.serving.fine_tuning.job_rows import model_of
from embedsweep.serving.fine_tuning.records import TunedModel


class ModelBook:
    """What clients ask of models.

    Args:
        database: Rows.
        disk: The models' folders.
    """

    def __init__(self, database: Database, disk: Disk) -> None:
        self._database = database
        self._disk = disk

    def find(self, model_id: str, owner: str) -> TunedModel | None:
        row = self._database.row(
            "SELECT * FROM models WHERE id = ? AND owner = ?", (model_id, owner)
        )
        return None if row is None else model_of(row)

    def all(self, owner: str) -> list[TunedModel]:
        """The owner's fine-tuned models, newest first, without checkpoints."""
        rows = self._database.rows(
            "SELECT * FROM models WHERE owner = ? AND step IS NULL ORDER BY number DESC", (owner,)
        )
        return [model_of(row) for row in rows]

    def delete(self, model_id: str, owner: str) -> None:
        """Remove the owner's model, and the checkpoints on the way to it; or one checkpoint.

        Raises:
            ApiError: 404 where there is no such model.
        """
        with self._database.transaction() as rows:
            row = rows.execute(
                "SELECT * FROM models WHERE id = ? AND owner = ?", (model_id, owner)
            ).fetchone()
            if row is None:
                message = f"no fine-tuned model of yours is called {model_id[:200]!r}"
                raise ApiError(404, "model_not_found", message, "model")
            model = model_of(row)
            if model.step is None:
                rows.execute("DELETE FROM models WHERE job = ?", (model.job_id,))
            else:
                rows.execute("DELETE FROM models WHERE id = ?", (model_id,))
        folder = self._disk.models / (model.job_id if model.step is None else model.folder)
        shutil.rmtree(folder, ignore_errors=True)

    def folders(self) -> set[str]:
        """What lies on the disk by right."""
        return {row["folder"] for row in self._database.rows("SELECT folder FROM models")}
