"""A small real world for the service: a registry in memory, an embedder that can be told apart,
and a server on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedsweep.core.errors import DataError, Refusal, StoreError
from embedsweep.core.ports import FloatArray, Version
from embedsweep.core.promotion import Decision
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import Trial
from embedsweep.serving.address import Address, listener_at
from embedsweep.serving.app import create_app
from embedsweep.serving.limits import Limits
from embedsweep.serving.run import DrainingServer, uvicorn_config
from embedsweep.serving.shelf import ModelShelf

NAME = "support-search"
DIMENSION = 4


class TellingEmbedder:
    """Its vectors tell the text's length, its bytes' sum and the version: mix-ups show.

    It gives NaN, zeros, or breaks, for a text that holds the given one.
    """

    def __init__(self, number: int, dimension: int = DIMENSION, **faults: str) -> None:
        self.number = number
        self.dimension = dimension
        self.faults = faults

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        rows = np.ones((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            # As tokenizers do, this refuses what is no text.
            encoded = text.encode()
            row[1:4] = len(text), sum(encoded) % 1009, self.number
            for fault, trigger in self.faults.items():
                if trigger in text:
                    row[:] = self._give(fault)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(norms > 0, norms, 1))

    def _give(self, fault: str) -> float:
        if fault == "break_on":
            raise RuntimeError("cannot embed with /models/secret.safetensors")
        return {"nan_on": float("nan"), "zero_on": 0.0}[fault]


@dataclass(frozen=True)
class Told:
    """What a vector tells."""

    length: int
    checksum: int
    number: int

    @classmethod
    def by(cls, vector: Sequence[float]) -> Told:
        return cls(*(round(value / vector[0]) for value in vector[1:4]))

    @classmethod
    def of(cls, text: str, number: int) -> Told:
        return cls(len(text), sum(text.encode()) % 1009, number)


def open_model(folder: Path) -> TellingEmbedder:
    return TellingEmbedder(**json.loads((folder / "model.json").read_text()))


@dataclass
class MemoryRegistry:
    """The registry port over dicts. A model is one file, its manifest digest that file's."""

    models: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    is_down: bool = False
    fetched: list[str] = field(default_factory=list)

    def add(self, name: str = NAME, **model: Any) -> Version:
        """Register a `TellingEmbedder`, whose number is the version's unless given."""
        number = len(self.versions.get(name, [])) + 1
        content = json.dumps({"number": number} | model).encode()
        reference = f"models:/m-{name}-{number}"
        self.models[reference] = content
        return self.register(name, f"run-{number}", f"print-{number}", reference)

    def crown_new(self, name: str = NAME, **model: Any) -> Version:
        version = self.add(name, **model)
        self.crown(version, self.aliases.get((name, "champion")))
        return version

    def register(self, name: str, run_id: str, fingerprint: str, reference: str) -> Version:
        digest = hashlib.sha256(self.models[reference]).hexdigest()
        number = len(self.versions.setdefault(name, [])) + 1
        version = Version(name, number, run_id, fingerprint, reference, digest)
        self.versions[name].append(version)
        return version

    def resolve(self, name: str, alias_or_number: str = "champion") -> Version | None:
        if self.is_down:
            raise StoreError("no answer", "the registry", "it is down", "start it")
        numbered = {str(version.number): version for version in self.versions.get(name, [])}
        number = self.aliases.get((name, alias_or_number), alias_or_number)
        return numbered.get(str(number))

    def publish(self, name: str, trial: Trial) -> Version:
        for version in self.versions.get(name, []):
            if version.run_id == trial.run_id:
                return version
        assert trial.model_reference is not None
        return self.register(name, trial.run_id, trial.fingerprint, trial.model_reference)

    def crown(self, version: Version, expected: int | None) -> None:
        now = self.aliases.get((version.name, "champion"))
        if now != expected:
            raise Refusal("conflict", version.name, f"champion is {now}, not {expected}", "look")
        if now is not None:
            self.aliases[version.name, "previous"] = now
        self.aliases[version.name, "champion"] = version.number

    def challenge(self, version: Version) -> None:
        self.aliases[version.name, "challenger"] = version.number

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def history(self, name: str) -> list[Decision]:
        return [decision for decision in self.decisions if decision.model == name]

    def names(self) -> list[str]:
        return sorted(self.versions)

    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        assert not list(folder.iterdir()), "the folder to fetch into must be empty"
        self.fetched.append(model_reference)
        content = self.models[model_reference]
        digest = hashlib.sha256(content).hexdigest()
        if manifest_digest not in (None, digest):
            raise DataError("altered file", "model.json", f"{digest} is not expected", "look")
        (folder / "model.json").write_bytes(content)
        return folder


def shelf_of(registry: MemoryRegistry, home: Path, name: str = NAME) -> ModelShelf:
    shelf = ModelShelf(registry, open_model, home)
    shelf.load(name)
    return shelf


@contextlib.contextmanager
def serving(
    shelf: ModelShelf,
    limits: Limits | None = None,
    api_keys: frozenset[str] = frozenset(),
    names: frozenset[str] = frozenset(),
    default_role: TextRole | None = None,
) -> Iterator[int]:
    """Serve the shelf from a thread while the context lasts; gives the port."""
    limits = limits or Limits()
    address = Address(port=0, names=names)
    with listener_at(address) as listener:
        port = listener.getsockname()[1]
        app = create_app(shelf, limits, api_keys, address.hosts(port), default_role=default_role)
        is_ready = threading.Event()
        server = DrainingServer(
            uvicorn_config(app, limits), app.state.gate, limits.drain_seconds, is_ready.set
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert is_ready.wait(10), "the server did not start"
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive(), "the server did not end"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> tuple[int, str | None, str | None]:
        return self.status, self.body["error"]["code"], self.body["error"]["param"]


def call(
    port: int,
    method: str,
    path: str,
    body: bytes | str | dict[str, Any] | Iterator[bytes] | None = None,
    **headers: str,
) -> Answer:
    """One request on a connection of its own; the reply's body is read as JSON.

    Headers are named with underscores; a dict is sent as JSON.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body = json.dumps(body)
    if body is not None and "Content-Type" not in sent:
        sent["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        lowered = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, lowered, json.loads(reply.read() or b"null"))
    finally:
        connection.close()


def embed(port: int, given: Any, model: str = NAME, **headers: str) -> Answer:
    return call(port, "POST", "/v1/embeddings", {"input": given, "model": model}, **headers)
