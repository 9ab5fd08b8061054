"""`embedsweep jobs`, and what Ctrl-C does to a job that runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from embedsweep.core.jobs import Account, Charge
from embedsweep.stores.job_book import SqlJobBook
from tests.e2e.projects import PAIRS, Ended, Project, ended_of, submitted, until
from tests.integration.misbehaving_provider import KEY, Misbehaving

INTERRUPTED = 130
NAME = "4c5e0f8e21a94bb0"
EXPERIMENT = """
name: remote
data: {train: pairs.jsonl, split: {valid: 0.25, test: 0.25, seed: 7}}
objective: ndcg@10
search:
  trials: 1
  arms:
    - {backend: hosted, base_model: small, base_url: URL, epochs: 2, learning_rate_multiplier: 1.0}
"""


@pytest.fixture
def known(tmp_path: Path) -> Project:
    """A project with one job, submitted and at work as far as is known."""
    project = Project(tmp_path)
    project.home.mkdir()
    with closing(SqlJobBook(f"sqlite:///{project.home}/study.db")) as book:
        charge = Charge(f"job {NAME}", "http://provider.example/v1", "small", 1234, 0.25)
        claim = book.claim(NAME, charge, Account("remote", 1.0))
        book.submitted(claim.record, "ftjob-1", "file-1")
    return project


def only_job(project: Project) -> dict[str, object]:
    (job,) = project.run("jobs", "--json").document
    return dict(job)


def test_a_job_is_given_up_only_on_a_persons_word(known: Project) -> None:
    refused = known.run("jobs", "resubmit", NAME, code=2)
    assert "would bill it a second time" in refused.err
    assert "--yes" in refused.err
    expected = {"key": NAME, "attempt": 1, "state": "submitted", "sweep": "remote"}
    expected |= {"tokens": 1234, "cost": 0.25, "job_id": "ftjob-1", "file_id": "file-1"}
    assert only_job(known).items() >= expected.items()
    given_up = known.run("jobs", "resubmit", NAME, "--yes")
    assert given_up.out == f"job {NAME} was submitted; a sweep may submit it again\n"
    head, row = known.run("jobs").out.splitlines()
    assert head.split()[:4] == ["key", "attempt", "state", "tokens"]
    assert row.split() == [
        *(NAME, "1", "cancelled", "1234", "0.25"),
        *("ftjob-1", "remote", "http://provider.example/v1"),
    ]


@pytest.mark.slow
def test_an_unknown_job_is_refused(tmp_path: Path) -> None:
    unknown = Project(tmp_path).run("jobs", "resubmit", NAME, "--yes", code=2)
    assert f"error: job {NAME} in the job book: it has no such job" in unknown.err


WRONG = [
    ("a key too few", ["resubmit", "--yes"], "resubmit takes the key"),
    ("a key too many", ["list", NAME], "list takes none"),
    ("an unknown action", ["cancel", NAME], "cancel"),
    ("a word too many", ["resubmit", NAME, "again", "--yes"], "again"),
]


@pytest.mark.parametrize(
    ("words", "told"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_wrong_words_are_refused(words: list[str], told: str, tmp_path: Path) -> None:
    ended = Project(tmp_path).run("jobs", *words, code=2)
    assert ended.err.startswith("error: ")
    assert told in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def provider() -> Iterator[Misbehaving]:
    """Its jobs run until it is told that they have succeeded."""
    with closing(Misbehaving()) as process:
        process.tell(statuses=["running"])
        yield process


@pytest.fixture
def remote(tmp_path: Path, provider: Misbehaving) -> Project:
    project = Project(tmp_path, EMBEDSWEEP_PROVIDER_KEY=KEY).with_stores()
    project.write_rows("pairs.jsonl", PAIRS)
    (tmp_path / "remote.yaml").write_text(EXPERIMENT.replace("URL", provider.url))
    return project


def interrupted(project: Project, *options: str) -> Ended:
    """A sweep that got Ctrl-C while its job ran."""
    process = project.start("sweep", "remote.yaml", "--json", *options)
    until(lambda: submitted(project))
    process.send_signal(signal.SIGINT)
    ended = ended_of(process)
    assert ended.code == INTERRUPTED
    assert "Traceback" not in ended.err
    return ended


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_at_work_and_the_next_sweep_adopts_it(
    remote: Project, provider: Misbehaving
) -> None:
    ended = interrupted(remote)
    assert "job ftjob-1 goes on" in ended.err
    assert [job["status"] for job in provider.jobs()] == ["running"]
    assert only_job(remote)["state"] == "submitted"
    provider.tell(statuses=["succeeded"])
    (trial,) = remote.run("sweep", "remote.yaml", "--json").document["trials"]
    assert trial["state"] == "completed"
    assert provider.times_asked("POST", "/fine_tuning/jobs") == 1
    assert provider.times_asked("POST", "/fine_tuning/jobs/ftjob-1/cancel") == 0
    adopted = only_job(remote)
    assert (adopted["job_id"], adopted["state"], adopted["attempt"]) == ("ftjob-1", "succeeded", 1)


@pytest.mark.slow
def test_ctrl_c_cancels_the_job_where_that_is_wanted(
    remote: Project, provider: Misbehaving
) -> None:
    ended = interrupted(remote, "--cancel-on-interrupt")
    assert "job ftjob-1 was cancelled" in ended.err
    assert [job["status"] for job in provider.jobs()] == ["cancelled"]
    assert only_job(remote)["state"] == "cancelled"


@pytest.mark.slow
def test_a_job_that_was_given_up_is_submitted_again(remote: Project, provider: Misbehaving) -> None:
    interrupted(remote)
    name = str(only_job(remote)["key"])
    given_up = remote.run("jobs", "resubmit", name, "--yes", "--json").document
    assert (given_up["key"], given_up["state"]) == (name, "submitted")
    provider.tell(statuses=["succeeded"])
    remote.run("sweep", "remote.yaml", "--no-promote")
    assert provider.times_asked("POST", "/fine_tuning/jobs") == 2
    states = [
        (job["key"], job["attempt"], job["job_id"], job["state"])
        for job in remote.run("jobs", "--json").document
    ]
    assert states == [(name, 1, "ftjob-1", "cancelled"), (name, 2, "ftjob-2", "succeeded")]
