"""The commands named at the end of a sweep work where the user is."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from embedsweep.cli.hints import next_steps
from tests.conftest import ROOT

PLAIN = "see the runs side by side: embedsweep ui; serve the champion: embedsweep serve mine"
OTHERS = {
    "none": None,
    "another program's": "ui:\n\tnpm start\nserve:\n\tnpm run serve\n",
    "other targets": "sweep:\n\tembedsweep sweep mine.yaml\n",
    "a comment": "# embedsweep ui\nui: deps\nclean:\n\techo embedsweep ui\n",
    "no text": b"ui:\n\t\xff embedsweep ui",
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMBEDSWEEP_STORES", raising=False)
    return tmp_path


def options(stores: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(stores=stores)


def test_in_the_repository_make_does_it(alone: Path) -> None:
    (alone / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    expected = "see the runs side by side: make ui; serve the champion: make serve MODEL=mine"
    assert next_steps(options(), "mine") == expected


@pytest.mark.parametrize("kind", OTHERS)
def test_elsewhere_the_program_does_it(alone: Path, kind: str) -> None:
    content = OTHERS[kind]
    if content is not None:
        text = content if isinstance(content, bytes) else content.encode()
        (alone / "Makefile").write_bytes(text)
    assert next_steps(options(), "mine") == PLAIN


def test_one_target_does_not_stand_for_the_other(alone: Path) -> None:
    (alone / "Makefile").write_text("ui: x\n\t@bin/embedsweep ui\nserve:\n\tembedsweep serve old\n")
    expected = "see the runs side by side: make ui; serve the champion: embedsweep serve mine"
    assert next_steps(options(), "mine") == expected


def test_stores_named_on_the_command_line_are_named_again(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    told = next_steps(options("my team.env"), "a b")
    assert "embedsweep ui --stores 'my team.env'" in told
    assert "embedsweep serve --stores 'my team.env' 'a b'" in told
    monkeypatch.setenv("EMBEDSWEEP_STORES", "my team.env")
    assert "make ui;" in next_steps(options("my team.env"), "a b")


def test_without_a_champion_nothing_is_served() -> None:
    assert next_steps(options(), None) == "see the runs side by side: embedsweep ui"
