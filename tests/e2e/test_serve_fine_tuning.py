"""`embedsweep serve --fine-tuning`, and what it refuses before anything is loaded."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from openai import OpenAI

from tests.e2e.projects import BASE, PATIENCE, Project

ROWS = [("apple", "fruit"), ("banana", "fruit"), ("car", "vehicle"), ("bus", "vehicle")]
FILE = "\n".join(
    json.dumps({"text": text, "metadata": {"label": label}}) for text, label in ROWS
).encode()

REFUSED = [
    ("nothing", [], "nothing to serve"),
    ("base model without jobs", ["docs", "--base-model", BASE], "add --fine-tuning"),
    # There is no champion either; what costs nothing to find out is told first.
    ("unknown base model", ["docs", "--fine-tuning", "--base-model", "./none-such"], "none-such"),
]


@pytest.mark.parametrize(
    ("words", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_it_is_refused_before_anything_is_loaded(
    words: list[str], told: str, tmp_path: Path
) -> None:
    ended = Project(tmp_path).run("serve", *words, "--port", "0", code=2)
    assert told in ended.err
    assert "Fix: " in ended.err
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


def tuned(client: OpenAI) -> str:
    """The model of a job on the rows, once it is there."""
    file = client.files.create(file=("train.jsonl", io.BytesIO(FILE)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id, seed=1)
    deadline = time.monotonic() + PATIENCE
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, job
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    return job.fine_tuned_model


def gap(client: OpenAI, model: str) -> float:
    """How much nearer the fruit are to each other than to the vehicles."""
    reply = client.embeddings.create(model=model, input=[text for text, _ in ROWS])
    apple, banana, car, bus = (np.array(row.embedding) for row in reply.data)
    return float(apple @ banana + car @ bus - apple @ car - banana @ bus)


@pytest.mark.slow
def test_a_file_becomes_a_job_becomes_a_model_that_embeds(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with project.served("--fine-tuning") as client:
        model = tuned(client)
        assert {BASE, model} <= {row.id for row in client.models.list()}
        before, after = gap(client, BASE), gap(client, model)
    assert before < after
    # The model outlives the server.
    with project.served("--fine-tuning") as client:
        assert gap(client, model) == pytest.approx(after, abs=1e-5)


@pytest.mark.slow
def test_a_key_keeps_others_out(tmp_path: Path) -> None:
    project = Project(tmp_path, EMBEDSWEEP_API_KEYS="right")
    with project.served("--fine-tuning", key="right") as client:
        assert [row.id for row in client.models.list()] == [BASE]
        stranger = client.with_options(api_key="wrong")
        with pytest.raises(Exception, match="401"):
            stranger.models.list()
