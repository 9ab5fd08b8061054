"""What a sweep is said to cost beforehand: which arms get a line, and what is counted in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.bill import Price, tokens_in
from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    Dataset,
    LabelledText,
    Pair,
    RetrievalTask,
    Split,
    TrainingSet,
)
from embedsweep.core.experiment import DataSpec, Experiment
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Domain, Integers, SearchSpace
from embedsweep.workflows.estimate import estimates

URL = "http://gpu-machine:8000/v1"
PRICES = {"m": Price(embedding=1000.0, training=5000.0)}
PAIRS = TrainingSet(pairs=(Pair("aaaa", "b" * 8, ("n" * 40,)), Pair("aaaa", "c" * 12)))
RETRIEVAL = RetrievalTask({"q": "aaaa"}, {"d": "d" * 20, "e": "d" * 20}, {"q": {"d": 1}})
"""Of tokens: aaaa 1, b 2, c 3, d 5 and n 10; a text has 4 bytes per token."""

LABELLED = TrainingSet(
    texts=tuple(LabelledText(letter * 4, label) for letter, label in ("ux", "vx", "wy", "zy"))
)


def told(
    *arms: Arm,
    train: TrainingSet = PAIRS,
    prices: dict[str, Price] | None = None,
    classification: ClassificationTask | None = None,
) -> list[str]:
    experiment = Experiment(
        name="e",
        path=Path("e.yaml"),
        text="",
        data=DataSpec("d"),
        objective=Measure("ndcg", 10),
        space=SearchSpace(arms, seed=7),
        trials=100,
        prices=PRICES if prices is None else prices,
    )
    valid = Benchmark("d", Split.VALID, retrieval=RETRIEVAL, classification=classification)
    dataset = Dataset("d", "pairs", train, valid, lambda: valid, {}, {}, {})
    return estimates(experiment, dataset)


def adapter(provider: str | None = "openai", **knobs: Domain) -> Arm:
    at = {} if provider is None else {"provider": Choice((provider,))}
    return Arm("heads", "adapter", {"base_model": Choice(("m",)), **at, **knobs})


def hosted(provider: str = URL, **knobs: Domain) -> Arm:
    domains: dict[str, Domain] = {
        "base_model": Choice(("m",)),
        "provider": Choice((provider,)),
        "form": Choice(("pairs",)),
        "epochs": Choice((1,)),
    }
    return Arm("jobs", "hosted", {**domains, **knobs})


def test_adapters_embed_each_text_of_training_and_validation_once():
    tokens = 1 + 2 + 10 + 3 + 5
    (line,) = told(adapter())
    assert line == (
        f"arm heads, m at openai: all trials together embed about {tokens} tokens, "
        f"{tokens * 1000 / 1e6:g} in money"
    )
    # The control: repeats and all, the texts are more.
    repeats = tokens_in(PAIRS.every_text()) + 1 + 5 + 5
    assert repeats > tokens
    # Nor does a classifier fitted on the training texts embed them anew.
    classification = ClassificationTask(tuple(PAIRS.every_text()), ("x",) * 5, {"q": "aaaa"}, {})
    assert told(adapter(), classification=classification) == [line]


@pytest.mark.parametrize(
    ("epochs", "most"), [(Choice((3,)), 3), (Choice((4, 2)), 4), (Integers(1, 5), 5)]
)
def test_a_job_trains_on_its_file_in_the_most_epochs_that_may_be_drawn(epochs: Domain, most: int):
    trained, embedded = most * (1 + 2 + 1 + 3), 1 + 5
    assert told(hosted(epochs=epochs)) == [
        f"arm jobs, m at {URL}: each job trains on about {trained} tokens at most and embeds "
        f"about {embedded} tokens, {(trained * 5000 + embedded * 1000) / 1e6:.4g} in money"
    ]


@pytest.mark.parametrize(
    ("train", "forms", "tokens"),
    [
        (PAIRS, ("pairs",), 7),
        (PAIRS, ("triplets",), 13),
        (PAIRS, ("pairs", "triplets"), 13),
        (LABELLED, ("labelled",), 4),
        (LABELLED, ("pairs",), 8),
        (LABELLED, ("labelled", "triplets"), 12),
    ],
)
def test_a_job_is_reckoned_by_the_rows_of_its_longest_file(train, forms, tokens):
    (line,) = told(hosted(form=Choice(forms)), train=train)
    assert f"trains on about {tokens} tokens at most" in line


def test_a_jobs_model_also_embeds_what_a_classifier_is_fitted_on():
    classification = ClassificationTask(("u" * 28, "u" * 28), ("x", "x"), {"q": "v" * 4}, {})
    (line,) = told(hosted(), classification=classification)
    assert "embeds about 14 tokens" in line  # 1 + 5, the classifier's 7, and 1 to classify


def test_what_runs_on_this_machine_is_not_told():
    local = Arm("local", "local", {"base_model": Choice(("m",)), "epochs": Choice((1,))})
    arms = (local, adapter(None), adapter("loopback"), hosted("loopback"))
    assert told(*arms) == []
    # The control: the same arms at a provider.
    assert len(told(local, adapter("openai"), hosted(URL))) == 2


def test_every_base_of_an_arm_has_its_line():
    lines = told(adapter(base_model=Choice(("m", "n")), dimensions=Choice((256, 512))))
    bases = [line.partition(":")[0] for line in lines]
    assert bases == [
        f"arm heads, {model} ({size} dimensions) at openai"
        for model in ("m", "n")
        for size in (256, 512)
    ]


def test_a_model_without_a_price_is_said_to_have_none():
    (line,) = told(hosted(), prices={"other": Price(1.0, 1.0)})
    assert line.endswith("0 in money; it has no price in this experiment")
    # The control: a price of nothing is a price.
    (line,) = told(hosted(), prices={"m": Price()})
    assert line.endswith("0 in money")
