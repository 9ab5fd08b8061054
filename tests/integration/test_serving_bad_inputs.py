"""Requests that must not be answered with vectors, and the error each one gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from embedsweep.serving.limits import Limits
from tests.integration.serving_twins import (
    DIMENSION,
    NAME,
    Answer,
    MemoryRegistry,
    TellingEmbedder,
    call,
    embed,
    serving,
    shelf_of,
)

LIMITS = Limits(characters=1000)
INVALID_JSON = (400, "invalid_json", None)


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    registry = MemoryRegistry()
    registry.crown_new()
    with serving(shelf_of(registry, tmp_path_factory.mktemp("home")), LIMITS) as port:
        yield port


def post(port: int, body: Any, **headers: str) -> Answer:
    return call(port, "POST", "/v1/embeddings", body, **headers)


def assert_is_error(answer: Answer) -> None:
    """OpenAI's error body and nothing else, under a request id."""
    assert list(answer.body) == ["error"]
    assert sorted(answer.body["error"]) == ["code", "message", "param", "type"]
    assert answer.body["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    for secret in ("Traceback", "/tmp", "site-packages", "embedsweep/"):
        assert secret not in json.dumps(answer.body)


BODIES = {
    "no JSON": b"input=hello&model=x",
    "empty": b"",
    "cut short": b'{"input": "hel',
    "a list": b"[]",
    "a string": b'"hello"',
    "null": b"null",
    "lists 10 000 deep": b"[" * 10_000,
    "balanced lists 100 000 deep": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects 10 000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "broken UTF-8": b'{"input": "\xff\xfe\xfd", "model": "m"}',
    "gzip": bytes.fromhex("1f8b08000000000000ff"),
    "two documents": b'{"input": "x"}{"input": "y"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_json_object(port, body):
    answer = post(port, body)
    assert answer.error == INVALID_JSON
    assert_is_error(answer)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ";;", ""],
)
def test_json_under_another_content_type(port, content_type):
    body = {"input": "x", "model": NAME}
    assert post(port, body, Content_Type="application/json; charset=utf-8").status == 200
    answer = post(port, body, Content_Type=content_type)
    assert answer.error == INVALID_JSON
    assert_is_error(answer)


INVALID = "invalid_value"
MISSING = "missing_required_parameter"
FIELDS = {
    "no input": ({"model": NAME}, MISSING, "input"),
    "nothing": ({}, MISSING, "input"),
    "no model": ({"input": "x"}, MISSING, "model"),
    "null input": ({"input": None}, INVALID, "input"),
    "object for input": ({"input": {}}, INVALID, "input"),
    "number for input": ({"input": 5}, INVALID, "input"),
    "true for input": ({"input": True}, INVALID, "input"),
    "empty text": ({"input": ""}, INVALID, "input"),
    "no texts": ({"input": []}, INVALID, "input"),
    "empty text in a list": ({"input": ["a", ""]}, INVALID, "input[1]"),
    "number in a list": ({"input": ["a", 5]}, INVALID, "input[1]"),
    "null in a list": ({"input": [None]}, INVALID, "input[0]"),
    "list in a list": ({"input": ["a", ["b"]]}, INVALID, "input[1]"),
    "tokens": ({"input": [1, 2]}, INVALID, "input"),
    "lists of tokens": ({"input": [[1], [2]]}, INVALID, "input"),
    "tokens out of range": ({"input": [[-1, 10**30]]}, INVALID, "input"),
    "half a surrogate pair": ({"input": "\ud800"}, INVALID, "input"),
    "half a pair in a list": ({"input": ["a", "b", "\udfff"]}, INVALID, "input[2]"),
    "half a pair for model": ({"model": "\ud800"}, INVALID, "model"),
    "null model": ({"model": None}, INVALID, "model"),
    "number for model": ({"model": 7}, INVALID, "model"),
    "empty model": ({"model": ""}, INVALID, "model"),
    "zero dimensions": ({"dimensions": 0}, INVALID, "dimensions"),
    "negative dimensions": ({"dimensions": -1}, INVALID, "dimensions"),
    "dimensions as text": ({"dimensions": "4"}, INVALID, "dimensions"),
    "dimensions as a fraction": ({"dimensions": 4.0}, INVALID, "dimensions"),
    "dimensions true": ({"dimensions": True}, INVALID, "dimensions"),
    "more dimensions": ({"dimensions": DIMENSION + 1}, INVALID, "dimensions"),
    "fewer dimensions": ({"dimensions": DIMENSION - 1}, INVALID, "dimensions"),
    "unknown encoding": ({"encoding_format": "xml"}, INVALID, "encoding_format"),
    "number for encoding": ({"encoding_format": 1}, INVALID, "encoding_format"),
    "too many texts": ({"input": ["x"] * 2049}, "too_many_inputs", "input"),
    "too long a text": ({"input": "x" * 1001}, "text_too_long", "input"),
    "a million characters": ({"input": "x" * 10**6}, "text_too_long", "input"),
    "too long a text in a list": ({"input": ["a", "x" * 1001]}, "text_too_long", "input[1]"),
}
WHOLE = {"no input", "nothing", "no model"}


@pytest.mark.parametrize(("fields", "code", "param"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_will_not_do(port, fields, code, param, request):
    name = request.node.callspec.id
    body = fields if name in WHOLE else {"input": "x", "model": NAME} | fields
    answer = post(port, body)
    assert answer.error == (400, code, param)
    assert answer.body["error"]["type"] == "invalid_request_error"
    assert_is_error(answer)


def test_what_the_error_says_names_what_would_do(port):
    def message(**fields: Any) -> str:
        return post(port, {"input": "x", "model": NAME} | fields).body["error"]["message"]

    assert "token input not supported" in message(input=[1, 2])
    assert f"vectors of {DIMENSION} numbers" in message(dimensions=8)
    assert "'float' or 'base64'" in message(encoding_format="xml")
    assert "at most 2048" in message(input=["x"] * 2049)
    assert "at most 1000" in message(input="x" * 1001)


def test_the_bounds_themselves_are_taken(port):
    assert len(embed(port, ["x"] * 2048).body["data"]) == 2048
    assert embed(port, "x" * 1000).status == 200


@pytest.mark.parametrize(
    "text",
    ["\u0000", "a\u0000b", "\u202eabc", "\u05d0", "\U0001f600", "\ufffe", " ", "\n", "e\u0301"],
)
@pytest.mark.parametrize("is_escaped", [True, False])
def test_odd_texts_are_texts(port, text, is_escaped):
    body = json.dumps({"input": text, "model": NAME}, ensure_ascii=is_escaped).encode()
    assert post(port, body).status == 200


def test_null_is_taken_for_silence_where_openai_has_a_default(port):
    body = {"input": "x", "model": NAME, "encoding_format": None, "dimensions": None, "user": None}
    assert post(port, body).status == 200


def test_without_the_check_half_a_pair_would_break_the_model():
    """The control: no embedder can read such a text."""
    with pytest.raises(UnicodeEncodeError):
        TellingEmbedder(1).embed(["\ud800"])


@pytest.mark.parametrize(
    "model",
    ["nobody", f"{NAME}/2", f"{NAME}/1/", f"{NAME}@previous", "../x", "x" * 10**5, "\u0000", "é"],
)
def test_a_model_that_is_not_served(port, model):
    answer = embed(port, "x", model=model)
    assert answer.error == (404, "model_not_found", "model")
    assert f"{NAME}@champion, {NAME}/1" in answer.body["error"]["message"]
    assert len(answer.body["error"]["message"]) < 500
    assert_is_error(answer)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v1/embeddings", (405, "method_not_allowed", None)),
        ("DELETE", "/v1/models/x", (405, "method_not_allowed", None)),
        ("OPTIONS", "/v1/embeddings", (405, "method_not_allowed", None)),
        ("BREW", "/v1/embeddings", (405, "method_not_allowed", None)),
        ("POST", "/v1/nope", (404, "unknown_url", None)),
        ("POST", "/v1/embeddings/", (404, "unknown_url", None)),
        ("POST", "/embeddings", (404, "unknown_url", None)),
        ("GET", "/", (404, "unknown_url", None)),
        ("GET", "//", (404, "unknown_url", None)),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", (404, "unknown_url", None)),
        ("GET", "/v1/%2e%2e/healthz", (404, "unknown_url", None)),
        ("GET", "/docs", (404, "unknown_url", None)),
        ("GET", "/openapi.json", (404, "unknown_url", None)),
        ("GET", "/" + "x" * 10_000, (404, "unknown_url", None)),
        ("GET", "/%00%ff", (404, "unknown_url", None)),
        ("GET", "/v1/models/nobody", (404, "model_not_found", "model")),
        ("GET", "/v1/models/%2e%2e", (404, "model_not_found", "model")),
    ],
)
def test_a_path_or_method_there_is_not(port, method, path, error):
    answer = call(port, method, path)
    assert answer.error == error
    assert_is_error(answer)


def test_a_wrong_method_is_told_the_right_one(port):
    assert call(port, "GET", "/v1/embeddings").headers["allow"] == "POST"
