"""What a registered model carries, and that nothing else than it is ever opened or run."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from embedsweep import wiring
from embedsweep.core.canaries import CANARIES_FILE, check_canaries
from embedsweep.core.errors import DataError, UserError
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.serving.shelf import ModelShelf
from embedsweep.stores.manifest import MANIFEST_FILE, SENTENCE_TRANSFORMERS_FOLDER
from embedsweep.wiring.models import opener
from tests.integration.tiny_models import DATASET, NAME, Registered, make_registered

FLIPS = 200
INSIDE = SENTENCE_TRANSFORMERS_FOLDER
TEXTS = ["topic 1: ask", "topic 2: tell"]
REFERENCE = f"models:/{NAME}/1"


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    home = tmp_path_factory.mktemp("registered")
    return make_registered(home, tmp_path_factory.getbasetemp())


def test_a_model_carries_how_it_was_made_and_what_it_measured(registered: Registered) -> None:
    folder, trial = registered.files(), registered.trials[0]
    listed = {row["path"] for row in json.loads((folder / MANIFEST_FILE).read_text())}
    beside = {"recipe.json", "report.json", "provenance.json", CANARIES_FILE, "README.md"}
    assert beside < listed
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*listed, MANIFEST_FILE}

    def read(name: str) -> dict[str, object]:
        values: dict[str, object] = json.loads((folder / name).read_text())
        return values

    assert read("recipe.json") == recipe_as_dict(trial.recipe)
    whole = registered.stores.ledger.report(trial.run_id)
    report = read("report.json")
    assert report["means"] == whole.as_dict()["means"]
    assert "scores" not in report
    assert report["n"] == {str(measure): len(rows) for measure, rows in whole.scores.items()}
    origin = read("provenance.json")
    assert origin["sweep"] == {"run_id": registered.sweep.run_id, "digest": "e" * 64}
    assert origin["trial"]["run_id"] == trial.run_id
    assert origin["base_model"]["digest"] == "d" * 64
    assert origin["base_model"]["commit"] == "c" * 40
    splits = {name: told["sha256"] for name, told in origin["data"]["splits"].items()}
    assert splits == {split.value: digest for split, digest in DATASET.digests.items()}
    assert origin["training"]["device"] == "cpu"
    assert f"`{trial.fingerprint}`" in (folder / "README.md").read_text()
    # Inside is what sentence-transformers left, untouched.
    assert SentenceTransformer(str(folder / INSIDE)).encode(TEXTS).shape == (2, 32)


def test_its_canaries_are_what_the_trained_model_gave(registered: Registered) -> None:
    folder = registered.files()
    rows = json.loads((folder / CANARIES_FILE).read_text())["canaries"]
    assert Counter(row["role"] for row in rows) == {"query": 4, "document": 4, "plain": 4}
    backend = registered.services.backends["local"]
    cosine = check_canaries(backend.open(folder / INSIDE), folder, REFERENCE)
    assert cosine == pytest.approx(1, abs=1e-9)
    with pytest.raises(DataError, match="of the model that was measured"):
        check_canaries(backend.open(registered.files(2) / INSIDE), folder, REFERENCE)


Use = Callable[[Registered, Path], None]


def fetch_as_promote_does(registered: Registered, folder: Path) -> None:
    version = registered.versions[0]
    resolved = registered.stores.registry.resolve(NAME, str(version.number))
    assert resolved is not None
    opened = registered.stores.registry.fetch(
        version.model_reference, folder / "promote", resolved.manifest_digest
    )
    embedder = registered.services.open(opened)
    check_canaries(embedder, folder / "promote", REFERENCE)
    embedder.embed(TEXTS)


def embed(registered: Registered, folder: Path) -> None:
    with wiring.opened_model(str(registered.settings), REFERENCE) as embedder:
        embedder.embed(TEXTS)


def export(registered: Registered, folder: Path) -> None:
    wiring.export(str(registered.settings), REFERENCE, folder / "exported")


def serve(registered: Registered, folder: Path) -> None:
    with opener(folder / "home") as open_model:
        shelf = ModelShelf(registered.stores.registry, open_model, folder / "served")
        shelf.load(NAME).embedder.embed(TEXTS)


USES: dict[str, Use] = {
    "promote": fetch_as_promote_does,
    "serve": serve,
    "embed": embed,
    "export": export,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_another_model_under_a_sound_manifest_is_refused(
    registered: Registered, tmp_path: Path, use: Use
) -> None:
    """The same recipe on another seed: as like as a swapped model can be."""

    def swap(folder: Path) -> None:
        weights = Path(INSIDE) / "model.safetensors"
        shutil.copyfile(registered.files(2) / weights, folder / weights)

    (tmp_path / "sound").mkdir()
    use(registered, tmp_path / "sound")
    with registered.changed(swap, tmp_path / "backup"):
        with pytest.raises(DataError, match=r"support.* least cosine of now and then is 0\.9"):
            use(registered, tmp_path)
        assert not (tmp_path / "exported").exists()
        # The control: the manifest alone lets it pass.
        registered.stores.registry.fetch(REFERENCE, tmp_path / "fetched")


def test_each_of_200_flipped_bytes_is_refused(registered: Registered, tmp_path: Path) -> None:
    folder, version = registered.files(), registered.versions[0]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len({path.name for path in files}) > 12
    rng, refused = random.Random(7), 0
    for attempt in range(FLIPS):
        path = files[attempt % len(files)]
        original = path.read_bytes()
        content = bytearray(original)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            # By alias and number in turn, with and without the digest that the caller knows.
            known = version.manifest_digest if attempt % 2 else None
            with pytest.raises(DataError, match="SHA-256") as caught:
                registered.stores.registry.fetch(
                    (REFERENCE, f"models:/{NAME}@champion")[attempt % 2], tmp_path / "to", known
                )
            assert path.name in str(caught.value)
            refused += 1
        finally:
            path.write_bytes(original)
        assert not (tmp_path / "to").exists()
    assert refused == FLIPS
    registered.stores.registry.fetch(REFERENCE, tmp_path / "to")


def _clash(folder: Path) -> None:
    (folder / INSIDE / "Config.json").write_text("{}")


def _rename_by_case(folder: Path) -> None:
    (folder / "README.md").rename(folder / "readme.md")


def _link_the_canaries(folder: Path) -> None:
    outside = folder.parent.parent / "outside.json"
    shutil.move(folder / CANARIES_FILE, outside)
    (folder / CANARIES_FILE).symlink_to(outside)


def _drop_the_canaries(folder: Path) -> None:
    """And the manifest with it: only the registry knows better."""
    (folder / CANARIES_FILE).unlink()
    manifest = folder / MANIFEST_FILE
    rows = [row for row in json.loads(manifest.read_text()) if row["path"] != CANARIES_FILE]
    manifest.write_text(json.dumps(rows, indent=1) + "\n")


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (_clash, "Config.json"),
        (_rename_by_case, "readme.md"),
        (_link_the_canaries, "symbolic link"),
        (_drop_the_canaries, MANIFEST_FILE),
    ],
)
def test_other_files_are_refused(
    registered: Registered, tmp_path: Path, tamper: Callable[[Path], None], named: str
) -> None:
    folder = registered.files()
    shutil.copytree(folder, tmp_path / "backup")
    try:
        tamper(folder)
        with pytest.raises(DataError, match=named):
            registered.stores.registry.fetch(REFERENCE, tmp_path / "to")
    finally:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)


MARKER = "ran"
EVIL = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import BertModel, BertTokenizerFast
from sentence_transformers.sentence_transformer.modules import Transformer
class EvilModel(BertModel):
    pass
class EvilTokenizer(BertTokenizerFast):
    pass
class EvilModule(Transformer):
    pass
def _load_pyfunc(path):
    return None
"""


class Evil:
    """Unpickling it writes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.marker, "ran")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose module leaves a marker when it is imported, and that Python finds."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil_code.py").write_text(EVIL.format(marker=str(tmp_path / MARKER)))
    monkeypatch.syspath_prepend(str(folder))
    # transformers copies a model's own code there before it runs it.
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "hf"))
    yield folder
    for name in [name for name in sys.modules if "evil_code" in name]:
        del sys.modules[name]


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def foreign_module(folder: Path, evil: Path) -> None:
    rows = json.loads((folder / INSIDE / "modules.json").read_text())
    rows[0]["type"] = "evil_code.EvilModule"
    (folder / INSIDE / "modules.json").write_text(json.dumps(rows))


def foreign_loader(folder: Path, evil: Path) -> None:
    text = (folder / "MLmodel").read_text()
    loader = "loader_module: embedsweep.wiring.pyfunc"
    assert loader in text
    (folder / "MLmodel").write_text(text.replace(loader, "loader_module: evil_code"))


def pickled_weights(folder: Path, evil: Path) -> None:
    (folder / INSIDE / "model.safetensors").unlink()
    marker = evil.parent / MARKER
    (folder / INSIDE / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil(marker)}))


def foreign_model_class(folder: Path, evil: Path) -> None:
    attention = f"{evil}/kernel"
    _edit(
        folder / INSIDE / "config.json",
        auto_map={"AutoModel": f"{evil}--evil_code.EvilModel"},
        _attn_implementation=attention,
        _attn_implementation_internal=attention,
    )


def foreign_tokenizer(folder: Path, evil: Path) -> None:
    _edit(
        folder / INSIDE / "tokenizer_config.json",
        tokenizer_class="EvilTokenizer",
        auto_map={"AutoTokenizer": [None, f"{evil}--evil_code.EvilTokenizer"]},
    )


ARTEFACTS: dict[str, Callable[[Path, Path], None]] = {
    "modules.json": foreign_module,
    "MLmodel": foreign_loader,
    "pickle": pickled_weights,
    "config.json": foreign_model_class,
    "tokenizer": foreign_tokenizer,
}


@pytest.mark.parametrize("plant", ARTEFACTS.values(), ids=ARTEFACTS)
def test_no_code_of_an_artefact_runs_although_its_manifest_is_sound(
    registered: Registered, tmp_path: Path, evil: Path, plant: Callable[[Path, Path], None]
) -> None:
    with registered.changed(lambda folder: plant(folder, evil), tmp_path / "backup"):
        for name, use in USES.items():
            (tmp_path / name).mkdir()
            # Refused, or opened without what was planted: either way nothing of it runs.
            with suppress(UserError):
                use(registered, tmp_path / name)
            assert not (tmp_path / MARKER).exists(), name


def stock_sentence_transformers(folder: Path) -> None:
    SentenceTransformer(str(folder / INSIDE), trust_remote_code=True, local_files_only=True)


def stock_pyfunc(folder: Path) -> None:
    mlflow.pyfunc.load_model(str(folder))


def stock_torch(folder: Path) -> None:
    torch.load(folder / INSIDE / "pytorch_model.bin", weights_only=False)


def stock_model(folder: Path) -> None:
    config = folder / INSIDE / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({k: v for k, v in values.items() if "_attn" not in k}))
    transformers.AutoModel.from_pretrained(folder / INSIDE, trust_remote_code=True)


def stock_tokenizer(folder: Path) -> None:
    transformers.AutoTokenizer.from_pretrained(folder / INSIDE, trust_remote_code=True)


STOCK: dict[str, Callable[[Path], None]] = {
    "modules.json": stock_sentence_transformers,
    "MLmodel": stock_pyfunc,
    "pickle": stock_torch,
    "config.json": stock_model,
    "tokenizer": stock_tokenizer,
}


@pytest.mark.parametrize("kind", STOCK)
@pytest.mark.filterwarnings("ignore")
def test_loaders_that_trust_the_artefact_do_run_it(
    registered: Registered, tmp_path: Path, evil: Path, kind: str
) -> None:
    """The control: each of the five leaves its marker where it is trusted."""
    shutil.copytree(registered.files(), tmp_path / "copy")
    ARTEFACTS[kind](tmp_path / "copy", evil)
    # What the code does after its marker is no matter.
    with suppress(Exception):
        STOCK[kind](tmp_path / "copy")
    assert (tmp_path / MARKER).exists()


def test_the_card_s_own_lines_work_in_the_folder(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(registered.files(), folder)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    by_pyfunc, by_weights = code.split("from sentence_transformers")
    monkeypatch.chdir(folder)
    told: dict[str, object] = {}
    exec(by_pyfunc, told)
    first = np.asarray(told["vectors"])
    exec(f"from sentence_transformers{by_weights}", told)
    np.testing.assert_allclose(first, told["vectors"], atol=1e-6)
