"""Arms of every kind: what they become, and where each fault of theirs is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config.arms import ARM_KINDS
from embedsweep.core.bill import Price
from embedsweep.core.experiment import Budget
from embedsweep.core.recipe import AdapterRecipe, Base, FileForm, Head, HostedRecipe
from embedsweep.core.space import Arm, Choice, Integers, Uniform
from tests.unit.arm_writing import (
    ADAPTER,
    ARM_LINE,
    HEAD,
    HOSTED,
    LOCAL,
    RANKING,
    URL,
    Lowest,
    indented,
    load,
    refused,
)


class Highest(Lowest):
    """Answers with the most of whole numbers."""

    def integer(self, name, low, high, *, log):
        return high


def test_a_full_adapter_arm_becomes_its_domains(tmp_path: Path):
    text = f"""{HEAD}\
    - backend: adapter
      name: heads
      base_url: {URL}/
      api_key_env: TEAM_API_KEY
      base_model: [a, b]
      dimensions: [256, 512]
      head: [linear, low_rank, mlp]
      width: {{low: 8, high: 64, log: true}}
      loss: [{RANKING}, triplet]
      epochs: {{low: 5, high: 500}}
      learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
      batch_size: [32, 64]
      warmup: 0
      weight_decay: [0, 0.1]
      scale: 10
      margin: {{low: 0.1, high: 0.5}}
"""
    experiment = load(tmp_path, text)
    knobs = {
        "provider": Choice((URL,)),
        "base_model": Choice(("a", "b")),
        "dimensions": Choice((256, 512)),
        "head": Choice(("linear", "low_rank", "mlp")),
        "width": Integers(8, 64, log=True),
        "loss": Choice((RANKING, "triplet")),
        "epochs": Choice((500,)),
        "keep_from": Choice((5,)),
        "learning_rate": Uniform(1e-4, 1e-2, log=True),
        "batch_size": Choice((32, 64)),
        "warmup": Choice((0.0,)),
        "weight_decay": Choice((0.0, 0.1)),
        "scale": Choice((10.0,)),
        "margin": Uniform(0.1, 0.5),
    }
    assert experiment.space.arms == (Arm("heads", "adapter", knobs),)
    assert experiment.key_variables == {URL: "TEAM_API_KEY"}
    assert experiment.space.bases() == tuple(
        Base(model, URL, size) for model in ("a", "b") for size in (256, 512)
    )


def test_a_full_hosted_arm_becomes_its_domains(tmp_path: Path):
    text = f"""{HEAD}\
    - backend: hosted
      name: jobs
      provider: loopback
      base_model: small
      form: [pairs, triplets]
      loss: [{RANKING}, triplet]
      epochs: {{low: 1, high: 2}}
      learning_rate_multiplier: [0.5, 2]
      batch_size: {{low: 8, high: 32}}
"""
    experiment = load(tmp_path, text)
    knobs = {
        "provider": Choice(("loopback",)),
        "base_model": Choice(("small",)),
        "form": Choice(("pairs", "triplets")),
        "loss": Choice((RANKING, "triplet")),
        "epochs": Integers(1, 2),
        "learning_rate_multiplier": Choice((0.5, 2.0)),
        "batch_size": Integers(8, 32),
    }
    assert experiment.space.arms == (Arm("jobs", "hosted", knobs),)
    assert experiment.key_variables == {}


def test_what_arms_leave_out_has_a_default(tmp_path: Path):
    hosted = HOSTED + "      provider: loopback\n"
    adapter, job = load(tmp_path, HEAD + ADAPTER + hosted).space.arms
    assert adapter == Arm(
        "adapter",
        "adapter",
        {
            "base_model": Choice(("m",)),
            "loss": Choice((RANKING,)),
            "epochs": Choice((50,)),
            "keep_from": Choice((5,)),
            "learning_rate": Uniform(1e-4, 3e-3, log=True),
            "batch_size": Choice((32,)),
            "head": Choice(("linear",)),
        },
    )
    assert job == Arm(
        "hosted",
        "hosted",
        {
            "provider": Choice(("loopback",)),
            "base_model": Choice(("m",)),
            "form": Choice(("pairs",)),
            "epochs": Integers(1, 3),
            "learning_rate_multiplier": Uniform(0.1, 4.0, log=True),
            "batch_size": Choice((32,)),
        },
    )


@pytest.mark.parametrize(
    ("head", "width"),
    [("linear", None), ("mlp", Choice((32,))), ("[linear, low_rank]", Choice((32,)))],
)
def test_a_width_is_32_where_a_head_has_one(tmp_path: Path, head, width):
    arm = load(tmp_path, f"{HEAD}{ADAPTER}      head: {head}\n").space.arms[0]
    assert arm.knobs.get("width") == width


@pytest.mark.parametrize("arm", [LOCAL, ADAPTER])
@pytest.mark.parametrize(
    ("given", "most", "first"),
    [("{low: 2, high: 6}", 6, 2), ("[4, 1, 9]", 9, 1), ("3", 3, None), ("[3]", 3, None)],
)
def test_epochs_of_what_is_trained_here_are_gone_through_and_not_drawn(
    tmp_path, arm, given, most, first
):
    drawn = load(tmp_path, f"{HEAD}{arm}      epochs: {given}\n").space.arms[0]
    recipe = drawn.draw(Lowest(), 7)
    assert (recipe.epochs, recipe.keep_from) == (most, first)
    assert drawn.draw(Highest(), 7).epochs == most
    # The control: a job has but the model of its own number.
    job = HOSTED + "      provider: loopback\n"
    jobs = load(tmp_path, f"{HEAD}{job}      epochs: {{low: 2, high: 6}}\n").space.arms[0]
    assert (jobs.draw(Lowest(), 7).epochs, jobs.draw(Highest(), 7).epochs) == (2, 6)


def test_recipes_of_all_kinds_can_be_drawn(tmp_path: Path):
    adapter = ADAPTER + "      provider: openai\n      head: mlp\n      dimensions: 256\n"
    hosted = HOSTED + f"      base_url: {URL}\n"
    first, second = load(tmp_path, HEAD + adapter + hosted).space.arms
    tuned, job = first.draw(Lowest(), 7), second.draw(Lowest(), 7)
    assert isinstance(tuned, AdapterRecipe)
    assert (tuned.head, tuned.width) == (Head.MLP, 32)
    assert tuned.base == Base("m", "openai", 256)
    assert isinstance(job, HostedRecipe)
    assert (job.form, job.loss, job.base) == (FileForm.PAIRS, None, Base("m", URL))


def test_prices_keys_and_a_cap_reach_the_experiment(tmp_path: Path):
    arms = (
        f"{ADAPTER}      provider: openai\n      api_key_env: OUR_OPENAI_KEY\n"
        f"{HOSTED}      base_url: {URL}\n      api_key_env: TEAM_TOKEN\n"
        f"{ADAPTER}      base_url: {URL}\n"
    )
    tail = "prices: {m: {embedding: 0.02, training: 3}, other: {}}\nbudget: {cost: 1.5}\n"
    experiment = load(tmp_path, HEAD + arms + tail)
    assert experiment.key_variables == {"openai": "OUR_OPENAI_KEY", URL: "TEAM_TOKEN"}
    assert experiment.prices == {"m": Price(0.02, 3.0), "other": Price()}
    assert experiment.budget == Budget(cost=1.5)


# Row: arm, the last line of it that is bad, the same line as it would be good, words of the
# message. A bad line of several is at fault in the last of them.
BAD = [
    (ADAPTER, f"provider: openai\nbase_url: {URL}", f"base_url: {URL}", ("provider openai",)),
    (HOSTED, f"provider: loopback\nbase_url: {URL}", f"base_url: {URL}", ("provider loopback",)),
    (ADAPTER, "provider: opnai", "provider: openai", ('"opnai"', "write openai")),
    (ADAPTER, "base_url: gpu-machine", f"base_url: {URL}", ("neither http:// nor https://",)),
    (ADAPTER, "base_url: gpu-machine:80/v1", f"base_url: {URL}", ("neither http://",)),
    (ADAPTER, "base_url: //gpu-machine/v1", f"base_url: {URL}", ("neither http://",)),
    (ADAPTER, "base_url: file:///etc/passwd", f"base_url: {URL}", ("neither http://",)),
    (ADAPTER, "base_url: http:///v1", f"base_url: {URL}", ("names no host",)),
    (ADAPTER, "base_url: http://h:99999/v1", "base_url: http://h:9999/v1", ("no URL",)),
    (ADAPTER, "base_url: http://[::1/v1", "base_url: 'http://[::1]/v1'", ("no URL",)),
    (ADAPTER, "base_url: http://h h/v1", f"base_url: {URL}", ("more than letters",)),
    (ADAPTER, f"base_url: {URL}?key=x", f"base_url: {URL}", ("a query or a fragment",)),
    (ADAPTER, f"base_url: {URL}?", f"base_url: {URL}", ("a query or a fragment",)),
    (ADAPTER, f"base_url: {URL}#x", f"base_url: {URL}", ("a query or a fragment",)),
    (ADAPTER, "base_url: 5", f"base_url: {URL}", ("5, expected text",)),
    (HOSTED, "base_url: https://api.openai.com/v1", "provider: openai", ("provider: openai",)),
    (ADAPTER, "base_url: https://API.OpenAI.com./", "provider: openai", ("provider: openai",)),
    (ADAPTER, "api_key_env: A_KEY", "scale: 20", ("no provider", "name a provider")),
    (
        HOSTED,
        "provider: loopback\napi_key_env: A_KEY",
        "provider: loopback",
        ("no provider that wants a key",),
    ),
    (
        ADAPTER,
        "provider: openai\napi_key_env: my_key",
        "provider: openai\napi_key_env: MY_KEY",
        ("ends in _KEY or _TOKEN", "TEAM_API_KEY"),
    ),
    (
        ADAPTER,
        "provider: openai\napi_key_env: HOME",
        "provider: openai\napi_key_env: HOME_TOKEN",
        ("ends in _KEY or _TOKEN",),
    ),
    (
        ADAPTER,
        "loss: cached_multiple_negatives_ranking",
        f"loss: {RANKING}",
        ("saves memory", f"write {RANKING}"),
    ),
    (ADAPTER, "width: 8", "head: low_rank\n      width: 8", ("a linear head has no width",)),
    (ADAPTER, "head: mlp\nwidth: 0", "head: mlp\nwidth: 1", ("0, expected at least 1",)),
    (ADAPTER, "head: cubic", "head: mlp", ('"cubic"', "'low_rank'")),
    (ADAPTER, "dimensions: 64", "provider: openai\ndimensions: 64", ("its own length",)),
    (
        ADAPTER,
        "provider: openai\ndimensions: {low: 8, high: 1024}",
        "provider: openai\ndimensions: [8, 1024]",
        ("expected one value or a list",),
    ),
    (ADAPTER, "batch_size: 1", "batch_size: 2", ("no negatives in a batch of 1",)),
    (
        HOSTED,
        "provider: loopback\nbatch_size: 1",
        "provider: loopback\nbatch_size: 2",
        ("1, expected at least 2",),
    ),
    (
        HOSTED,
        "provider: loopback\nform: rows",
        "provider: loopback\nform: labelled",
        ('"rows" is unknown', "'triplets'"),
    ),
    (
        HOSTED,
        "provider: loopback\nlearning_rate_multiplier: 0",
        "provider: loopback\nlearning_rate_multiplier: 0.1",
        ("0.0, expected above 0.0",),
    ),
]


@pytest.mark.parametrize(("arm", "bad", "good", "words"), BAD)
def test_a_bad_line_of_an_arm_is_refused_where_it_stands(tmp_path, arm, bad, good, words):
    key = bad.splitlines()[-1].partition(":")[0]
    (fault,) = refused(tmp_path, HEAD + arm + indented(bad))
    assert fault.what.startswith(f"search.arms[0].{key}")
    assert fault.line == ARM_LINE + 1 + len(bad.splitlines())
    assert all(word in str(fault) for word in words), str(fault)
    assert fault.fix
    assert len(load(tmp_path, HEAD + arm + indented(good)).space.arms) == 1


@pytest.mark.parametrize("kind", ARM_KINDS)
def test_an_unknown_key_gets_the_keys_of_its_kind(tmp_path: Path, kind: str):
    arm = f"    - {{backend: {kind}, base_model: m, provider: loopback, frobnicate: 1}}\n"
    arm = arm.replace("provider: loopback, ", "") if kind == "local" else arm
    (fault,) = refused(tmp_path, HEAD + arm)
    assert (fault.what, fault.line) == ("unknown key search.arms[0].frobnicate", ARM_LINE)
    assert fault.why == f"no such key here, expected {', '.join(ARM_KINDS[kind].model_fields)}"
    assert load(tmp_path, HEAD + arm.replace(", frobnicate: 1", "")).space.arms[0].backend == kind


@pytest.mark.parametrize("kind", ARM_KINDS)
def test_every_key_of_every_kind_is_suggested_for_its_misspelling(tmp_path: Path, kind: str):
    for key in [name for name in ARM_KINDS[kind].model_fields if name != "backend"]:
        faults = refused(tmp_path, f"{HEAD}    - {{backend: {kind}, {key}x: 0}}\n")
        fixes = [fault.fix for fault in faults if "unknown" in fault.what]
        assert fixes == [f"did you mean {key}? Write {key}"]


@pytest.mark.parametrize(
    ("word", "kind", "meant"),
    [
        ("lr", "adapter", "learning_rate"),
        ("rank", "adapter", "width"),
        ("hidden", "adapter", "width"),
        ("temperature", "adapter", "scale"),
        ("url", "hosted", "base_url"),
        ("api_key", "hosted", "api_key_env"),
        ("max_length", "local", "train_tokens"),
        ("layers", "local", "train_layers"),
        ("lora_r", "local", "lora_rank"),
    ],
)
def test_names_of_other_tools_are_understood(tmp_path: Path, word: str, kind: str, meant: str):
    faults = refused(tmp_path, f"{HEAD}    - {{backend: {kind}, {word}: 1}}\n")
    fixes = [fault.fix for fault in faults if "unknown" in fault.what]
    assert fixes == [f"did you mean {meant}? Write {meant}"]


@pytest.mark.parametrize(
    ("arm", "key", "given"),
    [
        (ADAPTER, "learning_rate", "[1e-3]"),
        (HOSTED + "      provider: loopback\n", "learning_rate_multiplier", "[1.0]"),
    ],
)
def test_a_real_range_is_refused_in_a_grid_given_or_by_default(tmp_path, arm, key, given):
    grid = HEAD.replace("tpe", "grid") + arm
    (fault,) = refused(tmp_path, grid)
    assert (fault.what, fault.line) == (f"search.arms[0].{key}", ARM_LINE)
    (fault,) = refused(tmp_path, f"{grid}      {key}: {{low: 0.001, high: 0.01}}\n")
    assert (fault.what, fault.line) == (f"search.arms[0].{key}", ARM_LINE + len(arm.splitlines()))
    assert "list the values, such as [0.001, 0.01]" in fault.fix
    # The control: whole ranges are finite, and so is a list.
    whole = "      epochs: 1\n      batch_size: {low: 5, high: 8}\n"
    space = load(tmp_path, f"{grid}      {key}: {given}\n{whole}").space
    assert space.size() == 4


@pytest.mark.parametrize(
    ("bad", "good", "what", "words"),
    [
        ("prices: 3", "prices: {}", "prices", "3, expected keys with values"),
        ("prices: {m: 3}", "prices: {m: {}}", "prices.m", "3, expected keys with values"),
        (
            "prices: {m: {embedding: -1}}",
            "prices: {m: {embedding: 0}}",
            "prices.m.embedding",
            "-1.0, expected at least 0",
        ),
        (
            "prices: {m: {training: .inf}}",
            "prices: {m: {training: 1e3}}",
            "prices.m.training",
            "expected a finite number",
        ),
        (
            "prices: {m.1: {embeding: 1}}",
            "prices: {m.1: {embedding: 1}}",
            "unknown key prices.m.1.embeding",
            "expected embedding, training",
        ),
        ("budget: {cost: 0}", "budget: {cost: 0.01}", "budget.cost", "expected above 0"),
        ("budget: {cost: free}", "budget: {cost: '1e-2'}", "budget.cost", '"free", expected a'),
    ],
)
def test_a_bad_price_or_cap_is_refused(tmp_path, bad, good, what, words):
    (fault,) = refused(tmp_path, f"{HEAD}{LOCAL}{bad}\n")
    assert (fault.what, fault.line) == (what, ARM_LINE + 2)
    assert words in fault.why
    assert load(tmp_path, f"{HEAD}{LOCAL}{good}\n").name == "arms"
