"""What providers will bill for a sweep, about, told before anything is asked of them."""

from __future__ import annotations

from collections.abc import Iterator

from embedsweep.backends.hosted.training_file import training_file
from embedsweep.core.bill import Bill, Price, embedding_bill, tokens_in, training_bill
from embedsweep.core.dataset import Dataset, TrainingSet
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import LOOPBACK, FileForm
from embedsweep.core.space import Arm


def estimates(experiment: Experiment, dataset: Dataset) -> list[str]:
    """A line for each base model that a provider has, by arm.

    Frozen models embed each text of training and validation once, whatever the number of trials. A
    job trains on the texts of its file in each epoch, of which the most that may be drawn is
    reckoned, and its model then embeds the texts that validation measures with. The champion and
    its rival embed the test texts on top.
    """
    return [line for arm in experiment.space.arms for line in _lines(arm, experiment, dataset)]


def _lines(arm: Arm, experiment: Experiment, dataset: Dataset) -> Iterator[str]:
    for base in arm.bases():
        if base.provider is None or base.provider == LOOPBACK:
            continue
        price = experiment.prices.get(base.model, Price())
        measured = _measured(dataset)
        priced = "" if base.model in experiment.prices else "; it has no price in this experiment"
        if arm.backend == "hosted":
            bill = _job(arm, dataset.train, price) + embedding_bill(tokens_in(measured), price)
            what = f"each job trains on about {bill.trained_tokens:,} tokens at most and embeds"
        else:
            bill = embedding_bill(tokens_in(measured.union(dataset.train.every_text())), price)
            what = "all trials together embed"
        yield (
            f"arm {arm.name}, {base}: {what} about {bill.embedded_tokens:,} tokens, "
            f"{bill.cost:.4g} in money{priced}"
        )


def _measured(dataset: Dataset) -> set[str]:
    """The texts that measuring embeds: each once, those that a classifier is fitted on included."""
    classification = dataset.valid.classification
    fitted = classification.fit_texts if classification else ()
    return {*dataset.valid.every_text(), *fitted}


def _job(arm: Arm, train: TrainingSet, price: Price) -> Bill:
    forms = arm.knobs["form"].values or ()
    longest = max(training_file(train, FileForm(str(form))).tokens for form in forms)
    most = max(int(value) for value in arm.knobs["epochs"].values or ())
    return training_bill(longest * most, price)
