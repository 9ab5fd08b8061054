"""Providers and keys that will not do, through the command line; no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.small_project import outcome, write

AT_A_PROVIDER = """
name: mine
data: {train: train.jsonl, split: {valid: 0.3, test: 0.3}}
objective: accuracy
search:
  trials: 2
  arms:
    - backend: adapter
      base_model: text-embedding-3-small
      loss: [softmax]
      provider: openai
"""


def at(url: str) -> str:
    return AT_A_PROVIDER.replace("provider: openai", f"base_url: {url}")


EXPERIMENTS = [
    ("24 no scheme", at("gpu-machine/v1"), 2, ["mine.yaml:11", "base_url", "http://"]),
    ("24 a file", at("file:///etc/passwd"), 2, ["mine.yaml:11", "base_url", "http://"]),
    ("24 metadata", at("http://169.254.169.254/"), 2, ["mine.yaml:11", "cloud's own address"]),
    ("24 metadata as a number", at("http://2852039166/"), 2, ["cloud's own address"]),
    ("24 a password", at("http://me:hunter2@host/v1"), 2, ["mine.yaml:11", "api_key_env"]),
    ("24 a key", at("http://host/v1?key=hunter2"), 2, ["mine.yaml:11", "query"]),
    (
        "14 a key in the file",
        AT_A_PROVIDER + "      api_key_env: sk-hunter2\n",
        2,
        ["mine.yaml:12", "api_key_env", "put the key into it"],
    ),
    (
        "jobs at OpenAI",
        AT_A_PROVIDER.replace("adapter", "hosted").replace("[softmax]", "softmax"),
        2,
        ["arm hosted", "accepts no embedding model", "backend: adapter"],
    ),
]


@pytest.mark.parametrize(
    ("content", "code", "said"), [case[1:] for case in EXPERIMENTS], ids=[c[0] for c in EXPERIMENTS]
)
def test_providers_of_an_experiment(
    content: str, code: int, said: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "mine.yaml", content)
    assert outcome("check", "mine.yaml") == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "hunter2" not in error
    for word in said:
        assert word in error


KEYS = [
    ("14 no key", None, "it is not set"),
    ("14 empty", "", "it is not set"),
    ("14 line break", "sk-hunter2\n", "a line break"),
    ("14 two lines", "sk-hunter2\nsk-hunter2", "a line break"),
    ("14 blank", " sk-hunter2", "a blank"),
    ("14 not ASCII", "sk-hunter2-\u00e9", "no key has"),
    ("14 quotes of a word processor", "\u201csk-hunter2\u201d", "no key has"),
]


@pytest.mark.parametrize(("key", "said"), [case[1:] for case in KEYS], ids=[c[0] for c in KEYS])
@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "TEAM_API_KEY"])
def test_14_a_key_that_will_not_do_is_told_by_its_variable_and_never_shown(
    variable: str,
    key: str | None,
    said: str,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "TEAM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if key is not None:
        monkeypatch.setenv(variable, key)
    named = AT_A_PROVIDER
    if variable != "OPENAI_API_KEY":
        named += f"      api_key_env: {variable}\n"
    write(project / "mine.yaml", named)
    assert outcome("check", "mine.yaml") == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: no key" if not key else "error: the key")
    assert variable in told.err
    assert said in told.err
    assert "hunter2" not in told.out + told.err
    # The control: with a key that could be one the experiment is sound, and nobody is asked.
    monkeypatch.setenv(variable, "sk-could-be-one")
    assert outcome("check", "mine.yaml") == 0
    assert "sk-could-be-one" not in "".join(capsys.readouterr())


def test_14_a_server_may_want_no_key_but_none_that_will_not_do(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project / "mine.yaml", at("http://127.0.0.1:9/v1"))
    assert outcome("check", "mine.yaml") == 0
    monkeypatch.setenv("EMBEDSWEEP_PROVIDER_KEY", "sk-hunter2\n")
    assert outcome("check", "mine.yaml") == 2
    error = capsys.readouterr().err
    assert "EMBEDSWEEP_PROVIDER_KEY" in error
    assert "hunter2" not in error


@pytest.mark.parametrize(
    "words",
    [
        ["check", "mine.yaml", "--api-key", "sk-hunter2"],
        ["check", "mine.yaml", "--api-key=sk-hunter2"],
        ["--api-key", "sk-hunter2", "check", "mine.yaml"],
        ["--api-key=sk-hunter2"],
        ["sweep", "mine.yaml", "--api_key=sk-hunter2"],
        ["sweep", "mine.yaml", "--openai-api-key=sk-hunter2"],
        ["sweep", "mine.yaml", "--apikey", "sk-hunter2"],
        ["sweep", "mine.yaml", "--API-KEY=sk-hunter2"],
        ["sweep", "mine.yaml", "-key=sk-hunter2"],
        ["serve", "emb", "--api-keys", "sk-hunter2,sk-other"],
        ["serve", "emb", "--auth-token=sk-hunter2"],
        ["doctor", "--password=sk-hunter2"],
    ],
    ids=" ".join,
)
def test_15_a_key_on_the_command_line_is_refused_and_not_shown(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(*words) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: -")
    assert "pass the key by the environment" in told.err
    assert "hunter2" not in told.out + told.err


def test_15_other_unknown_options_are_shown_as_they_stand(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: what is not known to hold a key is shown, value and all."""
    assert outcome("check", "mine.yaml", "--frobnicate=hunter2") == 2
    assert "hunter2" in capsys.readouterr().err
