"""Who is let near the fine-tuning routes, and which bodies are streamed."""

from __future__ import annotations

import itertools

from tests.integration.fine_tuning_twins import running
from tests.integration.serving_twins import MemoryRegistry, call, serving, shelf_of
from tests.integration.test_fine_tuning_bad_inputs import JOBS, PLACES
from tests.integration.test_fine_tuning_files import BOUNDARY, form, send


def test_who_may_not_come_near_gets_nowhere(tmp_path):
    with running(tmp_path / "locked", api_keys=frozenset({"a-key"})) as locked:
        for place, verb in itertools.product(PLACES, ("GET", "POST", "DELETE")):
            assert call(locked.port, verb, place, b"{}").error[0] == 401
            elsewhere = call(locked.port, verb, place, b"{}", Host="attacker.example")
            assert elsewhere.error[1] == "host_not_allowed"
        page = {"Origin": "http://attacker.example", "Authorization": "Bearer a-key"}
        for place, verb in itertools.product(PLACES, ("POST", "DELETE")):
            answer = call(locked.port, verb, place, b"{}", **page)
            assert answer.error == (403, "origin_not_allowed", None)
    with running(tmp_path / "open") as service:
        assert call(service.port, "GET", JOBS).status == 200, "the control"


def test_only_files_are_streamed_and_only_where_there_is_fine_tuning(tmp_path):
    large = b"x" * (9 * 2**20)
    body, small = (form(content, ("purpose", "fine-tune")) for content in (large, b"x"))
    with running(tmp_path / "service") as service:
        answer = call(service.port, "POST", JOBS, large)
        assert answer.error == (413, "body_too_large", None)
        answer = send(service, body, "")
        assert (answer.status, answer.body["bytes"]) == (200, len(large))
    registry = MemoryRegistry()
    registry.crown_new()
    with serving(shelf_of(registry, tmp_path / "champions")) as port:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        assert call(port, "POST", "/v1/files", body, Content_Type=kind).status == 413
        answer = call(port, "POST", "/v1/files", small, Content_Type=kind)
        assert answer.error == (404, "unknown_url", None)
        assert call(port, "GET", JOBS).error == (404, "unknown_url", None)
