"""The stock `openai` client against the service."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests.integration.serving_twins import (
    DIMENSION,
    NAME,
    MemoryRegistry,
    TellingEmbedder,
    Told,
    serving,
    shelf_of,
)

TEXTS = [
    "a",
    "Wie storniere ich?",
    "\u0000",
    "\u05e9\u05dc\u05d5\u05dd \u202eabc",
    "\U0001f9ed",
    " ",
]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory) -> Iterator[str]:
    registry = MemoryRegistry()
    registry.crown_new()
    shelf = shelf_of(registry, tmp_path_factory.mktemp("home"))
    registry.crown_new(nan_on="nan", zero_on="zero", break_on="break")
    shelf.refresh()
    with serving(shelf) as port:
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def client(base_url) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="unused", base_url=base_url, max_retries=0) as client:
        yield client


def test_a_list_comes_back_in_order(client):
    reply = client.embeddings.create(model=NAME, input=TEXTS)
    assert reply.object == "list"
    assert [row.index for row in reply.data] == list(range(len(TEXTS)))
    assert {row.object for row in reply.data} == {"embedding"}
    told = [Told.by(row.embedding) for row in reply.data]
    assert told == [Told.of(text, 2) for text in TEXTS]
    assert told != [Told.of(text, 2) for text in reversed(TEXTS)]


def test_a_string_is_a_list_of_one(client):
    one = client.embeddings.create(model=NAME, input="hello")
    many = client.embeddings.create(model=NAME, input=["hello"])
    assert [row.embedding for row in one.data] == [row.embedding for row in many.data]


def test_float_base64_and_silence_give_the_very_same_numbers(client):
    expected = TellingEmbedder(2).embed(TEXTS)
    floats = client.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    silence = client.embeddings.create(model=NAME, input=TEXTS)
    packed = client.embeddings.create(model=NAME, input=TEXTS, encoding_format="base64")
    unpacked = [np.frombuffer(base64.b64decode(row.embedding), "<f4") for row in packed.data]
    for vectors in (
        [row.embedding for row in floats.data],
        [row.embedding for row in silence.data],
        unpacked,
    ):
        assert np.array_equal(np.array(vectors, dtype=np.float32), expected)


def test_replies_say_which_version_made_them(client):
    for model, number, resolved in (
        (NAME, 2, f"{NAME}@champion"),
        (f"{NAME}@champion", 2, f"{NAME}@champion"),
        (f"{NAME}/2", 2, f"{NAME}/2"),
        (f"{NAME}/1", 1, f"{NAME}/1"),
    ):
        raw = client.embeddings.with_raw_response.create(model=model, input="x")
        reply = raw.parse()
        assert raw.headers["x-model-version"] == str(number)
        assert raw.headers["x-request-id"].startswith("req_")
        assert reply.model == resolved
        assert Told.by(reply.data[0].embedding).number == number


def test_usage_counts_words_where_the_model_counts_no_tokens(client):
    usage = client.embeddings.create(model=NAME, input=["two words", "and three more"]).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (5, 5)


def test_dimensions_may_be_said_if_they_are_the_models(client):
    reply = client.embeddings.create(model=NAME, input="x", dimensions=DIMENSION)
    assert len(reply.data[0].embedding) == DIMENSION
    with pytest.raises(openai.BadRequestError, match=f"vectors of {DIMENSION} numbers") as caught:
        client.embeddings.create(model=NAME, input="x", dimensions=DIMENSION - 1)
    assert caught.value.param == "dimensions"


def test_user_and_unknown_fields_are_ignored(client):
    extra = {"truncate": True, "anything": [1, {"deep": None}]}
    reply = client.embeddings.create(model=NAME, input="x", user="someone", extra_body=extra)
    assert len(reply.data) == 1


def test_models_can_be_listed_and_looked_up(client):
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == [f"{NAME}@champion", f"{NAME}/2", f"{NAME}/1"]
    for model_id, model in listed.items():
        assert client.models.retrieve(model_id) == model
        assert model.object == "model"
        assert model.created > 1_700_000_000
    assert client.models.retrieve(NAME).version == 2
    assert client.models.retrieve(f"{NAME}/1").fingerprint == "print-1"


def test_an_old_pin_is_not_found_and_told_what_is_served(client):
    with pytest.raises(
        openai.NotFoundError, match=f"{NAME}@champion, {NAME}/2, {NAME}/1"
    ) as caught:
        client.embeddings.create(model=f"{NAME}/0", input="x")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.models.retrieve(f"{NAME}/0")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nan", "embedding_not_finite"),
        ("zero", "embedding_not_finite"),
        ("break", "internal_error"),
    ],
)
def test_a_model_that_fails_on_a_text_is_a_server_error_and_the_server_goes_on(client, text, code):
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model=NAME, input=["fine", text])
    assert caught.value.code == code
    assert caught.value.request_id.startswith("req_")
    for secret in ("Traceback", "/home", "safetensors", "RuntimeError"):
        assert secret not in caught.value.response.text
    # The control: the version before has no such fault.
    assert client.embeddings.create(model=f"{NAME}/1", input=["fine", text]).data
    assert client.embeddings.create(model=NAME, input="fine").data


def test_a_fault_that_would_come_again_is_not_retried(base_url):
    with (
        openai.OpenAI(api_key="unused", base_url=base_url, max_retries=2) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.embeddings.create(model=NAME, input="nan")
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_many_concurrent_clients_each_get_their_own(base_url):
    rng = np.random.default_rng(0)
    batches = [
        ["x" * int(length) for length in rng.integers(1, 400, size=rng.integers(1, 9))]
        for _ in range(60)
    ]

    async def story() -> list[list[Told]]:
        async with openai.AsyncOpenAI(api_key="unused", base_url=base_url) as client:
            replies = await asyncio.gather(
                *(client.embeddings.create(model=NAME, input=batch) for batch in batches)
            )
        return [[Told.by(row.embedding) for row in reply.data] for reply in replies]

    assert asyncio.run(story()) == [[Told.of(text, 2) for text in batch] for batch in batches]
