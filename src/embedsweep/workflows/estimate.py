"""What providers will bill for a sweep, about, told before anything is asked of them."""

from __future__ import annotations

from collections.abc import Iterator

from embedsweep.core.bill import Bill, Price, embedding_bill, tokens_in, training_bill
from embedsweep.core.dataset import Dataset
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import LOOPBACK
from embedsweep.core.space import Arm


def estimates(experiment: Experiment, dataset: Dataset) -> list[str]:
    """A line for each arm whose models a provider has.

    Frozen models embed each text of training and validation once, whatever the number of trials. A
    job trains on the texts of its file in each epoch, of which the most that may be drawn is
    reckoned, and its model then embeds the validation texts. The champion and its rival embed the
    test texts on top.
    """
    return [line for arm in experiment.space.arms for line in _lines(arm, experiment, dataset)]


def _lines(arm: Arm, experiment: Experiment, dataset: Dataset) -> Iterator[str]:
    for base in arm.bases():
        if base.provider is None or base.provider == LOOPBACK:
            continue
        price = experiment.prices.get(base.model, Price())
        valid = tokens_in(dataset.valid.every_text())
        train = tokens_in(dataset.train.every_text())
        priced = "" if base.model in experiment.prices else "; it has no price in this experiment"
        if arm.backend == "hosted":
            bill = _job(arm, train, valid, price)
            what = f"each job trains on about {bill.trained_tokens:,} tokens at most and embeds"
        else:
            bill = embedding_bill(train + valid, price)
            what = "all trials together embed"
        yield (
            f"arm {arm.name}, {base}: {what} about {bill.embedded_tokens:,} tokens, "
            f"{bill.cost:.4g} in money{priced}"
        )


def _job(arm: Arm, train: int, valid: int, price: Price) -> Bill:
    epochs = arm.knobs["epochs"]
    most = max(int(value) for value in epochs.values or (1,))
    return training_bill(train * most, price) + embedding_bill(valid, price)
