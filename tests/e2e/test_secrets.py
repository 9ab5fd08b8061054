"""Keys are nowhere but in the environment: in no file, no output and no command line."""

from __future__ import annotations

import base64
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest

from tests.e2e.projects import PAIRS, Ended, Project, ended_of, submitted, trials_by_arm, until
from tests.integration.misbehaving_provider import Misbehaving

pytestmark = pytest.mark.slow

KEYS = {
    "OPENAI_API_KEY": "sk-proj-canary-1c9e61f0b7a24d",
    "EMBEDSWEEP_PROVIDER_KEY": "url-canary-77d0a6c2e85f41",
    "TEAM_API_KEY": "team-canary-e3b9f8a15c6d02",
}
NAME = "named-canary-5a0d4be9c71f38"
"""The control: put on purpose where a key must not be, it is found by the same search."""

EXPERIMENT = f"""
name: {NAME}
data: {{train: pairs.jsonl, split: {{valid: 0.25, test: 0.25, seed: 7}}}}
objective: ndcg@10
search:
  trials: 3
  arms:
    - name: team
      backend: adapter
      base_model: small
      base_url: http://127.0.0.1:PORT/v1
      api_key_env: TEAM_API_KEY
      epochs: 2
      learning_rate: 1.0e-3
      batch_size: 8
    - name: url
      backend: hosted
      base_model: small
      base_url: http://localhost:PORT/v1
      epochs: 2
      learning_rate_multiplier: 1.0
      batch_size: 8
    - name: named
      backend: hosted
      base_model: small
      base_url: http://127.1:PORT/v1
      api_key_env: OPENAI_API_KEY
      epochs: 2
      learning_rate_multiplier: 2.0
      batch_size: 8
"""
LOOPBACK = """
    - name: own
      backend: hosted
      base_model: all-MiniLM-L6-v2
      provider: loopback
      epochs: 1
      learning_rate_multiplier: 1.0
      batch_size: 8
"""


@pytest.fixture
def provider() -> Iterator[Misbehaving]:
    with closing(Misbehaving()) as process:
        process.tell(keys=list(KEYS.values()), statuses=["succeeded"])
        yield process


@pytest.fixture
def project(tmp_path: Path, provider: Misbehaving) -> Project:
    project = Project(tmp_path, **KEYS).with_stores()
    project.write_rows("pairs.jsonl", PAIRS)
    write(project, EXPERIMENT, provider)
    return project


def write(project: Project, text: str, provider: Misbehaving) -> None:
    port = provider.root.rpartition(":")[2]
    (project.folder / "secret.yaml").write_text(text.replace("PORT", port))


def forms(secret: str) -> Iterator[bytes]:
    """The secret as it is, and as it would read in Base64 at each place it may begin."""
    yield secret.encode()
    for before in range(3):
        coded = base64.b64encode(b"-" * before + secret.encode())
        yield coded[4 : len(coded) // 4 * 4 - 4]


def holders(folder: Path, secret: str) -> list[str]:
    """The files in whose content or name the secret is."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [
        path.relative_to(folder).as_posix()
        for path in files
        if secret in path.name or any(form in path.read_bytes() for form in forms(secret))
    ]


def spread(project: Project, ended: Sequence[Ended]) -> dict[str, list[str]]:
    """By the variable of a key, where it is found in the stores and in what was said."""
    return {variable: found(project, ended, key) for variable, key in KEYS.items()}


def found(project: Project, ended: Sequence[Ended], secret: str) -> list[str]:
    said = [text for one in ended for text in (one.out, one.err)]
    return holders(project.home, secret) + [text for text in said if secret in text]


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


NOWHERE: dict[str, list[str]] = {variable: [] for variable in KEYS}


def watched(project: Project, *words: str) -> tuple[Ended, list[bytes]]:
    """The command, and the command lines of all processes whenever it said something."""
    process = project.start("sweep", "secret.yaml", *words)
    assert process.stderr is not None
    lines, seen = [], set[bytes]()
    for line in process.stderr:
        lines.append(line)
        seen.update(command_lines())
    ended = ended_of(process)
    return Ended(ended.code, ended.out, "".join(lines)), list(seen)


def test_a_sweep_at_providers_leaves_their_keys_nowhere(
    project: Project, provider: Misbehaving
) -> None:
    ended, seen = watched(project, "--json")
    assert ended.code == 0, ended.err
    assert {"team", "url", "named"} == set(trials_by_arm(ended.document))
    assert spread(project, [ended]) == NOWHERE
    assert [line for line in seen if any(key.encode() in line for key in KEYS.values())] == []
    # The controls: what is told on purpose is found in the same files, outputs and processes.
    places = found(project, [ended], NAME)
    assert {"mlflow.db", "study.db"} <= set(places)
    assert ended.out in places
    assert any(place.startswith("artifacts/") for place in places)
    assert any(b"embedsweep\0sweep\0secret.yaml" in line for line in seen)


def test_a_refused_key_that_is_echoed_is_not_spread(
    project: Project, provider: Misbehaving
) -> None:
    provider.tell(keys=["another"])
    ended = ended_of(project.start("sweep", "secret.yaml", "--debug"))
    assert ended.code == 4
    assert "Incorrect API key provided: ***" in ended.err
    assert "Traceback" in ended.err
    assert spread(project, [ended]) == NOWHERE


def test_a_key_in_the_words_of_a_job_that_failed_is_not_spread(
    project: Project, provider: Misbehaving
) -> None:
    write(project, EXPERIMENT + LOOPBACK, provider)
    key = KEYS["OPENAI_API_KEY"]
    project.environment |= dict.fromkeys(KEYS, key)
    error = {"code": key, "message": f"your key {key} has no credit", "param": key}
    provider.tell(statuses=["running", key, "failed"], error=error)
    ended = ended_of(project.start("sweep", "secret.yaml", "--json", "--trials", "4"))
    assert ended.code == 0, ended.err
    states = {trial["arm"]: trial["state"] for trial in ended.document["trials"]}
    assert states == {"team": "completed", "url": "failed", "named": "failed", "own": "completed"}
    assert "your key *** has no credit" in ended.out
    # The loopback service has a key of its own.
    assert (project.home / "loopback" / "key").is_file()
    assert spread(project, [ended]) == NOWHERE


def test_a_crash_report_has_no_key(project: Project, provider: Misbehaving) -> None:
    provider.tell(statuses=["running"])
    project.environment["PYTHONFAULTHANDLER"] = "1"
    process: Popen[str] = project.start("sweep", "secret.yaml", "--debug")
    # A core is a picture of the memory; whoever has cores written has the keys written with them.
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    until(lambda: submitted(project))
    process.send_signal(signal.SIGABRT)
    crash = ended_of(process)
    assert crash.code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in crash.err
    assert spread(project, [crash]) == NOWHERE
    provider.tell(statuses=["succeeded"])
    again = project.run("sweep", "secret.yaml", "--json")
    assert len(trials_by_arm(again.document)) == 3
    assert spread(project, [again]) == NOWHERE
