"""A store that was moved or copied: noticed at the first access, repaired by one command."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine

from embedsweep.cli import main
from embedsweep.config import StoreLocations, load_environment
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores import connection, relocation
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_ledger import MlflowLedger
from embedsweep.stores.mlflow_registry import MlflowRegistry
from embedsweep.stores.registry_locks import turns_at
from embedsweep.stores.relocation import local_path, relocate
from tests.contract.store_cases import open_stores, run_trial, sqlite_settings, start, sweep

NAME = "support"
SWEEP = "support-search"


def located(home: Path) -> StoreLocations:
    """The settings that a user in the folder above has by default."""
    return load_environment(None, {"EMBEDSWEEP_HOME": str(home)})


def filled(home: Path, base: Path) -> Path:
    """A project's store with a trial, a kept model and a champion."""
    stores = open_stores("mlflow", home, base)
    opened = stores.ledger.begin(sweep())
    version = stores.registry.publish(NAME, run_trial(stores, opened, start(0)))
    stores.registry.crown(version, None)
    stores.ledger.end(opened, "FINISHED", {})
    return home


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    filled(tmp_path / "a" / "b" / "mlruns", tmp_path_factory.getbasetemp())
    return tmp_path / "a" / "b"


def read(settings: StoreLocations, folder: Path) -> float:
    """Read a report and a model through the store, which fails if a path is wrong."""
    client = open_client(settings)
    ledger = MlflowLedger(client, settings.artifacts)
    registry = MlflowRegistry(client, turns_at("", settings.home / "locks"))
    opened = ledger.latest(SWEEP)
    assert opened is not None
    (trial,) = ledger.trials(opened)
    registry.fetch(f"models:/{NAME}@champion", folder)
    assert client.list_artifacts(trial.run_id)
    return max(ledger.report(trial.run_id).means.values())


def paths(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return [
            row[0]
            for table, _, name in relocation._PLACES
            for row in database.execute(f"SELECT {name} FROM {table}")
        ]


_ATTACH = f"""
import sys
from pathlib import Path
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_ledger import MlflowLedger
from tests.integration.test_stores_relocation import located
settings = located(Path(sys.argv[1]))
ledger = MlflowLedger(open_client(settings), settings.artifacts)
ledger.attach(ledger.latest({SWEEP!r}), "report.html", "of the copy")
"""


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "name", ["bc", "with a space", "100% #1 of 2?", "percent%20encoded", "b/inner"]
)
def test_a_moved_project_is_noticed_and_repaired(project: Path, name: str, tmp_path: Path) -> None:
    held = tmp_path / "held"
    project.rename(held)
    there = tmp_path / "a" / name
    there.parent.mkdir(parents=True, exist_ok=True)
    held.rename(there)
    settings = located(there / "mlruns")
    with pytest.raises(StoreError) as caught:
        open_client(settings)
    said = str(caught.value)
    assert f"records its files in {project}/mlruns/artifacts" in said
    assert f"they are in {there}/mlruns/artifacts now" in said
    assert "embedsweep doctor --relocate" in said
    before = paths(there / "mlruns" / "mlflow.db")
    done = relocate(settings)
    assert set(done.changed) == {f"{table}.{name}" for table, _, name in relocation._PLACES}
    assert done.backup is not None
    assert paths(done.backup) == before
    assert read(settings, tmp_path / "fetched") > 0
    old = [local_path(each) for each in paths(there / "mlruns" / "mlflow.db")]
    # The default experiment, which is not ours, was made where the tests ran.
    assert all(path is None or path.is_relative_to(there) for path in old[1:])
    assert relocate(settings).changed == {}


def test_control_without_the_check_a_moved_store_answers_with_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.rename(tmp_path / "moved")
    monkeypatch.setattr(connection, "check_location", lambda settings: None)
    client = open_client(located(tmp_path / "moved" / "mlruns"))
    experiment = client.get_experiment_by_name(SWEEP)
    assert experiment is not None
    opened = client.search_runs([experiment.experiment_id])[0].info
    assert client.list_artifacts(opened.run_id) == []


def test_relocating_a_copy_touches_nothing_of_the_original(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    before = content(project)
    settings = located(tmp_path / "copy" / "mlruns")
    with pytest.raises(StoreError, match=r"it is a copy: .* which still exists"):
        open_client(settings)
    relocate(settings)
    assert read(settings, tmp_path / "fetched") > 0
    # In a process of its own: MLflow keeps where a run's files are for as long as a process lives.
    subprocess.run([sys.executable, "-c", _ATTACH, str(settings.home)], check=True)
    assert list(settings.home.rglob("report.html"))
    assert content(project) == before
    assert read(located(project / "mlruns"), tmp_path / "fetched again") > 0


def test_folders_that_share_the_start_of_their_names_are_not_mixed_up(
    project: Path, tmp_path: Path
) -> None:
    """/a/b moved; a run whose files are in /a/bc, where they still are, stays recorded there."""
    there = tmp_path / "a" / "bc" / "mlruns" / "artifacts" / SWEEP / "f" / "artifacts"
    there.mkdir(parents=True)
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO runs (run_uuid, artifact_uri, experiment_id)"
            " SELECT 'f', ?, max(experiment_id) FROM runs",
            (there.as_uri(),),
        )
    project.rename(tmp_path / "moved")
    settings = located(tmp_path / "moved" / "mlruns")
    relocate(settings)
    assert there.as_uri() in paths(settings.home / "mlflow.db")
    open_client(settings)


def test_a_database_that_moved_without_its_files_keeps_their_paths(
    project: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (project / "mlruns" / "mlflow.db").rename(elsewhere / "mlflow.db")
    settings = located(elsewhere)
    assert read(settings, tmp_path / "fetched") > 0
    assert relocate(settings).changed == {}


def test_files_that_moved_without_their_database_are_found_by_the_settings(
    project: Path, tmp_path: Path
) -> None:
    (project / "mlruns" / "artifacts").rename(tmp_path / "big disk")
    settings = located(project / "mlruns")
    # The settings still name the recorded folder: the files are lost, not moved.
    open_client(settings)
    settings = replace(settings, artifacts=str(tmp_path / "big disk"))
    with pytest.raises(StoreError, match="it moved"):
        open_client(settings)
    relocate(settings)
    assert read(settings, tmp_path / "fetched") > 0


def test_files_that_are_nowhere_are_reported_with_a_way_out(project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "moved")
    settings = located(tmp_path / "moved" / "mlruns")
    shutil.rmtree(settings.artifacts)
    with pytest.raises(StoreError, match=r"which is gone, and .* has none of them"):
        open_client(settings)
    done = relocate(settings)
    assert done.missing > 0
    open_client(settings)


def test_a_link_from_the_old_place_or_in_the_settings_needs_no_repair(
    project: Path, tmp_path: Path
) -> None:
    project.rename(tmp_path / "moved")
    project.symlink_to(tmp_path / "moved")
    for number, home in enumerate((tmp_path / "moved" / "mlruns", project / "mlruns")):
        assert read(located(home), tmp_path / f"fetched {number}") > 0
        assert relocate(located(home)).changed == {}


def test_a_relocation_that_broke_off_is_run_again(project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "moved")
    settings = located(tmp_path / "moved" / "mlruns")
    before = paths(settings.home / "mlflow.db")
    seen: list[str] = []

    def break_off(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)
        if statement.startswith("UPDATE model_versions"):
            raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", break_off)
    try:
        with pytest.raises(KeyboardInterrupt):
            relocate(settings)
    finally:
        event.remove(Engine, "before_cursor_execute", break_off)
    assert any(statement.startswith("UPDATE runs") for statement in seen)
    assert paths(settings.home / "mlflow.db") == before
    relocate(settings)
    assert read(settings, tmp_path / "fetched") > 0


def test_paths_half_corrected_by_hand_are_noticed(project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "moved")
    settings = located(tmp_path / "moved" / "mlruns")
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(project), str(tmp_path / "moved")),
        )
    with pytest.raises(StoreError, match="it moved"):
        open_client(settings)
    relocate(settings)
    assert read(settings, tmp_path / "fetched") > 0


def test_a_tracking_server_is_relocated_where_it_runs(tmp_path: Path) -> None:
    settings = replace(located(tmp_path), tracking_uri="http://127.0.0.1:1")
    with pytest.raises(UsageError, match="server's machine"):
        relocate(settings)


def test_a_new_store_has_nothing_to_relocate(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert relocate(located(tmp_path / "none")).changed == {}
    settings = sqlite_settings(tmp_path / "empty", tmp_path_factory.getbasetemp())
    assert relocate(settings).changed == {}


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///a%20b/c", "/a b/c"),
        ("file:/a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("/a%20b", "/a%20b"),
        ("file://server/a", None),
        ("models:/m-1", None),
        ("s3://bucket/a", None),
        ("mlflow-artifacts:/1", None),
        ("./mlruns", None),
        ("", None),
    ],
)
def test_which_locations_are_paths_of_this_machine(location: str, path: str | None) -> None:
    assert local_path(location) == (None if path is None else Path(path))


def test_tracking_in_postgresql_with_a_moved_folder(postgresql: str, tmp_path: Path) -> None:
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connected:
        connected.execute(text("CREATE DATABASE relocated"))
    engine.dispose()
    address = f"{postgresql.rpartition('/')[0]}/relocated"
    first = replace(located(tmp_path / "one"), tracking_uri=address)
    client = open_client(first)
    ledger = MlflowLedger(client, first.artifacts)
    opened = ledger.begin(sweep())
    ledger.attach(opened, "note.txt", "kept")
    (tmp_path / "one").rename(tmp_path / "it's two")
    second = replace(located(tmp_path / "it's two"), tracking_uri=address)
    with pytest.raises(StoreError, match="it moved"):
        open_client(second)
    done = relocate(second)
    kept = [file.path for file in open_client(second).list_artifacts(opened.run_id)]
    assert "note.txt" in kept
    assert done.backup is not None
    # The backup puts the old paths back, quotes and all.
    engine = create_engine(address)
    with engine.begin() as connected:
        for line in done.backup.read_text().splitlines():
            connected.exec_driver_sql(line.rstrip(";"))
    with pytest.raises(StoreError, match="it moved"):
        open_client(second)
    engine.dispose()


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    return code, capsys.readouterr().err


@pytest.mark.parametrize("verb", [("history", NAME), ("doctor",), ("serve", NAME), ("gc",)])
def test_the_command_that_the_message_names_leads_out(
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
) -> None:
    project.rename(tmp_path / "moved")
    settings = tmp_path / "my stores.env"
    settings.write_text("EMBEDSWEEP_HOME=moved/mlruns\n")
    for name in ("EMBEDSWEEP_HOME", "MLFLOW_TRACKING_URI", "EMBEDSWEEP_STORES"):
        monkeypatch.delenv(name, raising=False)
    code, err = _said(capsys, *verb, "--stores", str(settings))
    assert code == 4
    command = f"embedsweep doctor --relocate --stores '{settings}'"
    assert f"`{command}`" in err
    code, err = _said(capsys, "doctor", "--relocate", "--stores", str(settings))
    assert "the state before is in" in err
    assert "MLflow store in" not in err
    code, err = _said(capsys, "history", NAME, "--stores", str(settings))
    assert code == 0
