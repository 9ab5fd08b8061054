"""Advice on base models: on the hub, in folders, and those that cannot embed the data."""

from __future__ import annotations

import json
import re
import resource
import shutil
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.backends.local.examination import examine
from embedsweep.core.errors import Fault
from embedsweep.wiring.pyfunc import _load_pyfunc
from tests.e2e.advice_config import ADAPTER, ARM, arm
from tests.e2e.advice_followers import follower_of
from tests.e2e.advice_models import MINILM, base, provider, saved, with_prompts
from tests.e2e.advice_world import (
    EXPERIMENT,
    Follower,
    Row,
    Step,
    World,
    drop,
    environ,
    put,
    quick,
    steps,
    stores,
    then,
    type_,
)
from tests.e2e.small_project import rows, write
from tests.integration.tiny_architectures import BROKEN, edit, make_model, rows_of, sentences

COMMITS = {"v1": "a" * 40, "main": "b" * 40}
HUB_MODEL, OTHER_HUB_MODEL = "owner/name", "owner/other"


def hub(world: World) -> None:
    """A cache of the hub with two models, each with a tag and a branch."""
    for name in (HUB_MODEL, OTHER_HUB_MODEL):
        repository = world.path("hub") / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        for reference, commit in COMMITS.items():
            make_model("BERT", repository / "snapshots" / commit)
            (repository / "refs" / reference).write_text(commit)
    world.patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(world.path("hub")))
    forget()


def forget() -> None:
    """As a new process: both are kept for the life of one."""
    base_folder.cache_clear()
    base_model_digest.cache_clear()


def revision(name: str) -> Step:
    return put(f"{ARM}.revision", name)


NO_REVISION = drop(f"{ARM}.revision")


def use(world: World, fault: Fault) -> None:
    """Use the model that the advice names."""
    found = re.search(r"a folder or (\S+),", fault.fix)
    assert found
    world.put(f"{ARM}.base_model", found[1])


def use_without(world: World, fault: Fault) -> None:
    use(world, fault)
    NO_REVISION(world)


def absolute_folder(world: World) -> None:
    saved(world)
    world.put(f"{ARM}.base_model", str(world.path("saved")))


def an_arm_each(world: World, fault: Fault) -> None:
    found = world.at(ARM)
    arms = [
        {**found, "name": f"arm-{number}", "base_model": name, "revision": tag}
        for number, (name, tag) in enumerate(((HUB_MODEL, "v1"), (OTHER_HUB_MODEL, "main")))
    ]
    world.put("search.arms", arms)


NOT_ON_THE_HUB = "check the name and the network, or {…}"
NO_SUCH_REVISION = "check the name, the revision and the network, or remove revision and {…}"
NO_FOLDER_HAS_ONE = "remove revision, or name the model on the hub"
NO_PROVIDER_TAKES_ONE = "remove revision, or remove {…}"
BY_NAME = steps(ADAPTER, arm(base_model="m", provider="openai"), revision("v1"))
BY_URL = steps(ADAPTER, hub, arm(base_model=HUB_MODEL, base_url="http://host/v1"), revision("v1"))

HUB = [
    Row(NOT_ON_THE_HUB, base("no/such"), use),
    Row(NOT_ON_THE_HUB, base("no/such"), then(steps(saved, base("./saved")))),
    Row(NO_SUCH_REVISION, steps(base("no/such"), revision("v1")), use_without),
    Row(NO_SUCH_REVISION, steps(base(MINILM), revision("v1")), use_without),
    Row(NO_SUCH_REVISION, steps(hub, base(HUB_MODEL), revision("v9")), then(revision("v1"))),
    Row(NO_FOLDER_HAS_ONE, steps(saved, base("./saved"), revision("v1")), then(NO_REVISION)),
    Row(NO_FOLDER_HAS_ONE, steps(absolute_folder, revision("v1")), then(NO_REVISION)),
    Row(
        NO_FOLDER_HAS_ONE,
        steps(absolute_folder, revision("v1"), hub),
        then(base(HUB_MODEL)),
    ),
    Row(NO_PROVIDER_TAKES_ONE, BY_NAME, then(NO_REVISION)),
    Row(
        NO_PROVIDER_TAKES_ONE,
        BY_URL,
        lambda world, fault: world.drop(f"{ARM}.{fault.fix.split()[-1]}"),
    ),
    Row(
        "write an arm for each model, each with its own revision",
        steps(hub, arm(base_model=[HUB_MODEL, OTHER_HUB_MODEL]), revision("v1")),
        an_arm_each,
    ),
]


def tiny(world: World) -> None:
    for made in (world.path("tiny"), world.path("tiny-transformer")):
        shutil.rmtree(made, ignore_errors=True)
    make_model("BERT", world.path("tiny"))


def broken(name: str) -> Step:
    """A tiny model, broken in the way of this name."""
    return steps(tiny, lambda world: BROKEN[name][0](world.path("tiny")), base("./tiny"))


def tiny_file(name: str, **changes: object) -> Step:
    return lambda world: edit(world.path("tiny") / name, **changes)


def pooling_added(world: World, fault: Fault) -> None:
    part = Transformer(str(world.path("tiny")))
    model = SentenceTransformer(modules=[part, Pooling(32, "mean")], device="cpu")
    shutil.rmtree(world.path("tiny"))
    model.save(str(world.path("tiny")), create_model_card=False)


def wrong_width(world: World) -> None:
    """A part that takes vectors of another length than the part before it gives."""
    make_model("Dense", world.path("wrong"))
    (folder,) = world.path("wrong").glob("*_Dense")
    shutil.rmtree(folder)
    folder.mkdir()
    Dense(48, 24).save(str(folder))
    base("./wrong")(world)


def topics(world: World) -> None:
    """Data with words that the tiny model's tokenizer knows."""
    write(world.path("train.jsonl"), rows(rows_of(sentences(60))))


LONG = "how can I " * 40_000
ROOM = 8 * 2**30


def spacious(world: World) -> None:
    """A model that reads texts of 100,000 tokens, which takes 40 GB for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.integration.tiny_architectures.POSITIONS", 100_000)
        tiny(world)


def examined(world: World) -> None:
    """Try the model on a long text, with so much memory and no more."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, limits[1]))
    try:
        examine("tiny", world.path("tiny"), [LONG, "how"], device="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


SAVE_AGAIN = "download or save the model again, or choose another one"
NO_FOREIGN_CODE = (
    "choose a model whose architecture sentence-transformers has built in; or serve this one on an "
    "OpenAI-compatible server and name that server as base_url in an adapter arm"
)
NO_POOLING = (
    "delete modules.json, and sentence-transformers pools by the mean; or add a Pooling module and "
    "save the model again"
)
NO_ROW = "use the tokenizer that the weights were trained with, or choose another model"
NO_ROOM = "choose a smaller model, or lower model_max_length in its tokenizer_config.json"
NO_PAD = "set pad_token in tokenizer_config.json to a token of its vocabulary"

UNFIT = [
    *(
        Row(SAVE_AGAIN, broken(name), then(tiny))
        for name in (
            "damaged weights",
            "weights that are not finite",
            "sizes that the weights do not have",
        )
    ),
    Row(SAVE_AGAIN, broken("damaged weights"), then(base(MINILM))),
    Row(SAVE_AGAIN, wrong_width, then(steps(tiny, base("./tiny")))),
    Row(NO_FOREIGN_CODE, broken("its own module"), then(base(MINILM))),
    Row(
        NO_FOREIGN_CODE,
        broken("its own architecture"),
        then(steps(ADAPTER, arm(base_url="http://127.0.0.1:9/v1"))),
    ),
    Row(
        NO_POOLING,
        broken("no pooling in modules.json"),
        lambda world, fault: (world.path("tiny") / fault.fix.split()[1].rstrip(",")).unlink(),
    ),
    Row(NO_POOLING, broken("no pooling in modules.json"), pooling_added),
    Row(NO_ROW, steps(topics, broken("vocabulary beyond the weights")), then(tiny)),
    Row(NO_ROW, steps(topics, broken("vocabulary beyond the weights")), then(base(MINILM))),
    Row(
        NO_PAD,
        broken("no token to pad with"),
        then(tiny_file("tokenizer_config.json", pad_token="[PAD]")),
    ),
    Row(NO_ROOM, spacious, then(tiny), call=examined),
    Row(
        NO_ROOM,
        spacious,
        then(tiny_file("tokenizer_config.json", model_max_length=512)),
        call=examined,
    ),
]


def no_base_left(world: World) -> None:
    """A sweep whose only base model is one that its provider does not have."""
    steps(stores, environ("EMBEDSWEEP_PROVIDER_KEY", "a-key"), provider(200))(world)
    quick(world)
    arm(base_url=world.values["url"], base_model="m")(world)
    type_(f"sweep {EXPERIMENT}")(world)


def other_base(world: World, fault: Fault) -> None:
    steps(drop(f"{ARM}.base_url"), base(MINILM))(world)
    follower_of(fault.fix)(world, fault)


def named_wrongly(world: World) -> None:
    world.values["params"] = {"input_type": "title"}


def predicted(world: World) -> None:
    """As `mlflow.pyfunc` calls it."""
    _load_pyfunc(str(world.path("saved"))).predict(["a text"], world.values.get("params"))


def pass_params(choice: int) -> Follower:
    """Pass the first or the second of those that the advice names."""

    def follow(world: World, fault: Fault) -> None:
        world.values["params"] = json.loads(re.findall(r"params=(\{.+?\})", fault.fix)[choice])

    return follow


OTHER_ROLE = 'pass params={"input_type": "query"} or params={"input_type": "document"}'

USED = [
    Row(
        "name another model",
        steps(broken("weights that are not finite"), type_(f"evaluate ./tiny {EXPERIMENT}")),
        then(type_(f"evaluate {MINILM} {EXPERIMENT}")),
    ),
    Row(
        "correct that or name another base model, then run `embedsweep sweep EXPERIMENT.yaml "
        "--new-study`",
        no_base_left,
        other_base,
    ),
    *(
        Row(OTHER_ROLE, steps(saved, with_prompts), pass_params(choice), predicted)
        for choice in (0, 1)
    ),
    Row(OTHER_ROLE, steps(saved, with_prompts, named_wrongly), pass_params(0), predicted),
]

ROWS = [*HUB, *UNFIT, *USED]
