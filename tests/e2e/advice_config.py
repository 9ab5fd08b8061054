"""Advice on experiment files and environment files."""

from __future__ import annotations

from tests.e2e.advice_world import (
    UNSEEN,
    Row,
    Step,
    World,
    drop,
    environ,
    file,
    put,
    steps,
    swap,
    then,
)
from tests.e2e.small_project import rows

ARM = "search.arms[0]"
LOW_TO_HIGH = {"low": 1, "high": 3}


def arm(**values: object) -> Step:
    return steps(*(put(f"{ARM}.{key}", value) for key, value in values.items()))


ADAPTER = steps(arm(backend="adapter"), environ("OPENAI_API_KEY", "sk-could-be-one"))
HOSTED = steps(drop(f"{ARM}.learning_rate"), arm(backend="hosted", loss="softmax"))


def second_arm(world: World) -> None:
    """Another arm that is like the first."""
    world.put("search.arms", [world.at(ARM), world.at(ARM)])


def key_in_variable(world: World) -> None:
    """Name the variable of the advice's example, and put the key into it."""
    world.patch.setenv("TEAM_API_KEY", "sk-could-be-one")
    world.put(f"{ARM}.api_key_env", "TEAM_API_KEY")


def at_url(url: str) -> Step:
    return steps(ADAPTER, arm(base_url=url))


DATA_SECTION = [
    Row(
        "make their sum smaller than 1",
        put("data.split.test", 0.8),
        then(put("data.split.test", 0.2)),
    ),
    Row("keep one", put("data.builtin", "python-docs"), then(drop("data.builtin"))),
    Row(
        "add train: FILE, beir: FOLDER or builtin: python-docs",
        drop("data.train"),
        then(put("data.train", "train.jsonl")),
    ),
    Row(
        "remove the key",
        steps(
            drop("data.train"),
            drop("data.split"),
            put("data.builtin", "python-docs"),
            put("data.slice_by", "a"),
            put("objective", "mrr@10"),
            arm(loss="cosent"),
        ),
    ),
    Row(
        "remove the key; the source has its own splits and fields",
        steps(
            drop("data.train"),
            drop("data.split"),
            put("data.builtin", "python-docs"),
            put("data.format", "pairs"),
            put("objective", "mrr@10"),
            arm(loss="cosent"),
        ),
    ),
    Row(
        "remove {…}, or change the format",
        steps(
            put("data.format", "labelled"),
            put("data.columns", {"label": "metadata.label", "score": "s"}),
        ),
        then(drop("data.columns.score")),
    ),
    Row(
        "remove {…}, or change the format",
        steps(put("data.format", "scored"), put("data.columns", {"label": "metadata.label"})),
        then(put("data.format", "labelled")),
    ),
    Row(
        "add {…}: FILE to data or {…}: 0.2 to data.split",
        drop("data.split.test"),
        then(put("data.split.test", 0.2)),
    ),
    Row(
        "remove {…} from data.split",
        steps(file("valid.jsonl", rows(UNSEEN)), put("data.valid", "valid.jsonl")),
        then(drop("data.split.valid")),
    ),
]

ARMS = [
    Row("choose another name", arm(name="baseline"), then(arm(name="another"))),
    Row(
        "choose another name",
        steps(arm(name="a"), second_arm),
        then(put("search.arms[1].name", "b")),
    ),
    Row(
        "list the values, such as {…}, or choose another sampler",
        steps(put("search.sampler", "grid"), arm(learning_rate={"low": 1e-5, "high": 1e-4})),
    ),
    Row("remove log", arm(epochs={**LOW_TO_HIGH, "log": True})),
    Row(
        "raise batch_size to 2 or more, better 16 or more",
        arm(batch_size=1, loss=["cosent"]),
    ),
    Row("remove it, or add a loss that has it: {…}", arm(margin=0.3)),
    Row(
        "remove it, or add a loss that has it: {…}",
        arm(margin=0.3),
        lambda world, fault: world.put(f"{ARM}.loss", ["softmax", fault.fix.split()[-1]]),
    ),
    Row("write backend: {…}, or remove the arm", arm(backend="locl")),
    Row(
        "write backend: {…}, or remove the arm",
        steps(second_arm, put("search.arms[1].backend", "nothing")),
        then(drop("search.arms[1]")),
    ),
    Row(
        "remove provider or base_url",
        steps(ADAPTER, arm(provider="openai", base_url="http://host/v1", base_model="m")),
        then(drop(f"{ARM}.base_url")),
    ),
    Row(
        "remove provider or base_url",
        steps(ADAPTER, arm(provider="openai", base_url="http://host/v1", base_model="m")),
        then(drop(f"{ARM}.provider")),
    ),
    Row(
        "remove it, or name a provider or a base_url",
        steps(ADAPTER, arm(api_key_env="TEAM_API_KEY")),
    ),
    Row(
        "remove it, or name a provider or a base_url",
        steps(ADAPTER, arm(api_key_env="OPENAI_API_KEY", base_model="m")),
        then(arm(provider="openai")),
    ),
    Row(
        "name the same variable in both arms",
        steps(
            ADAPTER,
            arm(provider="openai", base_model="m", api_key_env="OPENAI_API_KEY"),
            second_arm,
            put("search.arms[1].api_key_env", "OTHER_API_KEY"),
        ),
        then(put("search.arms[1].api_key_env", "OPENAI_API_KEY")),
    ),
    Row(
        "write {…}",
        steps(ADAPTER, arm(loss="cached_multiple_negatives_ranking")),
    ),
    Row("remove it", steps(ADAPTER, arm(dimensions=64))),
    Row("remove it", steps(put("search.scouts", 4), ADAPTER)),
    Row("remove it", steps(put("search.scouts", 4), put("search.sampler", "grid"))),
    Row("remove it", put("frobnicate", 1)),
    Row("remove it; of every measure here, higher is better", put("search.direction", "max")),
    Row("remove it, or add low_rank or mlp to head", steps(ADAPTER, arm(width=8))),
    Row(
        "remove it, or add low_rank or mlp to head",
        steps(ADAPTER, arm(width=8)),
        then(arm(head=["linear", "mlp"])),
    ),
    Row(
        "write base_url: http://HOST:PORT/v1, or provider: loopback to run it here",
        HOSTED,
        then(arm(provider="loopback")),
    ),
    Row(
        "write base_url: http://HOST:PORT/v1, or provider: loopback to run it here",
        HOSTED,
        then(arm(base_url="http://HOST:8000/v1")),
    ),
]

PROVIDERS = [
    *(
        Row(
            "write a URL such as http://gpu-machine:8000/v1",
            at_url(url),
            lambda world, fault: world.put(fault.what, fault.fix.split()[-1]),
        )
        for url in ("http://host:port/v1", "host/v1", "http:///v1")
    ),
    Row(
        "remove it, and name the variable that holds the key in api_key_env",
        at_url("http://me:hunter2@host/v1"),
        then(steps(swap("me:hunter2@", ""), key_in_variable)),
    ),
    Row("end the URL with the path", at_url("http://host/v1?key=1"), then(swap("?key=1", ""))),
    Row(
        "write provider: openai instead",
        at_url("https://api.openai.com/v1"),
        then(steps(drop(f"{ARM}.base_url"), arm(provider="openai"))),
    ),
    Row(
        "write the address of the server that embeds",
        at_url("http://169.254.169.254/v1"),
        then(arm(base_url="http://gpu-machine/v1")),
    ),
    Row(
        "write it as it is looked up, such as xn--mnchen-3ya.example",
        at_url("http://münchen.example/v1"),
        then(arm(base_url="http://xn--mnchen-3ya.example/v1")),
    ),
    Row(
        "name the variable, such as TEAM_API_KEY, and put the key into it",
        steps(ADAPTER, arm(provider="openai", base_model="m", api_key_env="sk-hunter2")),
        then(key_in_variable),
    ),
]


ROWS = [*DATA_SECTION, *ARMS, *PROVIDERS]
