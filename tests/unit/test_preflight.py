"""What cannot work is refused before anything is trained, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.core.coverage import Coverage
from embedsweep.core.dataset import Benchmark, Dataset, Pair, RetrievalTask, Split, TrainingSet
from embedsweep.core.errors import DataError, StoreError, UsageError
from embedsweep.core.experiment import Budget, DataSpec, Experiment
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.recipe import Base, HostedRecipe, TunedRecipe
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Domain, SearchSpace, Uniform
from embedsweep.workflows.preflight import examine_bases, preflight

PAIRS = TrainingSet(pairs=tuple(Pair(f"question {i}", f"answer {i}") for i in range(4)))
RETRIEVAL = RetrievalTask({"q": "question"}, {"d": "answer", "e": "other"}, {"q": {"d": 1}})
VALID = Benchmark("d", Split.VALID, retrieval=RETRIEVAL)
DATASET = Dataset("d", "pairs", PAIRS, VALID, lambda: VALID, {}, {}, {})


def local(name: str = "local", **knobs: Domain) -> Arm:
    domains: dict[str, Domain] = {
        "base_model": Choice(("m",)),
        "loss": Choice(("multiple_negatives_ranking",)),
        "epochs": Choice((1,)),
        "learning_rate": Uniform(1e-5, 1e-4),
        "batch_size": Choice((32,)),
    }
    return Arm(name, "local", {**domains, **knobs})


def adapter(**knobs: Domain) -> Arm:
    domains: dict[str, Domain] = {"head": Choice(("linear",)), **local().knobs}
    return Arm("heads", "adapter", {**domains, **knobs})


def hosted(**knobs: Domain) -> Arm:
    domains: dict[str, Domain] = {
        "base_model": Choice(("m",)),
        "provider": Choice(("loopback",)),
        "form": Choice(("pairs",)),
        "epochs": Choice((1,)),
        "learning_rate_multiplier": Choice((1.0,)),
        "batch_size": Choice((32,)),
    }
    return Arm("jobs", "hosted", {**domains, **knobs})


def experiment(*arms: Arm, **changes: object) -> Experiment:
    return replace(
        Experiment(
            name="e",
            path=Path("e.yaml"),
            text="",
            data=DataSpec("d"),
            objective=Measure("mrr", 10),
            space=SearchSpace(arms, seed=7),
            trials=3,
        ),
        **changes,
    )


def no_jobs(recipe: TunedRecipe) -> str | None:
    return "it takes no jobs" if isinstance(recipe, HostedRecipe) else None


class Bases:
    """Knows every base model but those called ``absent``, and whom it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Base] = []

    def digest(self, base: Base) -> str:
        self.asked.append(base)
        if base.model == "absent":
            raise StoreError("base model", "the hub", "it is not there", "check the name")
        return "digest"


def faults(home: Path, refused: Experiment) -> list[tuple[str, str]]:
    with pytest.raises(UsageError) as caught:
        preflight(refused, DATASET, Bases().digest, lambda recipe: None, home)
    return [(fault.what, fault.where) for fault in caught.value.faults]


def test_what_can_work_passes_and_every_base_is_looked_for(tmp_path: Path):
    bases = Bases()
    arms = (local(base_model=Choice(("a", "b"))), hosted())
    preflight(experiment(*arms), DATASET, bases.digest, lambda recipe: None, tmp_path)
    assert bases.asked == [Base("a"), Base("b"), Base("m", "loopback")]


def test_a_base_model_that_cannot_be_had_is_refused_with_its_own_error(tmp_path: Path):
    absent = experiment(local(base_model=Choice(("m", "absent"))))
    with pytest.raises(StoreError, match="it is not there"):
        preflight(absent, DATASET, Bases().digest, lambda recipe: None, tmp_path)


def test_a_guard_on_a_metric_that_the_data_does_not_give_is_named_even_if_it_is_off(
    tmp_path: Path,
):
    spearman, mrr = Measure("spearman"), Measure("mrr", 10)
    policy = PromotionPolicy(unguarded=frozenset({spearman, mrr}))
    assert faults(tmp_path, experiment(local(), policy=policy)) == [
        ("measure 'spearman'", "e.yaml"),
    ]


def test_every_loss_and_form_that_the_data_cannot_feed_is_named(tmp_path: Path):
    losses = Choice(("triplet", "multiple_negatives_ranking", "softmax"))
    forms = (hosted(form=Choice(("labelled",))), hosted(loss=Choice(("softmax",))))
    assert faults(tmp_path, experiment(local("l", loss=losses), *forms)) == [
        ("loss 'triplet'", "e.yaml (arm l)"),
        ("loss 'softmax'", "e.yaml (arm l)"),
        ("training file", "e.yaml (arm jobs)"),
        ("loss 'softmax'", "e.yaml (arm jobs)"),
    ]


def test_every_form_of_a_job_s_file_is_looked_at_and_not_the_first_alone(tmp_path: Path):
    both = hosted(form=Choice(("pairs", "triplets")))
    assert faults(tmp_path, experiment(both)) == [("training file", "e.yaml (arm jobs)")]
    negatives = TrainingSet(pairs=tuple(replace(pair, negatives=("no",)) for pair in PAIRS.pairs))
    fed = replace(DATASET, train=negatives)
    preflight(experiment(both), fed, Bases().digest, lambda recipe: None, tmp_path)


def test_what_a_backend_refuses_is_refused_whatever_the_data(tmp_path: Path):
    arms = experiment(local(), hosted())
    with pytest.raises(UsageError, match=r"backend hosted in e\.yaml \(arm jobs\): it takes no"):
        preflight(arms, DATASET, Bases().digest, no_jobs, tmp_path)
    preflight(experiment(local()), DATASET, Bases().digest, no_jobs, tmp_path)


def test_measures_that_the_data_does_not_give_are_refused(tmp_path: Path):
    policy = PromotionPolicy(0.95, 0.0, {Measure("macro_f1"): 0.0, Measure("ndcg", 10): 0.0})
    refused = experiment(local(), objective=Measure("accuracy"), policy=policy)
    assert faults(tmp_path, refused) == [
        ("measure 'accuracy'", "e.yaml"),
        ("measure 'macro_f1'", "e.yaml"),
    ]


def test_models_that_would_not_fit_are_refused(tmp_path: Path):
    budget = Budget(disk_gb=0.39)  # three trials and a base keep 0.4 GB
    assert faults(tmp_path, experiment(local(), budget=budget)) == [
        ("budget.disk_gb 0.39", "e.yaml")
    ]
    assert faults(tmp_path, experiment(local(), trials=10**9)) == [("disk space", str(tmp_path))]
    roomy = experiment(local(), budget=Budget(disk_gb=0.4))
    preflight(roomy, DATASET, Bases().digest, lambda recipe: None, tmp_path)


@pytest.mark.parametrize(
    ("arms", "keep"),
    [
        ([adapter()], 130e6),
        ([hosted(provider=Choice(("openai",)))], 103e6),
        ([hosted()], 400e6),
        ([adapter(), local()], 400e6),
    ],
)
def test_room_is_reckoned_for_the_largest_that_a_trial_may_keep(
    arms: list[Arm], keep: float, tmp_path: Path
):
    tight, roomy = (
        experiment(*arms, budget=Budget(disk_gb=size / 1e9)) for size in (keep - 1, keep)
    )
    assert [what for what, _ in faults(tmp_path, tight)] == [f"budget.disk_gb {(keep - 1) / 1e9:g}"]
    preflight(roomy, DATASET, Bases().digest, lambda recipe: None, tmp_path)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path):
    arms = (local(loss=Choice(("triplet",))),)
    wrong = experiment(*arms, objective=Measure("accuracy"), budget=Budget(disk_gb=0.1))
    assert len(faults(tmp_path, wrong)) == 3


def on_each(base: Base, texts: Sequence[str]) -> Coverage:
    """Reads everything, but cannot open ``broken``."""
    if base.model.startswith("broken"):
        raise DataError(f"base model {base}", "a folder", "it is damaged", "save it again")
    return Coverage(len(set(texts)), 256)


def test_each_base_model_of_this_machine_is_tried_once_and_no_provider_s():
    openai = Choice(("openai",))
    arms = (local(base_model=Choice(("a", "b"))), adapter(base_model=Choice(("b",))))
    jobs = (hosted(base_model=Choice(("a",))), hosted(base_model=Choice(("c",)), provider=openai))
    found = examine_bases(experiment(*arms, *jobs), DATASET, on_each)
    texts = {*DATASET.train.every_text(), *DATASET.valid.every_text()}
    assert found == {Base(name): Coverage(len(texts), 256) for name in ("a", "b")}


def test_every_base_model_that_cannot_embed_is_named_at_once():
    arms = local(base_model=Choice(("broken-1", "a", "broken-2")))
    with pytest.raises(DataError) as caught:
        examine_bases(experiment(arms), DATASET, on_each)
    assert [fault.what for fault in caught.value.faults] == [
        "base model broken-1",
        "base model broken-2",
    ]
