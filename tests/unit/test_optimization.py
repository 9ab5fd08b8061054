"""Descent whose model after an epoch is the model of a run of so many epochs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch, Rows
from embedsweep.core.dataset import Pair, TrainingSet
from embedsweep.core.recipe import DataForm, LocalRecipe, Loss
from embedsweep.core.trial import TrialFailure

PAIRS = TrainingSet(pairs=tuple(Pair(f"ask {i}", f"tell {i}") for i in range(22)))
STEPS = 6


def recipe(epochs: int, **changes: float) -> LocalRecipe:
    knobs = {"learning_rate": 0.05, **changes}
    return LocalRecipe(
        base_model="m",
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=epochs,
        batch_size=4,
        seed=3,
        **knobs,  # type: ignore[arg-type]
    )


class LinearFall(Optimization):
    """The control: a rate that falls to zero over all steps, of which it hangs."""

    def _rate(self, step: int) -> float:
        return (self.total_steps - step) / self.total_steps


class Descent:
    """A small network that learns how long texts are, with dropout, from batches of `PAIRS`."""

    def __init__(
        self, chosen: LocalRecipe, kind: type[Optimization] = Optimization, frozen: bool = False
    ) -> None:
        torch.manual_seed(chosen.seed)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.model[0].requires_grad_(not frozen)
        rows = Rows(PAIRS, DataForm.PAIRS, chosen.batch_size, chosen.seed)
        self.optimization = kind(self.model, chosen, rows)
        self.rates: list[float] = []

    def backward(self, batch: Batch) -> Tensor:
        self.rates.append(self.optimization._optimizer.param_groups[0]["lr"])
        numbers = [float(text.split()[1]) for text in batch.columns[0]]
        given = torch.tensor([[number, number % 2, 1.0] for number in numbers]) / 10
        loss = (self.model(given) - given.sum(dim=1, keepdim=True)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def weights(self) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.model.parameters()])

    def run(self) -> list[Tensor]:
        """The weights after every epoch, as told."""
        told = self.optimization.epochs(self.backward, lambda done, total, loss: None)
        return [self.weights() for _ in told]


def test_every_epochs_model_is_the_model_of_a_run_of_so_many_epochs() -> None:
    long = Descent(recipe(4)).run()
    assert len(long) == 4
    for epochs in (1, 2, 3, 4):
        assert torch.equal(Descent(recipe(epochs)).run()[-1], long[epochs - 1])
    # The control: a rate that falls with the number of epochs makes other models of all but one.
    fallen = Descent(recipe(4), LinearFall).run()
    same = [torch.equal(Descent(recipe(e), LinearFall).run()[-1], fallen[e - 1]) for e in (1, 2, 3)]
    assert same == [False] * 3
    assert torch.equal(Descent(recipe(4), LinearFall).run()[-1], fallen[-1])


def test_the_rate_climbs_within_the_first_epoch_and_stays() -> None:
    descent = Descent(recipe(3, warmup=0.5))
    descent.run()
    climbing, level = descent.rates[:3], descent.rates[3:]
    assert climbing == pytest.approx([0.05 / 4, 0.05 / 2, 0.05 * 3 / 4])
    assert level == [0.05] * (3 * STEPS - 3)
    short = Descent(recipe(1, warmup=0.5))
    short.run()
    assert short.rates == descent.rates[:STEPS]


def test_training_goes_on_from_the_weights_and_not_from_their_average() -> None:
    descent = Descent(recipe(2))
    went: list[Tensor] = []

    def on_step(done: int, total: int, loss: float) -> None:
        assert total == 2 * STEPS
        went.append(descent.weights())

    told = descent.optimization.epochs(descent.backward, on_step)
    next(told)
    shown = descent.weights()
    assert not torch.equal(shown, went[-1])
    next(told)
    step = (went[STEPS] - went[STEPS - 1]).abs().max()
    # AdamW moves a weight by about the rate and no further.
    assert float(step) < 2 * 0.05
    assert float((went[STEPS] - shown).abs().max()) > float(step)


def test_the_model_stays_averaged_after_the_last_epoch_and_where_the_listener_breaks_off() -> None:
    for taken in (1, 2):
        descent = Descent(recipe(2))
        told = descent.optimization.epochs(descent.backward, lambda done, total, loss: None)
        shown = [(next(told), descent.weights())[1] for _ in range(taken)]
        told.close()
        assert torch.equal(descent.weights(), shown[-1])
    finished = Descent(recipe(2))
    assert torch.equal(finished.run()[-1], finished.weights())


def test_frozen_weights_stay_where_they_were_and_are_not_copied() -> None:
    descent = Descent(recipe(2), frozen=True)
    before = descent.model[0].weight.detach().clone()
    place = descent.model[0].weight.data_ptr()
    descent.run()
    assert torch.equal(descent.model[0].weight, before)
    assert descent.model[0].weight.data_ptr() == place
    # The control: what is trained has moved.
    trained = Descent(recipe(2))
    first = trained.model[0].weight.detach().clone()
    trained.run()
    assert not torch.equal(trained.model[0].weight, first)


def test_weights_that_are_not_finite_end_it_before_anyone_is_told() -> None:
    descent = Descent(recipe(2, learning_rate=1e38))
    with pytest.raises(TrialFailure) as failure:
        descent.run()
    assert failure.value.kind in {"non_finite_loss", "non_finite_weights"}
