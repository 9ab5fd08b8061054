"""Advice on command lines, keys and addresses."""

from __future__ import annotations

import re

from embedsweep.core.errors import Fault
from tests.e2e.advice_world import (
    EXPERIMENT,
    Row,
    Step,
    World,
    a_port,
    environ,
    file,
    pairs,
    put,
    steps,
    stores,
    swap,
    swept,
    then,
    type_,
)
from tests.e2e.small_project import outcome

JOB = "4c5e0f8e21a94bb0"
AT_OPENAI = """
name: mine
data: {train: train.jsonl, split: {valid: 0.3, test: 0.3}}
objective: accuracy
search:
  trials: 2
  arms:
    - {backend: adapter, base_model: text-embedding-3-small, loss: [softmax], provider: openai}
"""


def help_read(world: World, fault: Fault) -> None:
    """Look the command up, and leave out what it does not know."""
    command = re.findall(r"`(.+)`", fault.fix)[0]
    assert outcome(*command.split()[1:]) == 0
    world.words = ["check", EXPERIMENT]


def the_nearest(world: World, fault: Fault) -> None:
    world.words[world.words.index(fault.what.split("'")[1])] = fault.fix.split()[-1]


def key_passed(world: World, fault: Fault) -> None:
    world.words = ["check", EXPERIMENT]
    world.patch.setenv("OPENAI_API_KEY", "a-new-one")


def first_command(world: World, fault: Fault) -> None:
    """Type the first of the commands that the advice names."""
    type_(re.findall(r"`embedsweep ([^`]+)`", fault.fix)[0])(world)


def a_job(world: World) -> None:
    from contextlib import closing

    from embedsweep.core.jobs import Account, Charge
    from embedsweep.stores.job_book import SqlJobBook

    world.path("mlruns").mkdir()
    with closing(SqlJobBook(f"sqlite:///{world.path('mlruns')}/study.db")) as book:
        charge = Charge(f"job {JOB}", "http://provider.example/v1", "small", 1234, 0.25)
        book.submitted(book.claim(JOB, charge, Account("remote", 1.0)).record, "ftjob-1", "file-1")


def without_empty_line(world: World, fault: Fault) -> None:
    assert fault.line is not None
    lines = world.typed.splitlines(keepends=True)
    del lines[fault.line - 1]
    world.typed = "".join(lines)


def typed(text: str) -> Step:
    def type_it(world: World) -> None:
        world.typed = text

    return type_it


COMMAND_LINES = [
    Row("did you mean {…}? Write {…}", type_(f"chek {EXPERIMENT}"), the_nearest),
    Row("see `embedsweep --help`", type_(f"frobnicate {EXPERIMENT}"), help_read),
    Row("see `{…} --help`", type_(f"check {EXPERIMENT} --frobnicate"), help_read),
    Row(
        "pass the key by the environment, such as OPENAI_API_KEY, and make a new one if this one "
        "was real",
        type_(f"check {EXPERIMENT} --api-key sk-hunter2"),
        key_passed,
    ),
    Row("give {…} {…}", steps(swept, type_(f"compare {EXPERIMENT} t0 b0 --top abc"))),
    Row("give {…} {…}", steps(stores, type_("gc --keep=-1")), then(type_("gc --keep 12"))),
    Row("give --findings findings.csv", type_(f"check {EXPERIMENT} --findings found.txt")),
    Row(
        "give a file in a folder of yours",
        type_(f"check {EXPERIMENT} --findings none/found.csv"),
        then(type_(f"check {EXPERIMENT} --findings found.csv")),
    ),
    Row(
        "name a file in a folder that is there and writable",
        steps(swept, type_(f"compare {EXPERIMENT} --report none/page.html")),
        then(type_(f"compare {EXPERIMENT} --report page.html")),
    ),
    Row(
        "name two models, such as `t0 b0`, or none",
        steps(swept, type_(f"compare {EXPERIMENT} t0")),
        then(type_(f"compare {EXPERIMENT} t0 b0")),
    ),
    Row(
        "leave out the models, or --report",
        steps(swept, type_(f"compare {EXPERIMENT} t0 b0 --report page.html")),
        then(type_(f"compare {EXPERIMENT} t0 b0")),
    ),
    Row(
        "name two models, such as `t0 b0`, or leave {…} out",
        steps(swept, type_(f"compare {EXPERIMENT} --top 3")),
        then(type_(f"compare {EXPERIMENT} t0 b0 --top 3")),
    ),
    Row(
        "name two models, such as `t0 b0`, or leave {…} out",
        steps(swept, type_(f"compare {EXPERIMENT} --measure accuracy")),
        then(type_(f"compare {EXPERIMENT}")),
    ),
    Row(
        "name one of those",
        steps(swept, type_(f"compare {EXPERIMENT} t0 b0 --measure bleu")),
        then(type_(f"compare {EXPERIMENT} t0 b0 --measure accuracy")),
    ),
    Row(
        "give --measure {…}",
        steps(swept, type_(f"compare {EXPERIMENT} t0 b0 --measure spearman")),
    ),
    Row(
        "remove it",
        steps(typed("a\n \nb\n"), type_("embed all-MiniLM-L6-v2")),
        without_empty_line,
    ),
    Row(
        "measure on --split valid, or run `embedsweep promote EXPERIMENT.yaml`",
        type_(f"evaluate all-MiniLM-L6-v2 {EXPERIMENT} --split test"),
        then(type_(f"evaluate all-MiniLM-L6-v2 {EXPERIMENT} --split valid")),
    ),
    Row(
        "measure on --split valid, or run `embedsweep promote EXPERIMENT.yaml`",
        steps(swept, type_(f"evaluate all-MiniLM-L6-v2 {EXPERIMENT} --split test")),
        first_command,
        code=5,
    ),
    Row("give --split valid", type_(f"evaluate all-MiniLM-L6-v2 {EXPERIMENT} --split train")),
    Row(
        "name a new folder",
        steps(swept, type_("export mine mlruns")),
        then(type_("export mine exported")),
    ),
]

JOBS = [
    Row(
        "write `embedsweep jobs` or `embedsweep jobs resubmit KEY --yes`",
        steps(a_job, type_("jobs resubmit")),
        first_command,
    ),
    Row(
        "look at the provider's own list of jobs, then add --yes",
        steps(a_job, type_(f"jobs resubmit {JOB}")),
        lambda world, fault: world.words.append("--yes"),
    ),
    Row(
        "name one that `embedsweep jobs` lists",
        steps(a_job, type_("jobs resubmit another --yes")),
        then(type_(f"jobs resubmit {JOB} --yes")),
    ),
]

KEYS = [
    Row("set {…} to the provider's key; it belongs in no file", file(EXPERIMENT, AT_OPENAI)),
    Row(
        "set it again, without quotes and line breaks",
        steps(file(EXPERIMENT, AT_OPENAI), environ("OPENAI_API_KEY", '"sk-hunter2"\n')),
        then(environ("OPENAI_API_KEY", "sk-hunter2")),
    ),
    Row(
        "set it again, without quotes and line breaks",
        steps(file(EXPERIMENT, AT_OPENAI), environ("OPENAI_API_KEY", "\u201csk-hunter2\u201d")),
        then(environ("OPENAI_API_KEY", "sk-hunter2")),
    ),
]


def serve(line: str) -> Step:
    """A server that would not start: its port is taken, so that what is advised ends too."""
    return lambda world: type_(f"serve {line} --port {a_port(world)}")(world)


TAKEN = 4
"""What a server ends with whose port is taken, or that has no model to serve."""

SERVING = [
    Row(
        "write `embedsweep serve NAME`, `embedsweep serve --fine-tuning`, or both",
        serve(""),
        lambda world, fault: world.words.insert(1, "mine"),
        code=TAKEN,
    ),
    Row(
        "add --fine-tuning or remove --base-model",
        serve("mine --base-model all-MiniLM-L6-v2"),
        lambda world, fault: world.words.append("--fine-tuning"),
        code=TAKEN,
    ),
    Row(
        "serve {…}, which follows its champion",
        steps(stores, serve("models:/mine@nope")),
        lambda world, fault: world.words.__setitem__(1, fault.fix.split()[1].rstrip(",")),
        code=TAKEN,
    ),
    Row(
        "serve {…}",
        steps(swept, serve("models:/mine/1")),
        lambda world, fault: world.words.__setitem__(1, fault.fix.split()[1]),
        code=TAKEN,
    ),
    Row(
        "choose another port from 1024 on, or 0 for any",
        steps(stores, type_("serve mine --port 99999")),
        then(type_("serve mine --port 0")),
        code=TAKEN,
    ),
    Row(
        "choose another port from 1024 on, or 0 for any",
        steps(stores, serve("mine")),
        then(type_("serve mine --port 0")),
        code=TAKEN,
    ),
    Row(
        "make another key",
        steps(stores, environ("EMBEDSWEEP_API_KEYS", "a b"), type_("serve mine --port 0")),
        then(environ("EMBEDSWEEP_API_KEYS", "a-b")),
        code=TAKEN,
    ),
    Row(
        "set an API key in {…}, or listen on 127.0.0.1",
        steps(stores, type_("serve mine --port 0 --host 0.0.0.0")),
        lambda world, fault: world.patch.setenv(fault.fix.split()[5].rstrip(","), "a-key"),
        code=TAKEN,
    ),
    Row(
        "set an API key in {…}, or listen on 127.0.0.1",
        steps(stores, type_("serve mine --port 0 --host 0.0.0.0")),
        then(type_("serve mine --port 0 --host 127.0.0.1")),
        code=TAKEN,
    ),
    Row(
        "choose an address of this machine",
        steps(
            stores,
            environ("EMBEDSWEEP_API_KEYS", "a-key"),
            type_("serve mine --port 0 --host 192.0.2.1"),
        ),
        then(type_("serve mine --port 0 --host 127.0.0.1")),
        code=TAKEN,
    ),
]


def first_listed(world: World, fault: Fault) -> None:
    world.put("objective", fault.why.rpartition(": ")[2].split(", ")[0])


PREFLIGHT = [
    Row("name one of those", put("objective", "spearman"), first_listed),
    Row(
        "lower search.trials, or raise budget.disk_gb",
        steps(put("search.trials", 100), put("budget", {"disk_gb": 1.0})),
        then(put("search.trials", 1)),
    ),
    Row(
        "lower search.trials, or raise budget.disk_gb",
        put("budget", {"disk_gb": 0.001}),
        then(put("budget.disk_gb", 10)),
    ),
    Row(
        "lower search.trials, free some, or set EMBEDSWEEP_HOME to a larger disk",
        put("search.trials", 100_000),
        then(put("search.trials", 2)),
    ),
    Row(
        "write such an arm instead",
        steps(
            environ("OPENAI_API_KEY", "a-key"),
            file(
                EXPERIMENT, AT_OPENAI.replace("adapter", "hosted").replace("[softmax]", "softmax")
            ),
        ),
        then(swap("backend: hosted", "backend: adapter")),
    ),
    Row(
        "take it out of the arm, or give data that feeds it",
        steps(pairs, put("search.arms[0].loss", ["multiple_negatives_ranking", "softmax"])),
        then(put("search.arms[0].loss", ["multiple_negatives_ranking"])),
    ),
    Row(
        "make the folder writable or choose another one",
        environ("EMBEDSWEEP_HOME", "/proc/nowhere"),
        then(environ("EMBEDSWEEP_HOME", "here")),
    ),
]

ROWS = [*COMMAND_LINES, *JOBS, *KEYS, *SERVING, *PREFLIGHT]
