"""Advice on files as documents: YAML, environment files, paths."""

from __future__ import annotations

from embedsweep.core.errors import Fault
from tests.e2e.advice_world import (
    EXPERIMENT,
    Row,
    Step,
    World,
    environ,
    file,
    steps,
    swap,
    then,
    type_,
)
from tests.e2e.small_project import GOOD

STORES = "team.env"


def environment(content: str) -> Step:
    """A command that reads the environment file."""
    return steps(file(STORES, content), type_(f"check {EXPERIMENT} --stores {STORES}"))


def good_again(name: str = EXPERIMENT) -> Step:
    return file(name, GOOD)


def with_fix_of(world: World, fault: Fault) -> None:
    """Set the variable in the environment, and remove its line from the file."""
    world.patch.setenv(fault.what, "sqlite:///own.db")
    file(STORES, "")(world)


DOCUMENTS = [
    Row("remove the character", swap("mine", "mi\x07ne"), then(swap("\x07", ""))),
    Row("flatten it", swap("name: mine", f"name: {'[' * 2000}"), then(good_again())),
    Row(
        "describe an experiment: name, data, objective and search",
        file(EXPERIMENT, "# nothing\n"),
        then(good_again()),
    ),
    Row(
        "write `name: ...` and the other keys at the top level",
        file(EXPERIMENT, f"- {GOOD.strip()}"[:13] + "\n"),
        then(good_again()),
    ),
    Row(
        "mend it there; put text that holds ': ' or ' #' in quotes",
        swap("data: {", "data: {name: all: of it, "),
        then(swap("all: of it", "'all: of it'")),
    ),
    Row("indent with spaces", swap("  trials", "\ttrials"), then(swap("\t", "  "))),
    Row(
        "write it shorter, without nested aliases",
        swap("name: mine", "name: &a [*a]"),
        then(good_again()),
    ),
    Row(
        "write it shorter, without nested aliases",
        swap("trials: 2", f"trials: {'[' * 25}{']' * 25}"),
        then(good_again()),
    ),
    Row(
        "remove the tag and write the value",
        swap("accuracy", "!!python/name:os.system accuracy"),
        then(swap("!!python/name:os.system ", "")),
    ),
    Row("write `key: value`", swap("name: mine", "? [name]\n: mine"), then(good_again())),
    Row(
        "remove one of the two",
        swap("name: mine", "name: mine\nname: other"),
        then(swap("name: other\n", "")),
    ),
    Row(
        "remove one of the two",
        swap("[softmax]", "[softmax, softmax]"),
        then(swap("softmax, ", "")),
    ),
    Row(
        "remove one of the two",
        swap("objective", "guards: {mrr@10: 0, mrr_at_10: 0}\nobjective"),
        then(swap("mrr@10: 0, ", "")),
    ),
    Row("write a plain value", swap("name: mine", 'name: "mi\\0ne"'), then(good_again())),
    Row("write a plain value", swap("trials: 2", "trials: !!int two"), then(good_again())),
]

ENVIRONMENT = [
    Row(
        "write KEY=VALUE, or # before a comment",
        environment("the stores\n"),
        then(file(STORES, "# the stores\n")),
    ),
    Row(
        "did you mean {…}? Write {…}",
        environment("EMBEDSWEEP_HOM=here\n"),
        lambda world, fault: world.replace("EMBEDSWEEP_HOM", fault.fix.split()[-1], STORES),
    ),
    Row(
        "set it in the environment instead",
        environment("OMP_NUM_THREADS=1\n"),
        then(steps(file(STORES, ""), environ("OMP_NUM_THREADS", "1"))),
    ),
    Row(
        "remove one",
        environment("EMBEDSWEEP_HOME=a\nEMBEDSWEEP_HOME=b\n"),
        then(file(STORES, "EMBEDSWEEP_HOME=b\n")),
    ),
    Row(
        "write a value or remove the line",
        environment("EMBEDSWEEP_HOME=\n"),
        then(file(STORES, "EMBEDSWEEP_HOME=a\n")),
    ),
    Row(
        "write a value or remove the line",
        environment("EMBEDSWEEP_HOME=\n"),
        then(file(STORES, "")),
    ),
    Row(
        "remove it here and set {…} in the environment",
        environment("EMBEDSWEEP_STUDY_URL=postgresql://me:hunter2@host/db\n"),
        with_fix_of,
    ),
    Row(
        "write it again by hand",
        environment("EMBEDSWEEP_HOME=a\x1bb\n"),
        then(file(STORES, "EMBEDSWEEP_HOME=ab\n")),
    ),
    Row(
        "write a path",
        environ("EMBEDSWEEP_HOME", "s3://bucket"),
        then(environ("EMBEDSWEEP_HOME", "here")),
    ),
    Row(
        "write http://HOST:PORT",
        environ("MLFLOW_TRACKING_URI", "http://"),
        then(environ("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")),
    ),
    Row(
        "write a URL, such as sqlite:///mlruns/study.db",
        environ("EMBEDSWEEP_STUDY_URL", "mlruns/study.db"),
        lambda world, fault: world.patch.setenv(fault.what, fault.fix.split()[-1]),
    ),
    Row(
        "write {…}://USER@HOST/DATABASE",
        environ("EMBEDSWEEP_STUDY_URL", "postgresql:///studies"),
        then(environ("EMBEDSWEEP_STUDY_URL", "postgresql://me@host/studies")),
    ),
    Row(
        "write sqlite:///FILE",
        environ("EMBEDSWEEP_STUDY_URL", "sqlite://"),
        then(environ("EMBEDSWEEP_STUDY_URL", "sqlite:///own.db")),
    ),
]


def folder(name: str) -> Step:
    return lambda world: world.path(name).mkdir()


def unreadable(world: World) -> None:
    """A link to itself: no rights of any user help."""
    world.path("loop.yaml").symlink_to("loop.yaml")


def readable(world: World) -> None:
    world.path("loop.yaml").unlink()
    good_again("loop.yaml")(world)


FILES = [
    Row("name the {…} in it", type_("check ."), then(type_(f"check ./{EXPERIMENT}"))),
    Row(
        "check the path; it is relative to the current directory",
        type_("check there/mine.yaml"),
        then(type_("check mine.yaml")),
    ),
    Row("name a file on disk", type_("check /dev/null"), then(type_(f"check {EXPERIMENT}"))),
    Row("make it readable", steps(unreadable, type_("check loop.yaml")), then(readable)),
    Row(
        "name the {…}, not its data",
        steps(file("rows.yaml", "x" * 300_000), type_("check rows.yaml")),
        then(type_(f"check {EXPERIMENT}")),
    ),
    Row(
        "save the file as UTF-8",
        file(EXPERIMENT, GOOD.replace("mine", "münchen").encode("latin-1")),
        then(file(EXPERIMENT, GOOD)),
    ),
]

ROWS = [*DOCUMENTS, *ENVIRONMENT, *FILES]
