"""The sweep's page from the command line: in a file of the user's, and kept with the sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep import wiring
from embedsweep.cli import main
from embedsweep.cli.publication import publish
from embedsweep.workflows.sweep import run_sweep
from tests.e2e.small_project import GOOD, outcome, write
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import services_of


def test_the_page_is_written_to_a_file_and_kept_with_the_sweep(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Another name than the other tests' experiment, which has no sweep.
    write(project / "paged.yaml", GOOD.replace("name: mine", "name: paged"))
    experiment, dataset = wiring.load(Path("paged.yaml"))
    services = replace(
        services_of(tmp_path, TableBackend()),
        ledger=wiring.open_ledger(None),
        registry=wiring.open_registry(None),
    )
    run_sweep(experiment, dataset, services)
    said: list[str] = []
    publish(experiment, dataset, services, said.append)
    (line,) = said
    kept = Path(line.removeprefix("report: "))
    assert kept.is_relative_to(project)

    assert main(["compare", "paged.yaml", "--report", "page.html"]) == 0
    assert "report: page.html" in capsys.readouterr().err
    page = (project / "page.html").read_text(encoding="utf-8")
    assert page == kept.read_text(encoding="utf-8")
    assert "text number" in page

    assert main(["compare", "paged.yaml", "--report", "nowhere/page.html"]) == 2
    assert "--report nowhere/page.html in the command line" in capsys.readouterr().err


def test_a_page_is_of_the_whole_sweep(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("compare", "mine.yaml", "t0", "b0", "--report", "other.html") == 2
    assert "two models are named" in capsys.readouterr().err
    assert not (project / "other.html").exists()
