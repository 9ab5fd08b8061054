"""Which epoch of a training is measured, kept and asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedsweep.core.ports import EpochEnd, FloatArray, StopTraining
from embedsweep.core.recipe import FileForm, HostedRecipe, LocalRecipe, Loss, TunedRecipe
from embedsweep.core.report import Measure, Report
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from embedsweep.workflows.sweep.epochs import NOBODY, Epochs, Watch

MRR = Measure("mrr", 10)
KEY = MRR.key("valid")
JOB = HostedRecipe(
    base_model="m",
    provider="loopback",
    form=FileForm.PAIRS,
    epochs=3,
    learning_rate_multiplier=1.0,
    batch_size=8,
    seed=7,
)


def recipe(epochs: int, keep_from: int | None = None) -> LocalRecipe:
    return LocalRecipe(
        base_model="m",
        loss=Loss.TRIPLET,
        epochs=epochs,
        learning_rate=1e-4,
        batch_size=8,
        seed=7,
        keep_from=keep_from,
    )


class Model:
    """One that scores what its epoch scores."""

    dimension = 1

    def __init__(self, value: float) -> None:
        self.value = value

    def effective_role(self, role: TextRole) -> TextRole:
        return role

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        return np.ones((len(texts), 1), np.float32)


class Trained:
    """A training told of, epoch after epoch: what was measured, recorded, saved and asked."""

    def __init__(self, chosen: TunedRecipe, folder: Path, watch: Watch = NOBODY) -> None:
        self.folder = folder
        self.measured: list[float] = []
        self.recorded: dict[int, Mapping[str, float]] = {}
        self.saved: list[int] = []
        self.epochs = Epochs(chosen, folder, MRR, self._measure, self.recorded.__setitem__, watch)

    def tell(self, *values: float) -> Trained:
        for epoch, value in enumerate(values, start=1):

            def save(folder: Path, epoch: int = epoch) -> None:
                folder.mkdir()
                (folder / f"epoch-{epoch}").touch()
                self.saved.append(epoch)

            self.epochs.on_epoch(EpochEnd(epoch, {"train/loss": 1.0}, Model(value), save))
        return self

    def _measure(self, embedder: Any) -> Report:
        self.measured.append(embedder.value)
        return Report("b", "valid", {MRR: embedder.value}, {})

    def left(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]


@pytest.mark.parametrize(
    ("chosen", "values", "kept", "saved"),
    [
        (recipe(4, 1), (0.5, 0.7, 0.6, 0.65), 2, [1, 2]),
        (recipe(4, 1), (0.5, 0.7, 0.7, 0.7), 2, [1, 2]),  # the earlier of equals
        (recipe(4, 3), (0.9, 0.8, 0.1, 0.2), 4, [3, 4]),  # what is before the choice is not kept
        (recipe(4), (0.9, 0.8, 0.7, 0.6), 4, [4]),  # no choice: the last
        (recipe(1), (0.3,), 1, [1]),
        (JOB, (0.9, 0.8, 0.7), 3, [3]),
    ],
)
def test_the_best_epoch_that_may_be_kept_is(
    chosen: TunedRecipe,
    values: tuple[float, ...],
    kept: int,
    saved: list[int],
    tmp_path: Path,
) -> None:
    trained = Trained(chosen, tmp_path / "model").tell(*values)
    assert trained.epochs.kept.epoch == kept
    assert trained.epochs.kept.report.means == {MRR: values[kept - 1]}
    assert trained.saved == saved
    assert trained.left() == [f"epoch-{kept}"]


def test_every_epochs_measures_and_losses_are_recorded(tmp_path: Path) -> None:
    trained = Trained(recipe(3, 1), tmp_path / "model").tell(0.5, 0.7, 0.6)
    assert trained.recorded == {
        epoch: {KEY: value, "train/loss": 1.0} for epoch, value in ((1, 0.5), (2, 0.7), (3, 0.6))
    }
    assert trained.epochs.reached == 3


def test_what_cannot_be_kept_is_measured_only_where_somebody_asks(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def keeps_up(epoch: int, value: float) -> bool:
        asked.append((epoch, value))
        return True

    unasked = Trained(recipe(4, 3), tmp_path / "a", Watch(keeps_up, wants_all=False))
    unasked.tell(0.1, 0.2, 0.3, 0.4)
    assert unasked.measured == [0.3, 0.4]
    assert asked == [(3, 0.3), (4, 0.4)]
    assert unasked.recorded[1] == {"train/loss": 1.0}
    asked.clear()
    watched = Trained(recipe(4, 3), tmp_path / "b", Watch(keeps_up, wants_all=True))
    watched.tell(0.1, 0.2, 0.3, 0.4)
    assert watched.measured == [0.1, 0.2, 0.3, 0.4]
    assert asked == list(enumerate((0.1, 0.2, 0.3, 0.4), start=1))
    # Where nothing is chosen, how a training goes is shown all the same.
    assert Trained(recipe(3), tmp_path / "c").tell(0.1, 0.2, 0.3).measured == [0.1, 0.2, 0.3]


def test_a_training_that_falls_behind_stops_but_not_when_it_is_done(tmp_path: Path) -> None:
    behind = Watch(lambda epoch, value: value > 0.5, wants_all=True)
    stopped = Trained(recipe(3, 1), tmp_path / "a", behind)
    with pytest.raises(StopTraining):
        stopped.tell(0.6, 0.4, 0.9)
    assert stopped.epochs.reached == 2
    done = Trained(recipe(3, 1), tmp_path / "b", behind).tell(0.6, 0.7, 0.4)
    assert done.epochs.kept.epoch == 2


def test_a_training_that_told_of_nothing_to_keep_is_a_failure(tmp_path: Path) -> None:
    trained = Trained(recipe(4, 3), tmp_path / "model").tell(0.5, 0.6)
    with pytest.raises(TrialFailure, match="none of the epochs 3 to 4") as failure:
        _ = trained.epochs.kept
    assert failure.value.kind == "no_model"
