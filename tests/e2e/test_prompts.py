"""A model with prompts, from the experiment file to the answers of its server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from openai import OpenAI
from sentence_transformers import SentenceTransformer

from tests.e2e.projects import PAIRS, Project, said

EXPERIMENT = """
name: asked
data: {train: pairs.jsonl, split: {valid: 0.3, test: 0.3, seed: 3}}
objective: mrr@10
search:
  trials: 1
  arms:
    - backend: local
      base_model: all-MiniLM-L6-v2
      prompts: {query: "query: ", document: "passage: "}
      epochs: 1
      batch_size: 8
"""
PROMPTS = {"query": "query: ", "document": "passage: ", "plain": ""}
TEXTS = ["how do I open a file?", "file.open() will open it"]
# So hard that no metric is 1: equal metrics then say something.
ABBREVIATED = [
    {
        "anchor": row["anchor"],
        "positive": ".".join(word[:2] for word in row["positive"].split(".", 1)),
    }
    for row in PAIRS
]


@dataclass
class Swept:
    """A project whose champion has prompts, and its leaderboard."""

    project: Project
    document: Mapping[str, Any]

    @property
    def champion(self) -> Mapping[str, Any]:
        """The trial or baseline that is champion."""
        rows = [*self.document["baselines"], *self.document["trials"]]
        (version,) = self.project.call("history", "asked", "--json").document
        promoted = version["verdict"] == "promoted"
        role = "trial" if promoted else "baseline"
        return next(row for row in rows if row["role"] == role and row["model_reference"])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    # In bfloat16, scores of a sweep differ from those of its server by its rounding.
    project = Project(tmp_path_factory.mktemp("prompts"), EMBEDSWEEP_PRECISION="float32")
    project.with_stores().write_rows("pairs.jsonl", ABBREVIATED)
    (project.folder / "asked.yaml").write_text(EXPERIMENT)
    return Swept(project, project.call("sweep", "asked.yaml", "--json").document)


def test_the_prompts_are_recorded_with_every_run(swept: Swept) -> None:
    runs = swept.project.runs("asked", "tags.`embedsweep.arm` = 'local'")
    (params,) = [run.data.params for run in runs]
    assert params["prompts"] == "{'query': 'query: ', 'document': 'passage: '}"
    for row in (*swept.document["trials"], swept.document["baselines"][0]):
        assert row["recipe"]["prompts"] == {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def server(swept: Swept) -> Iterator[tuple[str, OpenAI]]:
    """What the server said at its start, and a client of it."""
    process = swept.project.start("serve", "asked", "--port", "0", "--default-role", "query")
    line = said(process, lambda line: line.startswith("serving "))
    with OpenAI(base_url=line.split(" on ")[1].strip(), api_key="none", max_retries=0) as client:
        yield line, client
    process.terminate()
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 0


def test_the_server_s_metrics_are_the_recorded_ones(
    swept: Swept, server: tuple[str, OpenAI]
) -> None:
    words = ("evaluate", "--url", str(server[1].base_url), "--model", "asked", "asked.yaml")
    found = swept.project.call(*words, "--json").document
    assert found["metrics"] == pytest.approx(swept.champion["metrics"], abs=1e-6)
    assert found["roles"] == ["query", "document"]
    assert 0 < found["metrics"]["valid/mrr_at_10"] < 1


def test_the_server_says_its_roles_and_its_default(server: tuple[str, OpenAI]) -> None:
    line, client = server
    assert "roles query, document, default role query" in line
    vectors = [
        client.embeddings.create(model=model, input=TEXTS, encoding_format="float").data
        for model in ("asked", "asked:query", "asked:document")
    ]
    default, query, document = ([row.embedding for row in rows] for rows in vectors)
    assert default == query != document


def test_embed_wants_a_role_and_its_advice_works(swept: Swept) -> None:
    project = swept.project
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", ["how do I open a file?\n"])
        ended = project.call("embed", "models:/asked@champion", code=2)
        assert "embeds queries and documents differently" in ended.err
        assert "Fix: add --role query or --role document" in ended.err
        vectors = {
            role: json.loads(project.call("embed", "models:/asked@champion", "--role", role).out)
            for role in PROMPTS
        }
    assert not np.allclose(vectors["query"], vectors["document"], atol=1e-3)


def test_the_export_has_the_prompts_and_gives_the_same_embeddings(
    swept: Swept, server: tuple[str, OpenAI]
) -> None:
    folder = swept.project.folder / "exported"
    swept.project.call("export", "asked", str(folder))
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert config["prompts"] == PROMPTS
    plain = SentenceTransformer(str(folder), device="cpu")
    for role, encode in (("query", plain.encode_query), ("document", plain.encode_document)):
        reply = server[1].embeddings.create(
            model=f"asked:{role}", input=TEXTS, encoding_format="float"
        )
        served = [row.embedding for row in reply.data]
        np.testing.assert_allclose(encode(TEXTS), served, atol=1e-6)


def test_mlflow_s_loader_takes_roles(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{swept.project.home}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(swept.project.folder)
    model = mlflow.pyfunc.load_model("models:/asked@champion")
    with pytest.raises(Exception, match=r'pass params=\{"input_type": "query"\}'):
        model.predict(TEXTS)
    with pytest.raises(Exception, match="expected one of query, document, plain"):
        model.predict(TEXTS, params={"input_type": "question"})
    query, document = (
        model.predict(TEXTS, params={"input_type": role}) for role in ("query", "passage")
    )
    assert query.shape == (2, 384)
    assert query.dtype == np.float32
    assert not np.allclose(query, document, atol=1e-3)
    column = pd.DataFrame({"text": TEXTS, "input_type": ["query", "document"]})
    mixed = model.predict(column)
    np.testing.assert_allclose(mixed, [query[0], document[1]], atol=1e-6)
    body = model.predict({"input": TEXTS, "input_type": "search_query", "model": "asked"})
    answered = [row["embedding"] for row in body["data"]]
    np.testing.assert_allclose(answered, query, atol=1e-6)
    assert body["usage"]["prompt_tokens"] > 0


def test_prompts_make_another_recipe(swept: Swept, tmp_path: Path) -> None:
    """The control: the same arm without prompts is neither reused nor scored the same."""
    text = (swept.project.folder / "asked.yaml").read_text()
    bare = "\n".join(line for line in text.splitlines() if "prompts" not in line)
    (swept.project.folder / "asked.yaml").write_text(bare)
    try:
        document = swept.project.call(
            "sweep", "asked.yaml", "--json", "--new-study", "--no-promote"
        ).document
    finally:
        (swept.project.folder / "asked.yaml").write_text(text)
    (with_prompts,), (without,) = swept.document["trials"], document["trials"]
    assert without["reused_from"] is None
    assert without["fingerprint"] != with_prompts["fingerprint"]
    assert "prompts" not in without["recipe"]
    assert document["baselines"][0]["metrics"] != swept.document["baselines"][0]["metrics"]
