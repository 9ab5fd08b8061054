"""Where the stores are: the real environment over the file over the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import StoreLocations, load_environment
from embedsweep.core.errors import UsageError
from tests.conftest import ROOT

FILES = ROOT / "mlruns-config"


@pytest.fixture
def environment_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "config" / "some.env"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(file: Path | None, environ: dict[str, str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_environment(file, environ)
    assert caught.value.exit_code == 2
    return caught.value


def test_without_a_file_everything_lies_in_mlruns_of_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "mlruns"
    assert load_environment(None, {}) == StoreLocations(
        tracking_uri=f"sqlite:///{home}/mlflow.db",
        artifacts=f"{home}/artifacts",
        study_url=f"sqlite:///{home}/study.db",
        home=home,
    )
    assert not home.exists()


def test_the_local_file_says_the_same_wherever_the_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    defaults = load_environment(None, {})
    monkeypatch.chdir(tmp_path)
    assert load_environment(FILES / "local.env", {}) == defaults


def test_the_team_file_reads_and_takes_the_study_from_the_environment():
    url = "postgresql://embedsweep:hunter2@db.example.org:5432/studies"
    found = load_environment(FILES / "team.env", {"EMBEDSWEEP_STUDY_URL": url})
    assert found.tracking_uri.startswith("http://")
    assert found.artifacts == "mlflow-artifacts:/"
    assert found.study_url == url
    assert load_environment(FILES / "team.env", {}).study_url.startswith("sqlite:////")


def test_every_file_of_the_folder_reads():
    files = sorted(FILES.glob("*.env"))
    assert len(files) == 2
    for file in files:
        load_environment(file, {})


def test_relative_paths_start_at_the_files_folder(environment_file, tmp_path):
    file = environment_file(
        "# stores\n\n"
        "MLFLOW_TRACKING_URI = sqlite:///../db/mlflow.db?timeout=5  # a comment\n"
        "EMBEDSWEEP_ARTIFACTS='files'\n"
        "EMBEDSWEEP_STUDY_URL=sqlite:////var/study.db\n"
        'EMBEDSWEEP_HOME="../home"\n'
    )
    assert load_environment(file, {}) == StoreLocations(
        tracking_uri=f"sqlite:///{tmp_path}/db/mlflow.db?timeout=5",
        artifacts=f"{tmp_path}/config/files",
        study_url="sqlite:////var/study.db",
        home=tmp_path / "home",
    )


def test_the_real_environment_wins_and_starts_at_the_current_directory(
    environment_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = environment_file("EMBEDSWEEP_ARTIFACTS=a\nEMBEDSWEEP_STUDY_URL=sqlite:///a.db\n")
    environ = {
        "EMBEDSWEEP_ARTIFACTS": "b",
        "EMBEDSWEEP_STUDY_URL": "postgresql://me:hunter2@host/studies",
        "MLFLOW_TRACKING_URI": "",
    }
    found = load_environment(file, environ)
    assert found.artifacts == str(tmp_path / "b")
    assert found.study_url == "postgresql://me:hunter2@host/studies"
    assert found.tracking_uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    # The control: without it the file's values count.
    assert load_environment(file, {}).artifacts == str(tmp_path / "config" / "a")


def test_what_is_not_set_lies_in_the_home(environment_file, tmp_path):
    found = load_environment(environment_file("EMBEDSWEEP_HOME=store\n"), {})
    home = tmp_path / "config" / "store"
    assert found.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert found.artifacts == f"{home}/artifacts"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("EMBEDSWEEP_ARTIFCTS=x", ("EMBEDSWEEP_ARTIFCTS", "did you mean EMBEDSWEEP_ARTIFACTS?")),
        ("MLFLOW_TRACKING_URL=x", ("did you mean MLFLOW_TRACKING_URI?",)),
        ("AWS_REGION=x", ("not read from here", "set it in the environment")),
        ("EMBEDSWEEP_HOME", ("no KEY=VALUE",)),
        ("export EMBEDSWEEP_HOME=x", ("no KEY=VALUE",)),
        ("EMBEDSWEEP_HOME=", ("no value",)),
        ("EMBEDSWEEP_HOME= # later", ("no value",)),
        ("EMBEDSWEEP_HOME=a\x07b", ("cannot be printed",)),
        ("EMBEDSWEEP_HOME=http://host", ("expected a folder",)),
        ("EMBEDSWEEP_ARTIFACTS=${NOPE}/x", ("NOPE", "does not set")),
        ("MLFLOW_TRACKING_URI=localhost:5000", ("localhost:5000", "http://HOST:PORT")),
        ("MLFLOW_TRACKING_URI=./mlruns", ("./mlruns", "sqlite")),
        ("MLFLOW_TRACKING_URI=http://", ("names no host",)),
        ("MLFLOW_TRACKING_URI=file:///x", ("file:///x", "sqlite, postgresql, mysql")),
        ("EMBEDSWEEP_STUDY_URL=http://host/x", ("http://host/x", "sqlite, postgresql, mysql")),
        ("EMBEDSWEEP_STUDY_URL=postgresql:///x", ("names no host",)),
        ("EMBEDSWEEP_STUDY_URL=sqlite://", ("names no file",)),
        ("EMBEDSWEEP_STUDY_URL=sqlite:///:memory:", ("kept in memory is lost",)),
    ],
)
def test_bad_lines_are_refused_with_their_number(environment_file, line, words):
    file = environment_file(f"# first\n{line}\n")
    fault = refusal(file, {}).faults[0]
    assert (fault.where, fault.line) == (str(file), 2)
    assert all(word in str(fault) for word in words), str(fault)


def test_all_faults_are_told_at_once(environment_file):
    file = environment_file("A=1\nEMBEDSWEEP_HOME=a\nEMBEDSWEEP_HOME=b\nrubbish\n")
    error = refusal(file, {"MLFLOW_TRACKING_URI": "ftp://host"})
    assert [(fault.where, fault.line) for fault in error.faults] == [
        ("the environment", None),
        (str(file), 1),
        (str(file), 3),
        (str(file), 4),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql+psycopg2://me:hunter2@host:5432/db",
        "postgresql://me:hun/ter2@host/db",
        "postgresql://host/db?user=me&password=hunter2",
    ],
)
def test_a_password_in_the_file_is_refused_and_never_shown(environment_file, url):
    error = refusal(environment_file(f"EMBEDSWEEP_STUDY_URL={url}\n"), {})
    assert "set EMBEDSWEEP_STUDY_URL in the environment" in str(error)
    assert "***" in str(error)
    assert "ter2" not in str(error)


@pytest.mark.parametrize(
    "url", ["postgresql://me@host:5432/db", "postgresql://me:${SECRET}@host:5432/db"]
)
def test_a_url_without_a_password_may_stand_in_the_file(environment_file, url):
    file = environment_file(f"EMBEDSWEEP_STUDY_URL={url}\n")
    found = load_environment(file, {"SECRET": "hunter2"}).study_url
    assert found == url.replace("${SECRET}", "hunter2")


def test_a_bad_value_of_the_environment_is_shown_without_its_password():
    error = refusal(None, {"EMBEDSWEEP_STUDY_URL": "ftp://me:hunter2@host/x"})
    assert "ftp://me:***@host/x" in str(error)
    assert "hunter2" not in str(error)


def test_other_variables_of_the_environment_are_none_of_its_business():
    found = load_environment(None, {"EMBEDSWEEP_DATA": "x", "PATH": "/bin"})
    assert found == load_environment(None, {})


def test_a_byte_order_mark_is_no_part_of_the_first_key(environment_file, tmp_path):
    found = load_environment(environment_file("\ufeffEMBEDSWEEP_HOME=a\n"), {})
    assert found.home == tmp_path / "config" / "a"


def test_missing_files_are_named(tmp_path: Path):
    assert "no such file" in str(refusal(tmp_path / "absent.env", {}))
    assert "this is a folder" in str(refusal(tmp_path, {}))
