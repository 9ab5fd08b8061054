"""The tutorial's data through a service that really trains, with the stock `openai` client."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import fmean

import numpy as np
import openai
import pytest

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.serving.fine_tuning.tuned_shelf import Offer
from tests.integration import real_trainer
from tests.integration.fine_tuning_twins import FRUIT, Running, labelled, running

BASE = "all-MiniLM-L6-v2"
DIMENSION = 384
FOUR = [("apple", "fruit"), ("banana", "fruit"), ("car", "vehicle"), ("bus", "vehicle")]


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    backend = LocalBackend("cpu")
    offer = Offer((BASE,), lambda name: backend.open(base_folder(name)), backend.open)
    folder = tmp_path_factory.mktemp("service")
    with running(folder, train=real_trainer.train, offer=offer) as service:
        yield service


@pytest.fixture
def client(service) -> Iterator[openai.OpenAI]:
    with service.client() as client:
        yield client


def vectors(client: openai.OpenAI, model: str, texts: list[str]) -> np.ndarray:
    reply = client.embeddings.create(model=model, input=texts)
    return np.array([row.embedding for row in reply.data])


def mean_cosine(found: np.ndarray, rows: list[tuple[str, str]], *, is_same: bool) -> float:
    """Of all pairs of texts whose labels are the same, or are not."""
    pairs = combinations(range(len(rows)), 2)
    chosen = [(i, j) for i, j in pairs if (rows[i][1] == rows[j][1]) is is_same]
    return fmean(float(found[i] @ found[j]) for i, j in chosen)


@pytest.mark.parametrize("rows", [FOUR, FRUIT], ids=["four rows", "six rows"])
def test_the_tutorials_data_gives_a_model_whose_labels_come_closer(service, client, rows):
    file_id = service.upload(client, labelled(rows))
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id, seed=1)
    ended = service.ended(client, job.id)
    assert ended.status == "succeeded", ended.error
    assert ended.hyperparameters.n_epochs == 3
    model = ended.fine_tuned_model
    texts = [text for text, _ in rows]
    before, after = vectors(client, BASE, texts), vectors(client, model, texts)
    assert before.shape == after.shape == (len(rows), DIMENSION)
    assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert not np.allclose(before, after, atol=1e-4)
    assert mean_cosine(after, rows, is_same=True) > mean_cosine(before, rows, is_same=True)
    assert mean_cosine(after, rows, is_same=False) < mean_cosine(before, rows, is_same=False)
    # The control: asking twice gives the same vectors, so that the difference is the training's.
    assert np.allclose(before, vectors(client, BASE, texts), atol=1e-5)


def test_checkpoints_metrics_and_tokens_are_real(service, client):
    training, validation = service.upload(client, labelled()), service.upload(client, labelled())
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=training,
        validation_file=validation,
        hyperparameters={"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 5},
        seed=1,
        extra_body={"loss": "batch_hard_triplet", "margin": 0.5},
    )
    ended = service.ended(client, job.id)
    assert ended.status == "succeeded", ended.error
    # Each text is one word between the two marks that the tokenizer sets.
    assert ended.trained_tokens == 3 * 3 * len(FRUIT)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [row.step_number for row in checkpoints] == [9, 6, 3]
    losses = [row.metrics.train_loss for row in checkpoints][::-1]
    assert losses[-1] < losses[0]
    assert all(0 < row.metrics.model_extra["valid_ndcg_at_10"] <= 1 for row in checkpoints)
    last = vectors(client, checkpoints[0].fine_tuned_model_checkpoint, ["apple"])
    first = vectors(client, checkpoints[-1].fine_tuned_model_checkpoint, ["apple"])
    model = vectors(client, ended.fine_tuned_model, ["apple"])
    assert np.allclose(last, model, atol=1e-6)
    assert not np.allclose(first, model, atol=1e-4)
    told = [event.data for event in client.fine_tuning.jobs.list_events(job.id)]
    assert [data["step"] for data in told if "total_steps" in data and "epoch" not in data][
        ::-1
    ] == [*range(1, 10)]
    assert {data["total_steps"] for data in told if "total_steps" in data} == {9}


def test_the_same_job_gives_the_same_model(service, client):
    file_id = service.upload(client, labelled(FOUR))
    found = []
    for seed in (7, 7, 8):
        job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id, seed=seed)
        ended = service.ended(client, job.id)
        found.append(vectors(client, ended.fine_tuned_model, ["apple", "bus"]))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2]), "the control: another seed"
