"""Embeddings over the OpenAI API: batches, bad replies, waits and the tokens they cost."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import openai
import pytest

from embedsweep.backends.hosted.backend import open_hosted
from embedsweep.backends.hosted.embedder import HostedEmbedder, HostedModel, RequestLimits
from embedsweep.backends.hosted.identity import base_digest
from embedsweep.backends.hosted.provider import Provider, open_client
from embedsweep.backends.model_file import MODEL_FILE, kind_of, write_model_file
from embedsweep.core.bill import Bill, Price
from embedsweep.core.errors import DataError, Refusal, StoreError
from embedsweep.core.recipe import Base
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from tests.integration.hosted_parts import PROVIDER, Desk, fast_clock
from tests.integration.misbehaving_provider import KEY, WIDTH, vector

TEXTS = [f"text number {number}" for number in range(8)]


def embedder(provider, slept=None, key=KEY, meter=None, model=None, read_seconds=20.0):
    client = open_client(provider.url, key, read_seconds)
    return HostedEmbedder(
        Provider("hosted", client, fast_clock(slept)),
        model or HostedModel("small"),
        meter,
        RequestLimits(texts=4),
    )


def expected(texts=TEXTS):
    vectors = np.array([vector("small", text) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_come_in_the_order_of_the_texts_and_of_unit_length(provider):
    vectors = embedder(provider).embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(), atol=1e-6)
    assert provider.times_asked("POST", "/embeddings") == 2


def test_a_reply_in_another_order_is_sorted(provider):
    provider.tell(embeddings="reversed", batch=2)
    np.testing.assert_allclose(embedder(provider).embed(TEXTS), expected(), atol=1e-6)


def test_the_stock_client_does_not_sort(provider):
    """The control."""
    provider.tell(embeddings="reversed")
    client = openai.OpenAI(api_key=KEY, base_url=provider.url)
    reply = client.embeddings.create(input=TEXTS, model="small", encoding_format="float")
    assert reply.data[0].embedding == vector("small", TEXTS[-1])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "batch 2, index 1: a vector with NaN or infinity"),
        ("infinite", "batch 2, index 1: a vector with NaN or infinity"),
        ("zero", "batch 2, index 1: a vector of zeros"),
        ("null", "batch 2, index 1: None is no vector"),
        ("nulls", "batch 2, index 1: the vector holds None, which is no number"),
        ("text", "batch 2, index 1: the vector holds '0.5', which is no number"),
        ("mixed", "batch 2, index 1: a vector of 3 numbers, expected 4"),
        ("wider", "batch 2, index 0: a vector of 5 numbers, expected 4"),
        ("short", "batch 2: 3 vectors for 4 texts"),
        ("empty", "batch 2: 0 vectors for 4 texts"),
        ("none", "batch 2: the reply holds no list of vectors"),
        ("unindexed", "batch 2, item 0: its index is None, expected each of 0 to 3 once"),
        ("twice", "batch 2, item 1: its index is 0, expected each of 0 to 3 once"),
        ("html", "batch 2: the reply is no JSON object but '<html>maintenance</html>'"),
    ],
)
def test_a_bad_reply_gives_no_vectors_at_all(provider, fault, message):
    provider.tell(embeddings=fault, batch=2)
    with pytest.raises(TrialFailure) as caught:
        embedder(provider).embed(TEXTS)
    assert (caught.value.kind, caught.value.message) == ("bad_embedding", message)


@pytest.mark.parametrize("fault", ["nan", "zero", "short", "empty", "mixed", "html"])
def test_the_stock_client_passes_bad_replies_on(provider, fault):
    """The control: nothing is raised, and what comes back is no set of vectors."""
    provider.tell(embeddings=fault)
    client = openai.OpenAI(api_key=KEY, base_url=provider.url, max_retries=0)
    reply = client.embeddings.create(input=TEXTS, model="small", encoding_format="float")
    rows = [item.embedding for item in getattr(reply, "data", None) or []]
    whole = len(rows) == len(TEXTS) and len({len(row) for row in rows}) == 1
    assert not (whole and np.isfinite(rows).all() and np.any(rows, axis=1).all())


def test_a_model_that_changed_its_dimension_is_not_taken(provider):
    known = HostedModel("small", dimension=WIDTH + 1)
    with pytest.raises(TrialFailure, match="a vector of 4 numbers, expected 5"):
        embedder(provider, model=known).embed(TEXTS)


def test_batches_are_full_by_count_or_by_size(provider):
    client = open_client(provider.url, KEY)
    limits = RequestLimits(texts=3, bytes=20)
    texts = ["aaaa", "bbbb", "cccc", "dddd", "e" * 30, "ffff", "é" * 10, "h"]
    HostedEmbedder(Provider("hosted", client), HostedModel("small"), None, limits).embed(texts)
    # aaaa bbbb cccc | dddd | eee… | ffff | ééé… | h: never more than 3 texts or 20 bytes.
    assert provider.times_asked("POST", "/embeddings") == 6


def test_an_empty_text_is_refused_before_anything_is_sent(provider):
    with pytest.raises(DataError, match="text 3 of 3 in what small is to embed: it is empty"):
        embedder(provider).embed(["a", "b", ""])
    assert provider.times_asked("POST", "/embeddings") == 0


def test_no_texts_give_no_rows_of_the_right_width(provider):
    assert embedder(provider).embed([]).shape == (0, WIDTH)


def test_roles_make_no_difference(provider):
    model = embedder(provider)
    assert model.effective_role(TextRole.QUERY) is TextRole.PLAIN
    first, second = (model.embed(["a"], role) for role in (TextRole.QUERY, TextRole.DOCUMENT))
    np.testing.assert_array_equal(first, second)
    assert model.dimension == WIDTH


@pytest.mark.parametrize(("status", "after"), [(429, 2), (429, 200), (503, 7)])
def test_retry_after_is_waited_for(provider, status, after):
    slept = []
    provider.tell(status=[status, after, "/embeddings", None], times=1)
    np.testing.assert_allclose(embedder(provider, slept).embed(TEXTS), expected(), atol=1e-6)
    assert slept == [after]


def test_the_stock_client_gives_up_on_a_long_retry_after(provider):
    """The control."""
    provider.tell(status=[429, 200, "/embeddings", None], times=1)
    client = openai.OpenAI(api_key=KEY, base_url=provider.url)
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(input=TEXTS, model="small")


def test_patience_ends(provider):
    slept = []
    provider.tell(status=[429, 601, "/embeddings", None])
    message = r"asked to wait 601 s; it is waited for 600 s at most"
    with pytest.raises(StoreError, match=message) as caught:
        embedder(provider, slept).embed(TEXTS)
    assert (caught.value.exit_code, slept) == (4, [])


def test_a_server_out_of_order_is_asked_again_ever_more_slowly(provider):
    slept = []
    provider.tell(status=[500, None, "/embeddings", None], times=4)
    embedder(provider, slept).embed(TEXTS)
    assert slept == [0.5, 1.0, 2.0, 4.0]


def test_spent_credit_is_told_at_once(provider):
    slept = []
    provider.tell(status=[429, 2, "/embeddings", "insufficient_quota"])
    with pytest.raises(StoreError, match=r"told to \(code insufficient_quota\)"):
        embedder(provider, slept).embed(TEXTS)
    assert slept == []


def test_a_provider_that_is_not_there_is_told(provider):
    slept = []
    client = open_client("http://127.0.0.1:9/v1", KEY)
    nobody = Provider("hosted", client, fast_clock(slept), patience=5.0)
    with pytest.raises(StoreError, match=r"no connection: .*tried 4 times"):
        HostedEmbedder(nobody, HostedModel("small")).embed(TEXTS)
    assert sum(slept) <= 5.0


def test_a_wrong_key_concerns_the_sweep_and_is_not_shown(provider):
    with pytest.raises(StoreError, match=r"Incorrect API key provided: \*\*\*") as caught:
        embedder(provider, key="sk-wrong-canary").embed(TEXTS)
    assert "sk-wrong" not in str(caught.value)


def test_tokens_are_counted_and_paid_as_those_of_the_base(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, prices={"base": Price(embedding=1e6)})
    tuned = HostedModel("ft:base", base_model="base")
    before = desk.meter.bill
    embedder(provider, meter=desk.meter, model=tuned).embed(["four", "seven77"])
    assert desk.meter.bill - before == Bill(embedded_tokens=11, cost=11.0)
    assert desk.book.spent("sweep") == 11.0
    assert [charge.model for charge in desk.book.entries("sweep")] == ["base"]


def test_the_request_that_would_exceed_the_cap_is_not_sent(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, cap=5.0, prices={"small": Price(embedding=1e6)})
    hungry = embedder(provider, meter=desk.meter)
    hungry.embed(["a", "b", "c"])
    with pytest.raises(Refusal, match=r"budget reached \(3.00 of 5.00\)") as caught:
        hungry.embed(["abcd" * 3])
    assert caught.value.exit_code == 5
    assert provider.times_asked("POST", "/embeddings") == 1
    hungry.embed(["ab"])
    assert desk.book.spent("sweep") == 5.0


def test_what_was_refused_costs_nothing(provider, tmp_path):
    desk = Desk(provider.url, tmp_path, prices={"small": Price(embedding=1e6)})
    provider.tell(status=[400, None, "/embeddings", None])
    with pytest.raises(TrialFailure, match="hosted refuses to embed texts with small") as caught:
        embedder(provider, meter=desk.meter).embed(TEXTS)
    assert caught.value.kind == "provider"
    assert desk.book.spent("sweep") == 0.0


def test_an_untuned_model_is_a_folder_that_opens(provider, tmp_path):
    desk = Desk(provider.url, tmp_path)
    base = Base("small", PROVIDER)
    desk.backend.untuned(base, tmp_path / "model")
    assert kind_of(tmp_path / "model") == "hosted"
    values = json.loads((tmp_path / "model" / MODEL_FILE).read_text())
    assert (values["model"], values["base_model"], values["dimension"]) == ("small", "small", 4)
    assert (values["provider"], values["job_id"]) == (PROVIDER, None)
    assert KEY not in json.dumps(values)
    assert provider.url not in json.dumps(values)
    np.testing.assert_array_equal(
        desk.backend.open(tmp_path / "model").embed(TEXTS), desk.backend.embedder(base).embed(TEXTS)
    )
    served = open_hosted(tmp_path / "model", lambda name: open_client(provider.url, KEY))
    assert served.embed(TEXTS).shape == (8, WIDTH)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    values = {
        "kind": "adapter",
        "base": {"model": "small", "provider": None, "dimensions": None},
        "base_digest": "0" * 64,
        "head": "linear",
        "width": None,
        "dimension": 4,
        "key_variable": None,
    }
    write_model_file(tmp_path, values)
    with pytest.raises(DataError, match="of a model of kind 'adapter', expected 'hosted'"):
        open_hosted(tmp_path, lambda name: open_client(None, KEY))


def test_a_models_identity_is_its_names():
    base = Base("small", "openai")
    digests = {
        base_digest(other)
        for other in (base, replace(base, dimensions=256), replace(base, model="large"))
    }
    assert len(digests) == 3
    assert base_digest(base) == base_digest(Base("small", "openai"))
    at = [base_digest(Base("small", url)) for url in ("http://a/v1", "http://a/v1/")]
    assert at[0] == at[1]
