"""Advice on base models, model folders, providers, jobs and roles."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from embedsweep.backends.hosted.provider import Provider, ProviderFault, open_client
from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.backends.local.devices import fast_precision
from embedsweep.core.errors import Fault
from embedsweep.core.jobs import Account, Charge, JobRecord
from embedsweep.stores.job_book import SqlJobBook
from tests.e2e.advice_config import ARM, arm
from tests.e2e.advice_stores import embed
from tests.e2e.advice_world import (
    EXPERIMENT,
    Row,
    Step,
    World,
    environ,
    file,
    put,
    steps,
    swept,
    then,
    type_,
)
from tests.e2e.small_project import outcome

MINILM = "all-MiniLM-L6-v2"
BASE = put(f"{ARM}.base_model", MINILM)


def base(name: str) -> Step:
    return put(f"{ARM}.base_model", name)


def half_saved(*suffixes: str) -> Step:
    """A folder with some of a model's files."""

    def copy(world: World) -> None:
        for path in base_folder(MINILM).iterdir():
            if path.suffix in suffixes:
                world.path("saved").mkdir(exist_ok=True)
                shutil.copy(path, world.path("saved"))

    return copy


def saved(world: World) -> None:
    shutil.rmtree(world.path("saved"), ignore_errors=True)
    shutil.copytree(base_folder(MINILM), world.path("saved"))


def own(world: World) -> None:
    """The folder of a head, as the registry keeps it."""
    kept = next(world.path("mlruns").rglob("model.embedsweep"))
    shutil.rmtree(world.path("own"), ignore_errors=True)
    shutil.copytree(kept, world.path("own"))
    embed("./own")(world)


def spoilt(name: str) -> Step:
    return lambda world: world.path(f"own/{name}").write_bytes(b"{}")


def fetched(world: World, fault: Fault) -> None:
    """Fetch the model from the registry again."""
    assert outcome("export", "models:/mine@challenger", "fetched") == 0
    embed("./fetched")(world)


def over_saved(world: World) -> None:
    """The head stands on a folder whose model is then another one."""
    path = world.path("own/embedsweep.json")
    values = json.loads(path.read_text())
    values["base"]["model"] = str(world.path("saved"))
    path.write_text(json.dumps(values))
    file("saved/more.json", "{}")(world)


def back(world: World) -> None:
    world.path("saved/more.json").unlink()
    base_model_digest.cache_clear()  # kept for the life of a process; a command is a new one


def with_prompts(world: World) -> None:
    path = world.path("saved/config_sentence_transformers.json")
    prompts = {"query": "query: ", "document": "passage: "}
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": prompts}))


MODELS = [
    Row("correct the path", base("./none"), then(steps(saved, base("./saved")))),
    Row("give a hub name or a folder", base("no/such@main"), then(BASE)),
    Row(
        "save it with sentence-transformers' model.save(folder), which writes safetensors",
        steps(half_saved(".json", ".txt"), base("./saved")),
        then(saved),
    ),
    Row(
        "give a folder that embedsweep filled, or fetch the model from the registry again",
        steps(swept, own, spoilt("embedsweep.json")),
        fetched,
    ),
    Row(
        "fetch the model from the registry again, or train it anew",
        steps(swept, own, spoilt("head.safetensors")),
        fetched,
    ),
    Row(
        "put that base model back, or train the adapter anew",
        steps(swept, saved, own, over_saved),
        then(back),
    ),
    Row(
        "add --role query or --role document",
        steps(saved, with_prompts, embed("./saved")),
        lambda world, fault: world.words.extend(fault.fix.split()[1:3]),
    ),
    Row(
        'write prompts: {query: "query: "}, or remove it',
        arm(prompts={}),
        lambda world, fault: world.put(fault.what, {"query": "query: "}),
    ),
    Row(
        'write prompts: {query: "query: "}, or remove it',
        arm(prompts={}),
        lambda world, fault: world.drop(fault.what),
    ),
    Row(
        "set {…}=float32, or unset it",
        environ("EMBEDSWEEP_PRECISION", "float8"),
        lambda world, fault: world.patch.setenv(*fault.fix.split()[1].rstrip(",").split("=")),
        lambda world: fast_precision("cpu"),
    ),
]


class _Answering(BaseHTTPRequestHandler):
    """A provider that gives one status, to all or to a wrong key or path."""

    def do_GET(self) -> None:
        rule: Rule = self.server.rule  # type: ignore[attr-defined]
        status = (
            rule.status if rule.wrong in (f"{self.path} {self.headers['Authorization']}") else 200
        )
        self.send_response(status)
        self.send_header("Content-Length", "11")
        self.end_headers()
        self.wfile.write(b'{"data":[]}')

    do_POST = do_GET  # noqa: N815 - the name that the library looks for

    def log_message(self, *words: object) -> None:
        pass


@dataclass
class Rule:
    status: int
    wrong: str = ""


def provider(status: int, wrong: str = "") -> Step:
    def start(world: World) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
        server.rule = world.values["rule"] = Rule(status, wrong)  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        world.values |= {"url": f"{url}/{wrong if '/' in wrong else 'v1'}", "key": "wrong"}
        world.values["base"] = url

    return start


def asked(world: World) -> None:
    client = open_client(world.values["url"], world.values["key"])
    at = Provider(world.values["url"], client)
    try:
        at.once(lambda client: client.models.with_raw_response.list())
    except ProviderFault as fault:
        raise fault.told(at.name, "list its models") from None


def other_key(world: World, fault: Fault) -> None:
    world.values["key"] = "right"


def passed(world: World, fault: Fault) -> None:
    """The provider answers again."""
    world.values["rule"].status = 200


PROVIDERS = [
    Row(
        "give the right key, in the environment variable that the experiment names",
        provider(401, "wrong"),
        other_key,
        asked,
    ),
    Row(
        "ask the provider's administrator for the permission, or use another key",
        provider(403, "wrong"),
        other_key,
        asked,
    ),
    Row(
        "check the model's name and the provider's base URL, which ends in /v1",
        provider(404, "/v2"),
        lambda world, fault: world.values.update(url=f"{world.values['base']}/v1"),
        asked,
    ),
    Row(
        "check the plan and the limits at the provider, or try again later",
        provider(429),
        passed,
        asked,
    ),
    Row(
        "look at the provider's status page or its log, then run the command again",
        provider(503),
        passed,
        asked,
    ),
    Row(
        "check the provider's address and that it runs, then run the command again",
        steps(provider(200), lambda world: world.values.update(url="http://127.0.0.1:9/v1")),
        lambda world, fault: world.values.update(url=f"{world.values['base']}/v1"),
        asked,
    ),
]


def server(status: int) -> Step:
    return steps(
        provider(status),
        lambda world: type_(f"evaluate {EXPERIMENT} --url {world.values['url']} --model m")(world),
    )


REFUSED_BY_SERVER = 4

EVALUATE = [
    Row(
        "write MODEL before EXPERIMENT.yaml",
        type_(f"evaluate {EXPERIMENT}"),
        then(type_(f"evaluate {MINILM} {EXPERIMENT}")),
    ),
    Row(
        "remove {…}, or remove {…}",
        type_(f"evaluate {MINILM} {EXPERIMENT} --model m"),
        then(type_(f"evaluate {MINILM} {EXPERIMENT}")),
    ),
    Row(
        "add {…}",
        steps(server(404), lambda world: world.words.__delitem__(slice(-2, None))),
        lambda world, fault: world.words.extend([fault.fix.split()[1], "m"]),
        code=REFUSED_BY_SERVER,
    ),
    Row(
        "give the server's base URL, such as --url http://127.0.0.1:8000/v1",
        type_(f"evaluate {EXPERIMENT} --url ftp://host --model m"),
        then(server(404)),
        code=REFUSED_BY_SERVER,
    ),
]


def book(world: World) -> SqlJobBook:
    world.path("mlruns").mkdir(exist_ok=True)
    return SqlJobBook(f"sqlite:///{world.path('mlruns')}/study.db")


def claimed(world: World, key: str) -> JobRecord:
    charge = Charge(f"job {key}", "http://provider.example/v1", "small", 1234, 0.25)
    with closing(book(world)) as jobs:
        return jobs.claim(key, charge, Account("remote", 10.0)).record


def submitted(world: World) -> None:
    with closing(book(world)) as jobs:
        jobs.submitted(world.values["record"], "ftjob-1", "file-1")


def withdrawn(world: World) -> None:
    """Another process has withdrawn the job."""
    world.values["record"] = claimed(world, "a")
    with closing(book(world)) as jobs:
        jobs.withdraw(world.values["record"])


def numbered_twice(world: World) -> None:
    """A provider that was set up again counts its jobs from the start."""
    world.values["record"] = claimed(world, "a")
    submitted(world)
    world.values["record"] = claimed(world, "b")


JOBS = [
    Row(
        "run the command again",
        withdrawn,
        lambda world, fault: world.values.update(record=claimed(world, "a")),
        submitted,
    ),
    Row(
        "if it was set up anew, run `embedsweep jobs resubmit {…} --yes`",
        numbered_twice,
        call=submitted,
    ),
]

ROWS = [*MODELS, *PROVIDERS, *EVALUATE, *JOBS]
