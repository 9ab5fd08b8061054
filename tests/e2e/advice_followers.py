"""How to follow an advice literally, told from its text alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from mlflow.cli import cli

from embedsweep.core.errors import Fault
from tests.e2e.advice_world import Follower, World, outcome

Match = re.Match[str]


def follower_of(fix: str) -> Follower:
    """The first way that fits the text; a text that none fits needs a row's own."""
    for told, follow in FOLLOWERS:
        found = re.fullmatch(told, fix)
        if found:
            return lambda world, fault: follow(world, fault, found)
    raise AssertionError(f"nothing here follows: {fix}")


def _place(fault: Fault) -> str:
    return fault.what.removeprefix("unknown key ").removeprefix("duplicate key ")


def _beside(fault: Fault, key: str) -> str:
    around = _place(fault).rpartition(".")[0]
    return f"{around}.{key}" if around else key


def _value(text: str) -> Any:
    return yaml.safe_load(text)


def _remove(world: World, fault: Fault, found: Match) -> None:
    world.drop(_place(fault))


def _remove_key(world: World, fault: Fault, found: Match) -> None:
    world.drop(f"{_place(fault)}.{found[1]}")


def _write_value(world: World, fault: Fault, found: Match) -> None:
    world.put(_place(fault), _value(found[1]))


def _write_key(world: World, fault: Fault, found: Match) -> None:
    for key, value in _value(found[1]).items():
        same = _place(fault).rpartition(".")[2] == key
        world.put(_place(fault) if same else _beside(fault, key), value)


def _meant(world: World, fault: Fault, found: Match) -> None:
    place = _place(fault)
    if not fault.what.startswith("unknown key"):
        world.put(place, _value(found[1]))
        return
    world.put(_beside(fault, found[1]), world.at(place))
    world.drop(place)


def _bounded(inside: float) -> Callable[[World, Fault, Match], None]:
    """Write a number at a bound or, if it is left out, ``inside`` of it."""

    def follow(world: World, fault: Fault, found: Match) -> None:
        bound = float(found[1])
        step = inside if abs(bound) > 1 else inside / 100
        world.put(_place(fault), int(bound + step) if bound + step == int(bound) else bound + step)

    return follow


def _raise(world: World, fault: Fault, found: Match) -> None:
    assert _place(fault).endswith(found[1])
    world.put(_place(fault), int(found[2]))


def _reverse(world: World, fault: Fault, found: Match) -> None:
    around = _place(fault).rpartition(".")[0]
    for key, value in (("low", found[1]), ("high", found[2])):
        world.put(f"{around}.{key}", _value(value))


def _set_variable(world: World, fault: Fault, found: Match) -> None:
    world.patch.setenv(found[1], "sk-could-be-one")


def _run(world: World, fault: Fault, found: Match) -> None:
    program, *words = shlex.split(found[1])
    assert program == "embedsweep"
    assert outcome(*words) in (0, 5)  # 5: the candidate is as good as the champion


def _run_mlflow(world: World, fault: Fault, found: Match) -> None:
    """Run the command as a shell would: its variables are set for it alone."""
    variables, words = [], shlex.split(found[1])
    while "=" in words[0]:
        variables.append(words.pop(0).split("=", 1))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables:
            patch.setenv(name, value)
        ended = CliRunner().invoke(cli, words[1:])
    assert ended.exit_code == 0, ended.output


def _type_option(world: World, fault: Fault, found: Match) -> None:
    """Add the option and its value, or put the value in the place of the one given."""
    option, *value = shlex.split(found[1])
    if option in world.words:
        at = world.words.index(option)
        world.words[at : at + 1 + len(value)] = [option, *value]
    else:
        world.words += [option, *value]


def _leave_out_option(world: World, fault: Fault, found: Match) -> None:
    at = world.words.index(found[1])
    takes_one = at + 1 < len(world.words) and not world.words[at + 1].startswith("--")
    del world.words[at : at + 1 + takes_one]


FOLLOWERS: list[tuple[str, Callable[[World, Fault, Match], None]]] = [
    (r"remove it(?:[,;] .+)?", _remove),
    (r"remove the key(?:; .+)?", _remove),
    (r"remove (log)", _remove_key),
    (r"did you mean (\S+)\? Write \S+", _meant),
    (r"add it, such as `(.+)`", _write_key),
    (r"write `(\w+: .+)` instead", _write_key),
    (r"list the values, such as (\[.+\]), or .+", _write_value),
    (r"write (backend: \w+), or .+", _write_key),
    (r"write (provider: openai) instead", _write_key),
    (r"raise (\w+) to (\d+) or more.*", _raise),
    (r"write low: (\S+) and high: (\S+)", _reverse),
    (r"write (\S+) or (?:more|less)", _bounded(0)),
    (r"write a number above (\S+)", _bounded(1)),
    (r"write a number below (\S+)", _bounded(-1)),
    (r"write (true) or false, .+", _write_value),
    (r"write '(\w+: [^']+)'(?:,? .+)?", _write_key),
    (r"write (\w+)", _write_value),
    (r"set (\w+) to the provider's key.*", _set_variable),
    (r"(?:.*, )?(?:then )?(?:run|remove it with) `(embedsweep [^`]+)`.*", _run),
    (r"run `((?:\w+=\S+ )*mlflow [^`]+)`.*", _run_mlflow),
    (r"give (--[\w-]+(?: \S+)?)", _type_option),
]
"""By what an advice says, in full: what it then does."""
