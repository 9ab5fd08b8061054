"""What a command loads before it begins, and what making the database leaves."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.config import load_environment
from embedsweep.core.errors import UsageError
from embedsweep.stores import connection, new_database
from embedsweep.stores.new_database import make_database
from embedsweep.wiring import new_stores

MODEL_LIBRARIES = ["torch", "transformers", "sentence_transformers"]
NOT_TO_CHECK = (*MODEL_LIBRARIES, "mlflow", "optuna", "openai", "fastapi", "uvicorn")

EXPERIMENT = """
name: light
data: {train: pairs.jsonl, split: {valid: 0.3, test: 0.3, seed: 7}}
objective: ndcg@10
search:
  trials: 2
  arms:
    - {backend: local, base_model: all-MiniLM-L6-v2}
    - {backend: adapter, base_model: all-MiniLM-L6-v2}
    - {backend: hosted, base_model: all-MiniLM-L6-v2, provider: loopback}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    rows = [
        {"anchor": f"what is number {i} for", "positive": f"the number {i} is for counting to {i}"}
        for i in range(40)
    ]
    rows.append({"anchor": "how long", "positive": "word " * 400})
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8")
    path = tmp_path / "light.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path


def run(code: str, *words: str) -> list[str]:
    program = f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    loaded: list[str] = json.loads(done.stderr.splitlines()[-1])
    return [name for name in NOT_TO_CHECK if name in loaded]


CHECK = "from embedsweep.cli import main; assert main(sys.argv[1:]) == 0"


def test_a_check_opens_base_models_and_loads_no_library_that_records_or_serves(experiment):
    assert run(CHECK, "check", str(experiment), "--json") == MODEL_LIBRARIES


def test_a_check_without_a_base_model_of_this_machine_opens_none(experiment, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    text = experiment.read_text(encoding="utf-8")
    arms = "    - {backend: adapter, base_model: text-embedding-3-small, provider: openai}\n"
    experiment.write_text(text[: text.index("    - ")] + arms, encoding="utf-8")
    assert run(CHECK, "check", str(experiment), "--json") == []


@pytest.mark.parametrize("name", ["hosted.backend", "hosted.provider", "hosted.moving"])
def test_lightness_hangs_on_what_a_check_imports(name):
    assert run(f"import embedsweep.backends.{name}") == ["openai"]


BACKENDS = """
from pathlib import Path
from embedsweep import wiring
from embedsweep.wiring.models import backends
experiment = wiring.load_experiment(Path(sys.argv[1]))
with backends(sys.argv[2], experiment) as known: known.kept.get(sys.argv[3])
"""


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    path = tmp_path / "stores.env"
    path.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\n"
        "EMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
        "EMBEDSWEEP_HOME=store\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(("kind", "loaded"), [("none", False), ("hosted", True)])
def test_what_speaks_to_providers_is_loaded_when_it_is_asked_for(experiment, stores, kind, loaded):
    modules = run(f"exec({BACKENDS!r})", str(experiment), str(stores), kind)
    assert ("openai" in modules) is loaded


@pytest.fixture
def places(stores):
    return load_environment(stores, {})


def made_by(places, monkeypatch) -> bool:
    """Whether this process made the database itself."""
    files = []
    make = connection.make_database

    def noted(file):
        files.append(file)
        make(file)

    monkeypatch.setattr(connection, "make_database", noted)
    connection.open_client(places).create_experiment("it works")
    return bool(files)


def test_a_new_database_is_made_by_another_processor(places, monkeypatch):
    monkeypatch.setattr(new_stores, "_processors", lambda: 2)
    with new_stores.made_ahead(places) as is_being_made:
        assert is_being_made
    assert Path(places.tracking_uri.removeprefix("sqlite:///")).is_file()
    assert not made_by(places, monkeypatch)
    with new_stores.made_ahead(places) as is_being_made:
        assert not is_being_made


def test_the_only_processor_makes_the_database_itself(places, monkeypatch):
    monkeypatch.setattr(new_stores, "_processors", lambda: 1)
    with new_stores.made_ahead(places) as is_being_made:
        assert not is_being_made
    assert made_by(places, monkeypatch)


def test_what_keeps_the_other_process_from_it_is_told_by_this_one(places, monkeypatch, capfd):
    monkeypatch.setattr(new_stores, "_processors", lambda: 2)
    one = replace(places, study_url=places.tracking_uri)
    with new_stores.made_ahead(one) as is_being_made:
        assert is_being_made
    with pytest.raises(UsageError, match="cannot share one database"):
        connection.open_client(one)
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def seen(monkeypatch):
    """The draft's address as MLflow's client is given it."""
    addresses = []
    make = new_database.MlflowClient

    def client(tracking_uri, registry_uri):
        addresses.append(tracking_uri)
        return make(tracking_uri=tracking_uri, registry_uri=registry_uri)

    monkeypatch.setattr(new_database, "MlflowClient", client)
    return addresses


def tables(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return sorted(name for (name,) in found)


def test_a_new_database_is_what_mlflow_makes_itself(tmp_path):
    new_database.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/theirs.db")
    make_database(tmp_path / "ours.db")
    assert tables(tmp_path / "ours.db") == tables(tmp_path / "theirs.db")
    assert len(tables(tmp_path / "ours.db")) > 20


def test_nothing_of_a_database_shows_before_it_is_whole(tmp_path, monkeypatch, seen):
    def breaks(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:4096])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_database.shutil, "copyfile", breaks)
    with pytest.raises(OSError, match="No space left"):
        make_database(tmp_path / "mlflow.db")
    assert list(tmp_path.iterdir()) == []
    assert not Path(seen[0].removeprefix("sqlite:///")).exists()


def test_only_the_draft_is_written_without_waiting_for_the_disk(tmp_path):
    from sqlalchemy import create_engine, text

    def synchronous(file: Path) -> int:
        engine = create_engine(f"sqlite:///{file}")
        with engine.connect() as connection:
            return connection.execute(text("PRAGMA synchronous")).scalar_one()

    draft, other = tmp_path / "draft.db", tmp_path / "other.db"
    draft.touch()
    with new_database._unsynced(draft):
        assert (synchronous(draft), synchronous(other)) == (0, 2)
    assert synchronous(draft) == 2
