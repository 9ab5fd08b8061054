"""A key is in no message, no log of ours, no book and no model folder."""

from __future__ import annotations

import logging
import traceback

import pytest

from embedsweep.backends.hosted.provider import Provider, open_client
from embedsweep.core.errors import StoreError
from embedsweep.core.recipe import Base
from embedsweep.core.trial import TrialFailure
from tests.integration.hosted_parts import PROVIDER, RECIPE, Desk
from tests.integration.misbehaving_provider import KEY


def attempts(desk, provider):
    """Everything that talks to a provider and fails, with what it raised."""
    failing = (
        lambda: desk.train(),
        lambda: desk.backend.embedder(Base("small", PROVIDER)).embed(["a"]),
        lambda: desk.backend.untuned(Base("small", PROVIDER), desk.folder / "untuned"),
    )
    for action in failing:
        with pytest.raises((StoreError, TrialFailure)) as caught:
            action()
        yield caught.value


def shown(error):
    return "".join(traceback.format_exception(error)) + str(error.__dict__)


def holders(folder, key):
    """The files that hold the key."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if key.encode() in path.read_bytes()]


def test_a_provider_that_echoes_a_wrong_key_does_not_spread_it(provider, tmp_path, caplog):
    wrong = "sk-canary-that-is-wrong"
    desk = Desk(provider.url, tmp_path, key=wrong)
    with caplog.at_level(logging.DEBUG):
        errors = list(attempts(desk, provider))
    assert all("Incorrect API key provided: ***" in str(error) for error in errors)
    assert [shown(error) for error in errors if wrong in shown(error)] == []
    ours = [record for record in caplog.records if record.name.startswith("embedsweep")]
    assert [record.getMessage() for record in ours if wrong in record.getMessage()] == []
    assert holders(tmp_path, wrong) == []


def test_a_provider_that_echoes_the_key_in_its_replies_does_not_spread_it(
    provider, tmp_path, caplog
):
    desk = Desk(provider.url, tmp_path)
    error = {"code": KEY, "message": f"your key {KEY} has no credit", "param": KEY}
    provider.tell(statuses=["running", KEY, "failed"], error=error)
    with caplog.at_level(logging.DEBUG), pytest.raises(TrialFailure) as caught:
        desk.train()
    assert "your key *** has no credit" in caught.value.message
    assert KEY not in shown(caught.value)
    assert all(KEY not in line for line in desk.heard.lines)
    assert KEY not in str(desk.heard.facts)
    assert holders(tmp_path, KEY) == []


def test_a_garbled_reply_with_the_key_in_it_does_not_spread_it(provider, tmp_path):
    client = open_client(provider.url, KEY)
    shown_text = Provider("hosted", client).shown("x" * 495 + KEY)
    assert "canary" not in shown_text
    assert len(shown_text) <= 501


def test_a_whole_job_leaves_the_key_nowhere(provider, tmp_path, caplog):
    desk = Desk(provider.url, tmp_path)
    with caplog.at_level(logging.DEBUG):
        desk.train()
    assert holders(tmp_path, KEY) == []
    assert holders(tmp_path, RECIPE.base_model) != []
    ours = [record for record in caplog.records if record.name.startswith("embedsweep")]
    assert [record.getMessage() for record in ours if KEY in record.getMessage()] == []


def test_the_stock_error_does_hold_the_key(provider):
    """The control."""
    wrong = "sk-canary-that-is-wrong"
    with pytest.raises(Exception, match=wrong):
        open_client(provider.url, wrong).models.list()
