"""Wherever a worker is killed, the next one ends with one job and one result."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from embedsweep.core.jobs import JobState
from embedsweep.stores.job_book import SqlJobBook
from tests.integration.forks import run_to_the_end
from tests.integration.hosted_mortal import KEY, POINTS, work
from tests.integration.hosted_parts import RECIPE
from tests.integration.misbehaving_provider import vector


def results(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def expected_score():
    vectors = np.array([vector(f"ft:{RECIPE.base_model}", text) for text in ("apple", "pear")])
    first, second = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return pytest.approx(float(first @ second), abs=1e-6)


def await_jobs(provider, number):
    """What was sent before its sender died is carried out a moment later."""
    end = time.monotonic() + 10
    while len(provider.jobs()) < number and time.monotonic() < end:
        pass


@pytest.mark.parametrize("is_another", [False, True], ids=["same worker", "another worker"])
@pytest.mark.parametrize("point", POINTS)
def test_one_job_and_one_result_after_a_kill(provider, tmp_path, point, is_another):
    assert run_to_the_end(work, provider.url, str(tmp_path), point, False)
    created = 0 if point in POINTS[:2] else 1
    await_jobs(provider, created)
    assert len(provider.jobs()) == created

    assert not run_to_the_end(work, provider.url, str(tmp_path), None, is_another)
    assert len(provider.jobs()) == 1
    assert results(tmp_path) == [{"job": "ftjob-1", "score": expected_score()}]
    book = SqlJobBook(f"sqlite:///{tmp_path / 'jobs.db'}")
    assert [(record.state, record.attempt) for record in book.jobs()] == [(JobState.SUCCEEDED, 1)]
    book.close()


@pytest.mark.parametrize("point", POINTS[3:7])
def test_without_the_book_the_job_is_paid_for_twice(provider, tmp_path, point):
    """The control: the worker after the kill knows nothing of the first one's intent."""
    assert run_to_the_end(work, provider.url, str(tmp_path), point, False)
    (tmp_path / "jobs.db").unlink()
    assert not run_to_the_end(work, provider.url, str(tmp_path), None, False)
    assert len(provider.jobs()) == 2


def test_two_kills_in_a_row_still_make_one_job(provider, tmp_path):
    for point in ("after POST sent", "after id stored", "during poll", "after tell"):
        assert run_to_the_end(work, provider.url, str(tmp_path), point, False)
    assert not run_to_the_end(work, provider.url, str(tmp_path), None, True)
    assert len(provider.jobs()) == 1
    assert len(results(tmp_path)) == 1
    book = SqlJobBook(f"sqlite:///{tmp_path / 'jobs.db'}")
    assert book.find(KEY).job_id == "ftjob-1"
    book.close()
