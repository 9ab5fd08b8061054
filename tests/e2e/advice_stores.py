"""Advice on stores: their addresses, what is in them, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from embedsweep.config import StoreLocations
from embedsweep.core.errors import Fault
from embedsweep.core.jobs import Account, Charge
from embedsweep.stores.addresses import sqlite_file
from embedsweep.stores.connection import open_client, reach_database
from embedsweep.stores.job_book import SqlJobBook
from embedsweep.stores.locks import lock_sweep
from embedsweep.stores.study import open_study
from tests.e2e.advice_world import (
    EXPERIMENT,
    Follower,
    Row,
    Step,
    World,
    environ,
    file,
    put,
    steps,
    stores,
    swept,
    then,
    type_,
)
from tests.e2e.small_project import outcome

STUDY, TRACKING = "EMBEDSWEEP_STUDY_URL", "MLFLOW_TRACKING_URI"
NOWHERE = "127.0.0.1:9"
NO_SUCH = 2
"""What `compare` ends with in stores without the sweep."""


def client(world: World) -> MlflowClient:
    return MlflowClient(f"sqlite:///{world.path('mlruns')}/mlflow.db")


def runs(world: World, kind: str) -> list[Run]:
    experiment = client(world).get_experiment_by_name("mine")
    return list(
        client(world).search_runs([experiment.experiment_id], f"tags.`embedsweep.kind` = '{kind}'")
    )


def embed(reference: str) -> Step:
    def typed(world: World) -> None:
        world.words, world.typed = ["embed", reference], "a text\n"

    return typed


def first_line_of(command: str, reference: str = "models:/mine/{}") -> Follower:
    """Name the first version that the advised command lists."""

    def follow(world: World, fault: Fault) -> None:
        assert f"`embedsweep {command}`" in fault.fix
        assert outcome(*command.split()) == 0
        embed(reference.format(1))(world)

    return follow


NAMES = [
    Row("choose another {…} name", steps(swept, type_("history a:b")), then(type_("history mine"))),
    Row(
        "use champion, previous, challenger or a version number",
        steps(swept, embed("models:/mine@v1")),
        then(embed("models:/mine@champion")),
    ),
    Row(
        "use champion, previous, challenger or a version number",
        steps(swept, embed("models:/mine@latest")),
        then(embed("models:/mine/1")),
    ),
    Row("write one of these", steps(swept, embed("models:/mine@")), then(embed("models:/mine/1"))),
    Row(
        "name one that `embedsweep history {…}` lists",
        steps(swept, embed("models:/mine/99")),
        first_line_of("history mine"),
    ),
    Row(
        "name one of those, or run `embedsweep promote EXPERIMENT.yaml` first",
        steps(swept, type_("history other")),
        then(type_("history mine")),
    ),
    Row(
        "name one of those",
        steps(swept, type_(f"compare {EXPERIMENT} x9 b0")),
        then(type_(f"compare {EXPERIMENT} t0 b0")),
    ),
    Row(
        "did you mean {…}? Write {…}",
        steps(swept, type_(f"compare {EXPERIMENT} T0 b0")),
        lambda world, fault: world.words.__setitem__(2, fault.fix.split()[-1]),
    ),
    Row(
        "name another",
        steps(swept, type_(f"compare {EXPERIMENT} b0 champion")),
        then(type_(f"compare {EXPERIMENT} t0 champion")),
    ),
    Row(
        "name the run of a trial",
        steps(swept, lambda world: embed(f"runs:/{runs(world, 'sweep')[0].info.run_id}")(world)),
        lambda world, fault: embed(f"runs:/{runs(world, 'trial')[0].info.run_id}")(world),
    ),
]


def address(variable: str, wrong: str, right: str, code: int = 0) -> tuple[Step, Follower, int]:
    return environ(variable, wrong), then(environ(variable, right)), code


class _Answering(BaseHTTPRequestHandler):
    """A tracking server that is out of order until it is started again."""

    status = 500

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


def broken_server(world: World) -> None:
    _Answering.status = 500
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    world.values["server"] = server
    environ(TRACKING, f"http://127.0.0.1:{server.server_address[1]}")(world)


def started_again(world: World, fault: Fault) -> None:
    environ(TRACKING, f"sqlite:///{world.path('mlruns')}/mlflow.db")(world)


def minimising(world: World) -> None:
    optuna.create_study(storage=world.values["url"], study_name="mine", direction="minimize")


def own_url(world: World) -> None:
    world.values["url"] = f"sqlite:///{world.path('own.db')}"


def of_another_optuna(world: World) -> None:
    a_study(world)
    with closing(sqlite3.connect(world.path("own.db"))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.9.9.z'")


def other_url(world: World) -> None:
    world.values["url"] = f"sqlite:///{world.path('other.db')}"


def a_study(world: World) -> object:
    return open_study(world.values["url"], "mine", RandomSampler(), NopPruner())


COMPARE = steps(stores, type_(f"compare {EXPERIMENT}"))
GOOD_STUDY = "sqlite:///mlruns/study.db"

ADDRESSES = [
    Row(
        "give the study a database of its own",
        steps(COMPARE, environ(STUDY, "sqlite:///mlruns/mlflow.db")),
        then(environ(STUDY, GOOD_STUDY)),
        code=NO_SUCH,
    ),
    Row(
        "give the study a database of its own",
        steps(own_url, of_another_optuna),
        then(other_url),
        a_study,
    ),
    Row(
        "write sqlite:///FILE or http://HOST:PORT",
        lambda world: world.values.update(address="file:///runs"),
        lambda world, fault: world.values.update(address=f"sqlite:///{world.path('own.db')}"),
        lambda world: open_client(
            StoreLocations(world.values["address"], "artifacts", "", world.folder)
        ),
    ),
    Row(
        "write sqlite:///FILE",
        lambda world: world.values.update(address="sqlite://"),
        lambda world, fault: world.values.update(address="sqlite:///FILE"),
        lambda world: sqlite_file(world.values["address"]),
    ),
    Row(
        "write sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        steps(environ(STUDY, "mysql://me@host/studies"), type_("jobs")),
        then(environ(STUDY, "sqlite:///own.db")),
    ),
    Row(
        "write sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        lambda world: world.values.update(url="mysql://me@host/studies"),
        then(other_url),
        a_study,
    ),
    Row(
        "write sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        lambda world: world.values.update(url="postgresql"),
        lambda world, fault: world.values.update(url=f"sqlite:///{world.path('own.db')}"),
        lambda world: (
            None
            if world.values["url"].startswith("sqlite")
            else reach_database(world.values["url"])
        ),
    ),
    Row(
        "give the experiment another name or the study another database",
        steps(own_url, minimising),
        then(other_url),
        a_study,
    ),
    Row(
        "look into the server's log, or start it again",
        steps(COMPARE, broken_server),
        started_again,
        code=NO_SUCH,
    ),
    Row(
        "check that the server runs, and its address and credentials (MLFLOW_TRACKING_USERNAME, "
        "MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN)",
        steps(COMPARE, environ(TRACKING, f"http://{NOWHERE}")),
        started_again,
        code=NO_SUCH,
    ),
    Row(
        "check that the database runs, and its address, user and password",
        steps(environ(STUDY, f"postgresql://me@{NOWHERE}/studies"), type_("jobs")),
        then(environ(STUDY, "sqlite:///own.db")),
    ),
    Row(
        "check that the file can be read and written and that the disk has room",
        steps(
            file("own.db", b"no database" * 100), environ(STUDY, "sqlite:///own.db"), type_("jobs")
        ),
        lambda world, fault: world.path("own.db").unlink(),
    ),
]


def held(world: World) -> None:
    stack = world.values["stack"] = ExitStack()
    stack.enter_context(lock_sweep(world.path("mlruns") / "locks", "mine"))


def deleted(world: World) -> None:
    experiment = client(world).get_experiment_by_name("mine")
    client(world).delete_experiment(experiment.experiment_id)


def spoilt(change: Callable[[World], None]) -> Step:
    return steps(swept, change, type_(f"compare {EXPERIMENT}"))


def of_another_version(world: World) -> None:
    for run in runs(world, "trial"):
        client(world).set_tag(run.info.run_id, "embedsweep.recipe", "{}")


def an_account(world: World) -> None:
    world.values["cap"] = 1.0


def charged(world: World) -> None:
    with closing(SqlJobBook(f"sqlite:///{world.path('own.db')}")) as book:
        charge = Charge("embedding", "http://provider.example/v1", "small", 1234, 2.0)
        book.debit(charge, Account("mine", world.values["cap"]))


CONTENT = [
    Row(
        "wait for process {…} or stop it",
        steps(stores, held),
        lambda world, fault: world.values["stack"].close(),
        lambda world: ExitStack().enter_context(lock_sweep(world.path("mlruns") / "locks", "mine")),
    ),
    Row("run {…}, or choose another name", spoilt(deleted)),
    Row(
        "run {…}, or choose another name",
        spoilt(deleted),
        then(put("name", "another")),
        code=NO_SUCH,
    ),
    Row(
        "use the version that wrote it, or give the experiment another name",
        spoilt(of_another_version),
        then(put("name", "another")),
        code=NO_SUCH,
    ),
    Row(
        "raise budget.cost in the experiment",
        an_account,
        lambda world, fault: world.values.update(cap=10.0),
        charged,
    ),
]

ROWS = [*NAMES, *ADDRESSES, *CONTENT]
