"""A good experiment file becomes the experiment it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import experiment_schema, load_experiment
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import (
    Budget,
    DataSpec,
    Experiment,
    OnOverlap,
    PrunerKind,
    Sampler,
    SplitRule,
)
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.recipe import Base, Loss
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Integers, SearchSpace, Uniform

FULL = """\
name: support-search
data:
  train: train.jsonl
  valid: ../shared/valid.jsonl
  split: {test: 0.2, seed: 3, group_by: metadata.document}
  format: labelled
  columns: {text: body, label: metadata.intent}
  on_overlap: drop_from_train
  few_shot: 8
  max_train: 1e4
  max_valid: 500
  slice_by: metadata.topic
  name: tickets
objective: ndcg@10
guards: {accuracy: -0.01, macro_f1: 0, mrr@10: off}
search:
  trials: 24
  sampler: gp
  pruner: hyperband
  scouts: 16
  seed: 11
  arms:
    - backend: local
      base_model: all-MiniLM-L6-v2
      loss: [multiple_negatives_ranking, triplet, cosent, contrastive]
      epochs: {low: 1, high: 4}
      learning_rate: {low: 1.0e-5, high: 3e-4, log: true}
      batch_size: [32, 64]
    - backend: local
      name: long
      base_model: [a, b]
      loss: cached_multiple_negatives_ranking
      epochs: 2
      learning_rate: [1e-5, "3e-5"]
      batch_size: {low: 16, high: 256, log: true}
      warmup: {low: 0, high: 0.2}
      weight_decay: 0
      train_tokens: {low: 64, high: 256}
      train_layers: [2, 4]
      lora_rank: {low: 4, high: 64, log: true}
      scale: {low: 10, high: 50}
      mini_batch_size: 16
budget: {minutes: 60, disk_gb: 5.5}
promotion: {model: support, min_gain: 0.005, confidence: 0.9}
"""

SMALL = """\
name: small
data: {builtin: python-docs}
objective: accuracy
search:
  trials: 1
  arms:
    - {backend: local, base_model: m}
"""


def load(tmp_path: Path, text: str, **environ: str) -> Experiment:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, environ)


def test_a_full_file_round_trips(tmp_path: Path):
    losses = ("multiple_negatives_ranking", "triplet", "cosent", "contrastive")
    first = {
        "base_model": Choice(("all-MiniLM-L6-v2",)),
        "loss": Choice(losses),
        "epochs": Choice((4,)),
        "keep_from": Choice((1,)),
        "learning_rate": Uniform(1e-5, 3e-4, log=True),
        "batch_size": Choice((32, 64)),
    }
    second = {
        "base_model": Choice(("a", "b")),
        "loss": Choice(("cached_multiple_negatives_ranking",)),
        "epochs": Choice((2,)),
        "learning_rate": Choice((1e-5, 3e-5)),
        "batch_size": Integers(16, 256, log=True),
        "warmup": Uniform(0.0, 0.2),
        "weight_decay": Choice((0.0,)),
        "train_tokens": Integers(64, 256),
        "train_layers": Choice((2, 4)),
        "lora_rank": Integers(4, 64, log=True),
        "scale": Uniform(10.0, 50.0),
        "mini_batch_size": Choice((16,)),
    }
    assert load(tmp_path, FULL) == Experiment(
        name="support-search",
        path=tmp_path / "experiment.yaml",
        text=FULL,
        data=DataSpec(
            name="tickets",
            train=tmp_path / "train.jsonl",
            valid=tmp_path.parent / "shared" / "valid.jsonl",
            format="labelled",
            columns={"text": "body", "label": "metadata.intent"},
            split=SplitRule(valid=0.0, test=0.2, seed=3, group_by="metadata.document"),
            on_overlap=OnOverlap.DROP_FROM_TRAIN,
            few_shot=8,
            max_train=10_000,
            max_valid=500,
            slice_by="metadata.topic",
        ),
        objective=Measure("ndcg", 10),
        space=SearchSpace((Arm("local", "local", first), Arm("long", "local", second)), seed=11),
        trials=24,
        sampler=Sampler.GP,
        pruner=PrunerKind.HYPERBAND,
        scouts=16,
        budget=Budget(minutes=60.0, disk_gb=5.5),
        model="support",
        policy=PromotionPolicy(
            0.9,
            0.005,
            {Measure("accuracy"): -0.01, Measure("macro_f1"): 0.0},
            frozenset({Measure("mrr", 10)}),
        ),
    )


def test_what_is_left_out_has_a_default(tmp_path: Path):
    experiment = load(tmp_path, SMALL)
    knobs = {
        "base_model": Choice(("m",)),
        "loss": Choice(("multiple_negatives_ranking",)),
        "epochs": Choice((3,)),
        "keep_from": Choice((1,)),
        "learning_rate": Uniform(1e-5, 2e-4, log=True),
        "batch_size": Choice((32,)),
    }
    assert experiment.space == SearchSpace((Arm("local", "local", knobs),), seed=7)
    assert (experiment.sampler, experiment.pruner) == (Sampler.TPE, PrunerKind.NONE)
    assert (experiment.budget, experiment.policy) == (Budget(), PromotionPolicy())
    assert experiment.model == "small"
    assert experiment.data == DataSpec(name="python-docs", builtin="python-docs")


def test_numbers_keep_their_kind(tmp_path: Path):
    knobs = load(tmp_path, FULL).space.arms[1].knobs
    for name in ("learning_rate", "weight_decay"):
        assert all(type(value) is float for value in knobs[name].values)
    for name in ("epochs", "mini_batch_size", "train_tokens"):
        assert all(type(value) is int for value in knobs[name].values)
    assert all(type(value) is str for value in knobs["loss"].values)


def test_arms_without_a_name_get_one_nobody_has(tmp_path: Path):
    arms = "".join(
        f"    - {{backend: local, base_model: m{name}}}\n"
        for name in ("", "", ", name: local-2", ", name: local", "")
    )
    text = SMALL.replace("    - {backend: local, base_model: m}\n", arms)
    names = [arm.name for arm in load(tmp_path, text).space.arms]
    assert names == ["local-3", "local-4", "local-2", "local", "local-5"]


def test_the_first_arm_without_a_name_is_called_by_its_backend(tmp_path: Path):
    text = SMALL + "    - {backend: local, base_model: n}\n"
    assert [arm.name for arm in load(tmp_path, text).space.arms] == ["local", "local-2"]


def test_base_models_that_are_folders_beside_the_file_become_absolute(tmp_path: Path):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "a-file").touch()
    names = ["models/mine", "./models/../models/mine", "models/absent", "a-file", "org/name"]
    text = SMALL.replace("base_model: m", f"base_model: [{', '.join(names[:1] + names[2:])}]")
    here = str(tmp_path / "models" / "mine")
    bases = [here, "models/absent", "a-file", "org/name"]
    assert [base.model for base in load(tmp_path, text).space.bases()] == bases
    text = SMALL.replace("base_model: m", f"base_model: {names[1]}")
    assert load(tmp_path, text).space.bases() == (Base(here),)


def test_a_base_model_too_long_for_a_file_name_is_a_name(tmp_path: Path):
    name = "m" * 400
    experiment = load(tmp_path, SMALL.replace("base_model: m", f"base_model: {name}"))
    assert experiment.space.bases() == (Base(name),)


def test_two_spellings_of_one_base_model_are_one_too_many(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="twice"):
        load(tmp_path, SMALL.replace("base_model: m", "base_model: [mine, ./mine]"))


def test_paths_start_at_the_file_wherever_the_program_runs(tmp_path: Path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "experiment.yaml").write_text(FULL, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "elsewhere")
    experiment = load_experiment(Path("../experiment.yaml"), {})
    assert experiment.data.train == tmp_path / "train.jsonl"
    assert experiment.path == Path("../experiment.yaml")


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${DATA}/x", {"DATA": "/srv"}, "/srv/x"),
        ("${DATA:-/opt}/x", {"DATA": "/srv"}, "/srv/x"),
        ("${DATA:-/opt}/x", {}, "/opt/x"),
        ("${DATA:-/opt}/x", {"DATA": ""}, "/opt/x"),
        ("/a/${A}${B:-}/x", {"A": "1"}, "/a/1/x"),
        ("/a/$DATA", {"DATA": "b"}, "/a/$DATA"),
    ],
)
def test_variables_in_paths_are_expanded(tmp_path: Path, text, environ, expected):
    data = SMALL.replace("builtin: python-docs", f"beir: '{text}'")
    assert load(tmp_path, data, **environ).data.beir == Path(expected)


def test_an_empty_variable_does_not_turn_a_path_into_the_root(tmp_path: Path):
    data = SMALL.replace("builtin: python-docs", "beir: '${DATA}/x'")
    with pytest.raises(UsageError, match="DATA"):
        load(tmp_path, data, DATA="")


def test_variables_elsewhere_are_left_alone(tmp_path: Path):
    text = SMALL.replace("builtin: python-docs", "builtin: python-docs, name: '${DATA}'")
    assert load(tmp_path, text, DATA="x").data.name == "${DATA}"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("builtin: python-docs", "python-docs"),
        ("beir: sets/scifact", "scifact"),
        ("train: banking77/train.jsonl, split: {valid: 0.1, test: 0.1}", "banking77"),
        ("train: tickets.csv, split: {valid: 0.1, test: 0.1}", "tickets"),
    ],
)
def test_a_data_set_is_called_after_its_source(tmp_path: Path, data, name):
    text = SMALL.replace("builtin: python-docs", data)
    assert load(tmp_path, text).data.name == name


def test_empty_optional_sections_count_as_left_out(tmp_path: Path):
    text = SMALL.replace("python-docs}", "python-docs, train: , split: ~}")
    assert load(tmp_path, text).data == DataSpec(name="python-docs", builtin="python-docs")


def test_a_whole_space_can_be_drawn_from(tmp_path: Path):
    class Lowest:
        def choice(self, name, options):
            return options[0]

        def uniform(self, name, low, high, *, log):
            return low

        def integer(self, name, low, high, *, log):
            return low

    arm, recipe = load(tmp_path, FULL).space.draw(Lowest())
    assert (arm, recipe.loss, recipe.seed) == ("local", Loss.MULTIPLE_NEGATIVES_RANKING, 11)
    assert (recipe.epochs, recipe.keep_from) == (4, 1)
    assert (recipe.learning_rate, recipe.batch_size) == (1e-5, 32)


def test_the_schema_knows_every_key_and_no_other():
    schema = experiment_schema()
    definitions = schema["$defs"]
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["name", "data", "objective", "search"]
    assert set(schema["properties"]) == {
        *("name", "data", "objective", "guards", "search", "budget", "prices", "promotion"),
    }
    objects = [schema, *(part for part in definitions.values() if part["type"] == "object")]
    assert len(objects) > 10
    assert all(part["additionalProperties"] is False for part in objects)
    arms = definitions["SearchSection"]["properties"]["arms"]["items"]["oneOf"]
    kinds = {"local": "LocalArm", "adapter": "AdapterArm", "hosted": "HostedArm"}
    assert arms == [{"$ref": f"#/$defs/{kind}"} for kind in kinds.values()]
    for backend, kind in kinds.items():
        assert definitions[kind]["required"] == ["backend", "base_model"]
        assert definitions[kind]["properties"]["backend"]["const"] == backend
    assert set(definitions["Loss"]["enum"]) == set(Loss)


def test_the_schema_bounds_every_form_of_a_knob():
    definitions = experiment_schema()["$defs"]
    one, several, between = definitions["LocalArm"]["properties"]["learning_rate"]["oneOf"]
    bounds = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert one == bounds
    assert (several["items"], several["minItems"], several["uniqueItems"]) == (bounds, 1, True)
    assert between == {"$ref": "#/$defs/LearningRateRange"}
    low = definitions["LearningRateRange"]["properties"]["low"]
    assert {key: low[key] for key in bounds} == bounds
    assert definitions["SearchSection"]["properties"]["trials"]["minimum"] == 1
