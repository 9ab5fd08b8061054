"""What clients get over HTTP is what the evaluation measured, in every role."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED
from embedsweep.core.canaries import CANARIES_FILE, canaries_of
from embedsweep.core.dataset import Benchmark, RetrievalTask, Split, TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.ports import Embedder, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, Loss
from embedsweep.core.report import Measure
from embedsweep.core.roles import Prompts, TextRole
from embedsweep.evaluation import evaluate
from embedsweep.serving import routes
from embedsweep.serving.shelf import ModelShelf
from embedsweep.wiring import model_at
from tests.integration.kept_models import DATA
from tests.integration.serving_twins import NAME, MemoryRegistry, call, serving

VERBS = ["open", "close", "copy"]
QUERIES = {f"q{n}": f"a file, how do I {verb} it: {verb}" for n, verb in enumerate(VERBS)}
DOCUMENTS = {f"d{n}": f"on the file object call {verb}" for n, verb in enumerate(VERBS)}
JUDGED = {f"q{n}": {f"d{n}": 1} for n in range(3)}
BENCHMARK = Benchmark("files", Split.VALID, retrieval=RetrievalTask(QUERIES, DOCUMENTS, JUDGED))
PROMPTS = Prompts(query="query: ", document="passage: ")
KINDS = ("minilm", "minilm with prompts", "decoder", "adapter")
WITH_ROLES = KINDS[1:]


def make_decoder(folder: Path) -> Path:
    """A tiny decoder with last-token pooling, whose queries carry an instruction."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    specials = ["<unk>", "<eos>", "<pad>"]
    texts = [*QUERIES.values(), *DOCUMENTS.values()]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(special_tokens=specials))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<pad>"
    )
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    shape |= {"initializer_range": 0.5}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        Qwen3Model(Qwen3Config(vocab_size=len(fast), pad_token_id=2, **shape)).save_pretrained(
            folder / "hf"
        )
    fast.save_pretrained(folder / "hf")
    model = SentenceTransformer(
        modules=[
            Transformer(str(folder / "hf"), max_seq_length=64),
            Pooling(32, pooling_mode="lasttoken"),
            Normalize(),
        ],
        prompts={"query": "Instruct: find the passage that answers\nQuery: "},
        device="cpu",
    )
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Each model as a trial keeps it, with its canaries next to it."""
    home = tmp_path_factory.mktemp("models")
    local = LocalBackend("cpu")
    heads = AdapterBackend(local.embedder, lambda base: "digest")
    recipe = AdapterRecipe(
        base_model=EMBEDDED,
        prompts=PROMPTS,
        head=Head.LINEAR,
        loss=Loss.SOFTMAX,
        epochs=2,
        learning_rate=1e-2,
        batch_size=4,
        seed=7,
    )
    found = {kind: home / kind.replace(" ", "-") for kind in KINDS}
    local.untuned(Base(EMBEDDED), found["minilm"])
    local.untuned(Base(EMBEDDED, prompts=PROMPTS), found["minilm with prompts"])
    local.untuned(Base(str(make_decoder(home))), found["decoder"])
    heads.train(recipe, TrainingSet(texts=DATA.texts), found["adapter"], TrainingListener())
    for folder in found.values():
        text = canaries_of(open_model(folder), BENCHMARK, hosted=False)
        (folder / CANARIES_FILE).write_text(text)
    return found


def open_model(folder: Path) -> Embedder:
    local = LocalBackend("cpu")
    if (folder / "embedsweep.json").exists():
        return AdapterBackend(local.embedder, lambda base: "digest").open(folder)
    return local.open(folder)


class FolderRegistry(MemoryRegistry):
    """Gives a folder instead of a copy of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.crown_new()

    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        (folder / CANARIES_FILE).write_bytes((self.folder / CANARIES_FILE).read_bytes())
        return self.folder


def shelf_of(folder: Path, home: Path) -> ModelShelf:
    shelf = ModelShelf(FolderRegistry(folder), open_model, home)
    shelf.load(NAME)
    return shelf


@pytest.fixture(scope="module", params=KINDS)
def served(request, folders, tmp_path_factory) -> Iterator[tuple[str, Embedder, int]]:
    """The kind, the model as the evaluation has it, and the port of its server."""
    folder = folders[request.param]
    with serving(shelf_of(folder, tmp_path_factory.mktemp("home"))) as port:
        yield request.param, open_model(folder), port


def client_of(port: int) -> openai.OpenAI:
    return openai.OpenAI(api_key="unused", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)


TEXTS = [*QUERIES.values(), *DOCUMENTS.values()]


def test_every_role_over_http_is_the_evaluation_s(served):
    kind, embedder, port = served
    cosines = {}
    with client_of(port) as client:
        for role in TextRole:
            expected = embedder.embed(TEXTS, role)
            reply = client.embeddings.create(
                model=NAME, input=TEXTS, extra_body={"input_type": role.value}
            )
            found = np.array([row.embedding for row in reply.data], dtype=np.float32)
            cosines[role.value] = float((found * expected).sum(axis=1).min())
            np.testing.assert_allclose(found, expected, atol=1e-6)
    sys.stdout.write(f"\n{kind}: smallest cosine over HTTP {min(cosines.values()):.9f}\n")
    assert min(cosines.values()) > 1 - 1e-6


def test_the_roles_of_a_model_with_prompts_differ(served):
    """The control of the one above: with the roles mixed up, it would fail."""
    kind, embedder, _ = served
    queries, plain = (embedder.embed(TEXTS, role) for role in (TextRole.QUERY, TextRole.PLAIN))
    cosine = float((queries * plain).sum(axis=1).min())
    assert cosine < 0.99 if kind in WITH_ROLES else cosine > 1 - 1e-6


@pytest.mark.parametrize(
    ("spelling", "role"),
    [
        ("query", TextRole.QUERY),
        ("search_query", TextRole.QUERY),
        ("document", TextRole.DOCUMENT),
        ("search_document", TextRole.DOCUMENT),
        ("passage", TextRole.DOCUMENT),
        ("plain", TextRole.PLAIN),
    ],
)
def test_a_suffix_of_the_model_id_and_every_spelling_do_the_same(served, spelling, role):
    _, embedder, port = served
    expected = embedder.embed(TEXTS, role)
    for model in (NAME, f"{NAME}/1", f"{NAME}@champion"):
        bodies = (
            {"model": f"{model}:{spelling}", "input": TEXTS},
            {"model": model, "input": TEXTS, "input_type": spelling},
            {"model": f"{model}:{spelling}", "input": TEXTS, "input_type": spelling},
        )
        for body in bodies:
            answer = call(port, "POST", "/v1/embeddings", body)
            assert answer.status == 200, answer.body
            found = [row["embedding"] for row in answer.body["data"]]
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_request_without_a_role_is_rejected_only_where_roles_differ(served):
    kind, embedder, port = served
    answer = call(port, "POST", "/v1/embeddings", {"model": NAME, "input": TEXTS})
    if kind in WITH_ROLES:
        assert answer.error == (400, "missing_required_parameter", "input_type")
        message = answer.body["error"]["message"]
        assert '"input_type": "query"' in message
        assert '":query"' in message
        # The advice works as it is written.
        for body in ({"input_type": "query", "model": NAME}, {"model": f"{NAME}:query"}):
            assert call(port, "POST", "/v1/embeddings", {"input": "a", **body}).status == 200
        return
    found = [row["embedding"] for row in answer.body["data"]]
    np.testing.assert_allclose(found, embedder.embed(TEXTS), atol=1e-6)


def test_an_unknown_role_and_two_roles_are_rejected(served):
    _, _, port = served
    body = {"model": NAME, "input": "a", "input_type": "question"}
    answer = call(port, "POST", "/v1/embeddings", body)
    assert answer.error == (400, "invalid_value", "input_type")
    assert "query, document, plain" in answer.body["error"]["message"]
    body = {"model": f"{NAME}:query", "input": "a", "input_type": "passage"}
    answer = call(port, "POST", "/v1/embeddings", body)
    assert answer.error == (400, "conflicting_roles", "input_type")
    assert call(port, "POST", "/v1/embeddings", {**body, "model": f"{NAME}:what"}).status == 404


def test_the_list_of_models_shows_the_roles(served):
    kind, _, port = served
    expected = {
        "minilm": None,
        "minilm with prompts": ["query", "document"],
        "decoder": ["query"],
        "adapter": ["query", "document"],
    }[kind]
    listed = call(port, "GET", "/v1/models").body["data"]
    alone = call(port, "GET", f"/v1/models/{NAME}").body
    assert {json.dumps(card.get("roles")) for card in (*listed, alone)} == {json.dumps(expected)}
    assert "default_role" not in alone


def test_a_default_role_is_for_clients_that_name_none(folders, tmp_path):
    embedder = open_model(folders["minilm with prompts"])
    shelf = shelf_of(folders["minilm with prompts"], tmp_path)
    with serving(shelf, default_role=TextRole.DOCUMENT) as port:
        card = call(port, "GET", f"/v1/models/{NAME}").body
        assert (card["roles"], card["default_role"]) == (["query", "document"], "document")
        for role, body in (
            (TextRole.DOCUMENT, {"model": NAME}),
            (TextRole.QUERY, {"model": NAME, "input_type": "query"}),
            (TextRole.QUERY, {"model": f"{NAME}:query"}),
        ):
            answer = call(port, "POST", "/v1/embeddings", {**body, "input": TEXTS})
            found = [row["embedding"] for row in answer.body["data"]]
            np.testing.assert_allclose(found, embedder.embed(TEXTS, role), atol=1e-6)


@pytest.mark.parametrize("kind", WITH_ROLES)
def test_a_server_that_forgets_the_role_does_not_start(kind, folders, tmp_path, monkeypatch):
    """The control of the check at start-up: the prompt removed on the HTTP path, and there only."""
    forgetful = lambda *given: TextRole.PLAIN  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(routes, "role_of", forgetful)
        with pytest.raises(DataError, match="not those of the model that was measured"):
            shelf_of(folders[kind], tmp_path / "broken")
    assert shelf_of(folders[kind], tmp_path / "whole").find(NAME) is not None


def test_a_model_whose_prompt_was_removed_is_not_served(folders, tmp_path):
    """The other control: the files changed instead of the server."""
    folder = tmp_path / "model"
    local = LocalBackend("cpu")
    local.untuned(Base(EMBEDDED, prompts=dataclasses.replace(PROMPTS, query="")), folder)
    canaries = folders["minilm with prompts"] / CANARIES_FILE
    (folder / CANARIES_FILE).write_bytes(canaries.read_bytes())
    with pytest.raises(DataError, match="not those of the model that was measured"):
        shelf_of(folder, tmp_path / "home")


def test_tokens_of_a_prompt_are_counted(served):
    kind, _, port = served
    counts = [
        call(port, "POST", "/v1/embeddings", {"model": f"{NAME}:{role}", "input": "a b"}).body[
            "usage"
        ]["prompt_tokens"]
        for role in ("plain", "query")
    ]
    assert counts[0] < counts[1] if kind in WITH_ROLES else counts[0] == counts[1]


def test_the_measures_over_http_are_those_of_the_model(served):
    kind, embedder, port = served
    objective = Measure("ndcg", 10)
    here = evaluate(embedder, BENCHMARK, objective).metrics()
    with model_at(None, f"http://127.0.0.1:{port}/v1", NAME) as remote:
        there = evaluate(remote, BENCHMARK, objective).metrics()
        assert remote.effective_role(TextRole.QUERY) is (
            TextRole.QUERY if kind in WITH_ROLES else TextRole.PLAIN
        )
    assert there == pytest.approx(here, abs=1e-6)
