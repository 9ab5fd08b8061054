"""Requests to the fine-tuning routes that cannot be met, and the error each one gets: never 500."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.fine_tuning_twins import BASE, ROOMY, Running, labelled, running
from tests.integration.serving_twins import Answer, call
from tests.integration.test_fine_tuning_files import BOUNDARY, form, send
from tests.integration.test_serving_bad_inputs import BODIES, INVALID_JSON, assert_is_error

JOBS = "/v1/fine_tuning/jobs"
INVALID, MISSING = "invalid_value", "missing_required_parameter"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    limits = replace(ROOMY, jobs_per_owner=1000, jobs=1000, epochs=20, batch_size=64)
    with running(tmp_path_factory.mktemp("service"), limits) as service:
        yield service


@pytest.fixture(scope="module")
def file_id(service) -> str:
    with service.client() as client:
        return service.upload(client, labelled())


def create(service: Running, body: Any, **headers: str) -> Answer:
    return call(service.port, "POST", JOBS, body, **headers)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_json_object(service, body):
    answer = create(service, body)
    assert answer.error == INVALID_JSON
    assert_is_error(answer)


def test_a_number_of_thousands_of_digits(service):
    assert create(service, b'{"seed": ' + b"9" * 5000 + b"}").error == INVALID_JSON


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def hyper(**values: Any) -> dict[str, Any]:
    return {"hyperparameters": values}


def method(**values: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": values}}}


H, M = "hyperparameters", "method.supervised.hyperparameters"
FIELDS = {
    "no model": ({"model": ...}, MISSING, "model"),
    "no file": ({"training_file": ...}, MISSING, "training_file"),
    "null model": ({"model": None}, INVALID, "model"),
    "number for model": ({"model": 5}, INVALID, "model"),
    "unknown model": ({"model": "gpt-4o-mini"}, "model_not_available", "model"),
    "long model": ({"model": "x" * 10**5}, "model_not_available", "model"),
    "half a pair for model": ({"model": "\ud800"}, INVALID, "model"),
    "unknown file": ({"training_file": "file-x"}, "file_not_found", "training_file"),
    "NUL for file": ({"training_file": "\0"}, "file_not_found", "training_file"),
    "list for file": ({"training_file": ["file-x"]}, INVALID, "training_file"),
    "unknown validation": ({"validation_file": "file-x"}, "file_not_found", "validation_file"),
    "empty suffix": ({"suffix": ""}, INVALID, "suffix"),
    "long suffix": ({"suffix": "x" * 65}, INVALID, "suffix"),
    "number for suffix": ({"suffix": 1}, INVALID, "suffix"),
    "negative seed": ({"seed": -1}, INVALID, "seed"),
    "huge seed": ({"seed": 2**31}, INVALID, "seed"),
    "fraction for seed": ({"seed": 1.5}, INVALID, "seed"),
    "true for seed": ({"seed": True}, INVALID, "seed"),
    "text for seed": ({"seed": "1"}, INVALID, "seed"),
    "list for metadata": ({"metadata": ["a"]}, INVALID, "metadata"),
    "number in metadata": ({"metadata": {"a": 1}}, INVALID, "metadata"),
    "17 pairs": ({"metadata": {str(n): "" for n in range(17)}}, INVALID, "metadata"),
    "long key": ({"metadata": {"k" * 65: ""}}, INVALID, "metadata"),
    "empty key": ({"metadata": {"": "v"}}, INVALID, "metadata"),
    "long value": ({"metadata": {"k": "v" * 513}}, INVALID, "metadata"),
    "half a pair in metadata": ({"metadata": {"k": "\udfff"}}, INVALID, "metadata"),
    "integrations": ({"integrations": [{"type": "wandb"}]}, INVALID, "integrations"),
    "list for hyperparameters": ({"hyperparameters": [1]}, INVALID, H),
    "deep hyperparameters": ({"hyperparameters": nested(500)}, INVALID, f"{H}.a"),
    "unknown hyperparameter": (hyper(n_epoch=3), INVALID, f"{H}.n_epoch"),
    "half a pair for a name": (hyper(**{"\ud800": 3}), INVALID, f"{H}.\\ud800"),
    "no epochs": (hyper(n_epochs=0), INVALID, f"{H}.n_epochs"),
    "too many epochs": (hyper(n_epochs=21), INVALID, f"{H}.n_epochs"),
    "huge epochs": (hyper(n_epochs=10**400), INVALID, f"{H}.n_epochs"),
    "half an epoch": (hyper(n_epochs=1.5), INVALID, f"{H}.n_epochs"),
    "true for epochs": (hyper(n_epochs=True), INVALID, f"{H}.n_epochs"),
    "text for epochs": (hyper(n_epochs="3"), INVALID, f"{H}.n_epochs"),
    "half a pair for epochs": (hyper(n_epochs="\ud800"), INVALID, f"{H}.n_epochs"),
    "object for epochs": (hyper(n_epochs={"a": 1}), INVALID, f"{H}.n_epochs"),
    "batch of one": (method(batch_size=1), INVALID, f"{M}.batch_size"),
    "huge batch": (method(batch_size=65), INVALID, f"{M}.batch_size"),
    "zero rate": (method(learning_rate_multiplier=0), INVALID, f"{M}.learning_rate_multiplier"),
    "negative rate": (hyper(learning_rate_multiplier=-1), INVALID, f"{H}.learning_rate_multiplier"),
    "huge rate": (hyper(learning_rate_multiplier=1e9), INVALID, f"{H}.learning_rate_multiplier"),
    "NaN rate": (
        hyper(learning_rate_multiplier=float("nan")),
        INVALID,
        f"{H}.learning_rate_multiplier",
    ),
    "infinite rate": (
        hyper(learning_rate_multiplier=float("inf")),
        INVALID,
        f"{H}.learning_rate_multiplier",
    ),
    "unknown loss": ({"loss": "hinge"}, INVALID, "loss"),
    "number for loss": ({"loss": 3}, INVALID, "loss"),
    "negative margin": ({"loss": "triplet", "margin": -0.1}, INVALID, "margin"),
    "margin out of reach": ({"loss": "triplet", "margin": 3}, INVALID, "margin"),
    "margin of another loss": ({"loss": "cosent", "margin": 0.3}, INVALID, "loss"),
    "scale of another loss": (hyper(loss="triplet", scale=20), INVALID, "loss"),
    "given twice": (hyper(n_epochs=3) | method(n_epochs=4), INVALID, f"{M}.n_epochs"),
    "text for method": ({"method": "supervised"}, INVALID, "method"),
    "no type of method": ({"method": {"supervised": {}}}, INVALID, "method.type"),
    "preference method": ({"method": {"type": "dpo", "dpo": {}}}, INVALID, "method.type"),
    "list for type": ({"method": {"type": []}}, INVALID, "method.type"),
    "list for supervised": (
        {"method": {"type": "supervised", "supervised": []}},
        INVALID,
        "method.supervised",
    ),
    "text for its hyperparameters": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": "auto"}}},
        INVALID,
        M,
    ),
}


@pytest.mark.parametrize(("fields", "code", "param"), FIELDS.values(), ids=FIELDS)
def test_a_field_of_a_job_that_will_not_do(service, file_id, fields, code, param):
    before = len(service.service.jobs.page("", None, 100, {}).items)
    body = {"model": BASE, "training_file": file_id} | fields
    answer = create(service, {name: value for name, value in body.items() if value is not ...})
    assert answer.error == (400, code, param)
    assert_is_error(answer)
    assert len(answer.body["error"]["message"]) < 1000
    assert len(service.service.jobs.page("", None, 100, {}).items) == before


GOOD = {
    "nothing more": {},
    "all null": dict.fromkeys(
        ("suffix", "seed", "metadata", "validation_file", "integrations", "method", H, "loss")
    ),
    "all auto": hyper(n_epochs="auto", batch_size="auto", learning_rate_multiplier="auto"),
    "an empty method": {"method": {"type": "supervised"}},
    "the bounds": hyper(n_epochs=1, batch_size=2, learning_rate_multiplier=10_000.0),
    "the same twice": hyper(n_epochs=1) | method(n_epochs=1),
    "a whole rate": method(learning_rate_multiplier=2, n_epochs=1),
    "the longest": {
        "suffix": "x" * 64,
        "seed": 2**31 - 1,
        "metadata": {f"{n:064}": "v" * 512 for n in range(16)},
    },
    "no integrations": {"integrations": []},
    "unknown fields": {"anything": [1, {"deep": None}]},
    "odd text": {"suffix": "\0 \u202e\U0001f600:/..", "metadata": {"\0": "\u202e"}},
}


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD)
def test_what_is_at_the_bounds_is_taken(service, file_id, fields):
    """The control."""
    answer = create(service, {"model": BASE, "training_file": file_id} | fields)
    assert answer.status == 200, answer.body
    ended = call(service.port, "POST", f"{JOBS}/{answer.body['id']}/cancel")
    assert ended.status in (200, 400)


UPLOADS = {
    "no purpose": (form(b"x"), MISSING, "purpose"),
    "another purpose": (form(b"x", ("purpose", "batch")), INVALID, "purpose"),
    "results": (form(b"x", ("purpose", "fine-tune-results")), INVALID, "purpose"),
    "broken UTF-8 for purpose": (
        form(b"x", ("purpose", "?")).replace(b"?", b"\xff\xfe"),
        INVALID,
        "purpose",
    ),
    "no file": (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune'
        f"\r\n--{BOUNDARY}--\r\n".encode(),
        MISSING,
        "file",
    ),
    "empty file": (form(b"", ("purpose", "fine-tune")), INVALID, "file"),
    "file in another field": (
        form(b"x", ("purpose", "fine-tune")).replace(b'name="file"', b'name="data"'),
        INVALID,
        "file",
    ),
    "no form": (b"{}", "invalid_multipart", None),
    "nothing": (b"", "invalid_multipart", None),
    "cut short": (form(b"x" * 100, ("purpose", "fine-tune"))[:-60], "invalid_multipart", None),
    "cut in a header": (form(b"x")[:40], "invalid_multipart", None),
    "many parts": (
        form(b"x", *((str(number), "v") for number in range(20))),
        "invalid_multipart",
        None,
    ),
    "long field": (form(b"x", ("purpose", "f" * 2000)), "invalid_multipart", None),
    "long header": (
        form(b"x", name="n" * 10_000),
        "invalid_multipart",
        None,
    ),
    "a short life": (
        form(
            b"x",
            ("purpose", "fine-tune"),
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", "3599"),
        ),
        INVALID,
        "expires_after[seconds]",
    ),
    "a long life": (
        form(
            b"x",
            ("purpose", "fine-tune"),
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", "9" * 5000),
        ),
        "invalid_multipart",
        None,
    ),
    "a life in words": (
        form(
            b"x",
            ("purpose", "fine-tune"),
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", "\u0663\u0666\u0660\u0660"),
        ),
        INVALID,
        "expires_after[seconds]",
    ),
    "a life without a beginning": (
        form(b"x", ("purpose", "fine-tune"), ("expires_after[seconds]", "3600")),
        INVALID,
        "expires_after[anchor]",
    ),
}


@pytest.mark.parametrize(("body", "code", "param"), UPLOADS.values(), ids=UPLOADS)
def test_an_upload_that_will_not_do(service, body, code, param):
    answer = send(service, body, "")
    assert answer.error == (400, code, param)
    assert_is_error(answer)
    assert list(service.service.disk.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 500}",
        "multipart/mixed; boundary=frontier",
        ";;",
        "",
    ],
)
def test_an_upload_of_another_kind(service, kind):
    body = form(b"x", ("purpose", "fine-tune"))
    answer = call(service.port, "POST", "/v1/files", body, Content_Type=kind)
    assert answer.error == (400, "invalid_multipart", None)
    good = f'MULTIPART/form-data; boundary="{BOUNDARY}"; charset=utf-8'
    assert call(service.port, "POST", "/v1/files", body, Content_Type=good).status == 200


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\a.jsonl", "a.jsonl"),
        ("/", "file"),
        ("", "file"),
        ("x" * 1000 + ".jsonl", "x" * 249 + ".jsonl"),
        ("\u00fc\U0001f600.jsonl", "\u00fc\U0001f600.jsonl"),
    ],
)
def test_a_file_may_be_called_anything_and_lies_under_its_id(service, name, stored):
    answer = send(service, form(b"x", ("purpose", "fine-tune"), name=name), "")
    assert (answer.status, answer.body["filename"]) == (200, stored)
    [path] = service.service.disk.files.glob(f"{answer.body['id']}*")
    assert path.suffix in ("", ".jsonl")


LISTS = ["/v1/files", JOBS, JOBS + "/{job}/events", JOBS + "/{job}/checkpoints"]
QUERIES = {
    "limit=0": "limit",
    "limit=-1": "limit",
    "limit=x": "limit",
    "limit=1.5": "limit",
    "limit=": "limit",
    "limit=%00": "limit",
    "limit=%D9%A3": "limit",
    "after=nobody": "after",
    "after=%00%ff": "after",
    f"after={'x' * 5000}": "after",
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", LISTS)
def test_a_page_that_cannot_be_had(service, file_id, path, query):
    job = create(service, {"model": BASE, "training_file": file_id}).body["id"]
    place = path.format(job=job)
    answer = call(service.port, "GET", f"{place}?{query}")
    assert answer.error == (400, INVALID, QUERIES[query])
    assert_is_error(answer)
    for fine in ("limit=1&unknown=1", "limit=99999999999999999999999999", "metadata[a]=b&after="):
        assert call(service.port, "GET", f"{place}?{fine}").status == 200
    assert call(service.port, "GET", "/v1/files?order=up").error == (400, INVALID, "order")


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PLACES = (
    "/v1/files",
    "/v1/files/",
    "/v1/files/%2e%2e",
    "/v1/files/%00",
    "/v1/files/file-x",
    "/v1/files/file-x/content",
    "/v1/files/file-x/more",
    JOBS,
    f"{JOBS}/",
    f"{JOBS}/ftjob-x",
    f"{JOBS}/%ff%00",
    f"{JOBS}/ftjob-x/cancel",
    f"{JOBS}/ftjob-x/pause",
    f"{JOBS}/ftjob-x/resume",
    f"{JOBS}/ftjob-x/events",
    f"{JOBS}/ftjob-x/checkpoints",
    f"{JOBS}/{'x' * 5000}",
    "/v1/models/ft:nobody",
    "/v1/models/%00",
    "/v1/models/",
)


@pytest.mark.parametrize("place", PLACES)
def test_no_method_on_any_place_breaks_the_server(service, place):
    for verb, body in itertools.product(METHODS, (None, b"", b"{}", b"\xff", b"[1]")):
        answer = call(service.port, verb, place, body)
        assert answer.status < 500, (verb, body)
        if answer.status != 200:
            assert_is_error(answer)
    assert call(service.port, "GET", "/healthz").status == 200


def test_an_error_inside_would_be_seen_as_one(service, monkeypatch):
    """The control: a route that breaks does answer 500."""

    def broken(*given: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(service.service.jobs, "get", broken)
    answer = call(service.port, "GET", f"{JOBS}/ftjob-x")
    assert answer.status == 500
    assert "a bug" not in json.dumps(answer.body)
