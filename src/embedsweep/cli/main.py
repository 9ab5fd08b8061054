"""Reads the command line, runs the verb, and turns whatever went wrong into a sentence."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import embedsweep
from embedsweep.cli import (
    check,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    gc,
    history,
    jobs,
    promote,
    rollback,
    schema,
    serve,
    sweep,
    ui,
)
from embedsweep.cli.commands import runnable
from embedsweep.core.errors import DataError, UserError
from embedsweep.core.interrupts import Terminated, terminable
from embedsweep.core.trial import TrialFailure

INTERRUPTED = 130
TERMINATED = 143
BROKEN = 1
ENVIRONMENT = {
    # The libraries' own reports to their makers, and bars that would tear ours apart.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A pickle can run code when it is opened; none of ours is one.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Tokenizers that were used before a fork can hang after it.
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set for this process unless the user has."""
SECRET_OPTIONS = ("key", "keys", "token", "password", "secret")
"""How options end that would hold a secret; none of ours does."""
VERBS = (
    check, sweep, compare, promote, rollback, history, serve, jobs, embed, evaluate, export,
    gc, schema, doctor, ui,
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """An argument parser that speaks as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"error: {message} in the command line. Fix: see `{self.prog} --help`\n")
        sys.exit(UserError.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="embedsweep", description=embedsweep.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=embedsweep.__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for verb in VERBS:
        name = verb.__name__.rpartition(".")[2]
        summary = (verb.__doc__ or "").partition("\n")[0]
        own = verbs.add_parser(name, help=summary, description=verb.__doc__, allow_abbrev=False)
        verb.add_arguments(own)
        _common(own)
        own.set_defaults(run=verb.run)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on standard output"
    )
    parser.add_argument(
        "--stores",
        metavar="FILE",
        default=os.environ.get("EMBEDSWEEP_STORES"),
        help="where the evidence is kept, such as mlruns-config/local.env (default: "
        "$EMBEDSWEEP_STORES, else ./mlruns-config/local.env, else ./mlruns)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show our own log while it lasts; the libraries' loggers keep to their warnings."""
    logger = logging.getLogger("embedsweep")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _refuse_secrets(words: Sequence[str]) -> None:
    """A key on the command line is seen by everyone on the machine, and kept in its history."""
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and name.lower().endswith(SECRET_OPTIONS):
            sys.stderr.write(
                f"error: {name} in the command line: other users see it there, and it stays in the "
                "shell's history. Fix: pass the key by the environment, such as OPENAI_API_KEY, "
                "and make a new one if this one was real\n"
            )
            sys.exit(UserError.exit_code)


def _refuse_unknown_verb(arguments: Sequence[str]) -> None:
    names = [verb.__name__.rpartition(".")[2] for verb in VERBS]
    word = arguments[0] if arguments else ""
    if not word or word.startswith("-") or word in names:
        return
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]}? Write {near[0]}" if near else "see `embedsweep --help`"
    sys.stderr.write(
        f"error: unknown command {word!r} in the command line: "
        f"known are {', '.join(names)}. Fix: {hint}\n"
    )
    sys.exit(UserError.exit_code)


def _run(options: argparse.Namespace) -> int:
    """Run the verb. What ends only a trial of a sweep ends a command that uses one model."""
    try:
        return int(options.run(options))
    except TrialFailure as failure:
        why = f"{failure.kind}: {failure.message}"
        raise DataError("model", "its embeddings", why, "name another model") from failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _refuse_secrets(words)
    _refuse_unknown_verb(words)
    options = _parser().parse_args(words)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with terminable(), _log_on_stderr():
            return _run(options)
    except UserError as error:
        if options.debug:
            traceback.print_exc()
        sys.stderr.write(f"{runnable(str(error), options)}\n")
        return error.exit_code
    except Terminated:
        sys.stderr.write("terminated; what was done is kept\n")
        return TERMINATED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was done is kept\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN
    except Exception as error:  # noqa: BLE001 - the top: a fault of ours, shown as one
        traceback.print_exc()
        sys.stderr.write(
            f"error: unexpected {type(error).__name__} in embedsweep: {error}. "
            "Fix: this is a fault of embedsweep; report it with the lines above\n"
        )
        return BROKEN
