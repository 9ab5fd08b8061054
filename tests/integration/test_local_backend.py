"""Real fine-tunes of the embedded default on a few real sentences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder, folder_digest
from embedsweep.backends.local.devices import fast_precision
from embedsweep.backends.local.encoder import LocalEmbedder, TrainingEncoder
from embedsweep.backends.local.opening import open_model
from embedsweep.backends.local.training import Training
from embedsweep.backends.rows import Rows
from embedsweep.core.dataset import LabelledText, Pair, TrainingSet
from embedsweep.core.errors import DataError, StoreError, UsageError
from embedsweep.core.ports import EpochEnd, StopTraining, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, Loss
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure

TOPICS = {
    "card": ["my card was stolen", "I lost my card", "the card is gone", "someone took my card"],
    "rate": ["what is the rate", "exchange rates today", "is the rate good", "rate for euros"],
    "code": ["I forgot the code", "reset my passcode", "the code is wrong", "new code please"],
    "fees": ["why was I charged", "there is a fee", "what does it cost", "an unknown charge"],
}
TEXTS = TrainingSet(
    texts=tuple(LabelledText(text, label) for label, texts in TOPICS.items() for text in texts)
)
PAIRS = TrainingSet(
    pairs=tuple(
        Pair(texts[i], texts[i + 1], negatives=(TOPICS["code" if label != "code" else "card"][0],))
        for label, texts in TOPICS.items()
        for i in (0, 2)
    )
)


def recipe(loss: Loss, **knobs: float | int) -> LocalRecipe:
    settings: dict[str, object] = {"epochs": 1, "learning_rate": 5e-5, "batch_size": 8, "seed": 3}
    return LocalRecipe(base_model=EMBEDDED, loss=loss, **{**settings, **knobs})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend("cpu")


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_embedded_model_is_the_real_one() -> None:
    assert sha256(base_folder(EMBEDDED)).startswith("53aa5117")


@pytest.mark.parametrize("loss", list(Loss))
def test_every_loss_lowers_itself_and_leaves_a_model_that_opens(
    loss: Loss, backend: LocalBackend, tmp_path: Path
) -> None:
    data = TEXTS if loss is Loss.SOFTMAX else PAIRS
    losses: list[float] = []
    facts: dict[str, str] = {}
    listener = TrainingListener(
        on_epoch=lambda end: losses.append(end.losses["train/loss"]),
        on_fact=facts.__setitem__,
    )
    backend.train(recipe(loss, epochs=4), data, tmp_path, listener)
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert facts == {
        "device": "cpu",
        "precision": str(fast_precision("cpu")).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "steps": str(4 * -(-len(data) * _rows_per_row(loss) // 8)),
    }
    vectors = backend.open(tmp_path).embed(["my card was stolen", "exchange rates today"])
    assert vectors.shape == (2, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not list(tmp_path.rglob("*.bin"))


def _rows_per_row(loss: Loss) -> int:
    doubled = (Loss.CONTRASTIVE, Loss.ONLINE_CONTRASTIVE, Loss.COSENT, Loss.COSINE_SIMILARITY)
    return 2 if loss in doubled else 1


def test_a_trial_repeats_bit_for_bit_and_another_seed_differs(
    backend: LocalBackend, tmp_path: Path
) -> None:
    digests = []
    for place, seed in enumerate((3, 3, 4)):
        folder = tmp_path / str(place)
        loss = recipe(Loss.MULTIPLE_NEGATIVES_RANKING, seed=seed, epochs=2)
        backend.train(loss, TEXTS, folder, TrainingListener())
        digests.append(sha256(folder))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_the_model_so_far_can_be_saved_and_the_last_one_is_the_one_left(
    backend: LocalBackend, tmp_path: Path
) -> None:
    def save(end: EpochEnd) -> None:
        end.save(tmp_path / str(end.epoch))

    loss = recipe(Loss.MULTIPLE_NEGATIVES_RANKING, epochs=2)
    backend.train(loss, TEXTS, tmp_path / "left", TrainingListener(on_epoch=save))
    digests = [sha256(tmp_path / name) for name in ("1", "2", "left")]
    assert digests[1] == digests[2]
    assert digests[0] != digests[1]
    assert backend.open(tmp_path / "1").embed(["my card"]).shape == (1, 384)


def test_training_leaves_the_global_random_state_alone(
    backend: LocalBackend, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    backend.train(recipe(Loss.COSENT), PAIRS, tmp_path, TrainingListener())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_cached_loss_takes_the_same_step_as_the_plain_one(backend: LocalBackend) -> None:
    """Without dropout the two are the same sum; what differs is the memory."""
    gradients = []
    for loss in (Loss.MULTIPLE_NEGATIVES_RANKING, Loss.CACHED_MULTIPLE_NEGATIVES_RANKING):
        model = open_model(base_folder(EMBEDDED), "cpu")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        cached = loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING
        knobs = {"mini_batch_size": 3} if cached else {}
        training = Training(model, recipe(loss, **knobs), PAIRS, torch.float32)
        rows = Rows(PAIRS, loss.needs, 8, seed=3)
        training.backward(next(iter(rows.epoch(0))))
        weights = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat(weights))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)
    assert float(gradients[0].abs().max()) > 1e-3


def test_a_rate_that_blows_up_is_a_failure_with_its_reason(
    backend: LocalBackend, tmp_path: Path
) -> None:
    blown = recipe(Loss.MULTIPLE_NEGATIVES_RANKING, learning_rate=1e30, epochs=3)
    ends: list[EpochEnd] = []
    with pytest.raises(TrialFailure) as failure:
        backend.train(blown, TEXTS, tmp_path, TrainingListener(on_epoch=ends.append))
    assert failure.value.kind in {"non_finite_loss", "non_finite_weights"}
    assert not ends
    assert not (tmp_path / "model.safetensors").exists()


def test_memory_that_does_not_suffice_is_a_failure_on_a_cpu_too(
    backend: LocalBackend, tmp_path: Path
) -> None:
    def exhaust(end: EpochEnd) -> None:
        torch.empty(2**50, dtype=torch.uint8)

    with pytest.raises(TrialFailure, match="a smaller batch_size") as failure:
        backend.train(recipe(Loss.COSENT), PAIRS, tmp_path, TrainingListener(on_epoch=exhaust))
    assert failure.value.kind == "out_of_memory"


def test_the_listener_can_stop_it(backend: LocalBackend, tmp_path: Path) -> None:
    def stop(end: EpochEnd) -> None:
        raise StopTraining

    with pytest.raises(StopTraining):
        backend.train(
            recipe(Loss.COSENT, epochs=5), PAIRS, tmp_path, TrainingListener(on_epoch=stop)
        )
    assert not list(tmp_path.iterdir())


def test_training_reads_no_more_tokens_than_told_and_serving_reads_all(
    backend: LocalBackend, tmp_path: Path
) -> None:
    short = recipe(Loss.MULTIPLE_NEGATIVES_RANKING, train_tokens=4)
    backend.train(short, TEXTS, tmp_path, TrainingListener())
    embedder = backend.open(tmp_path)
    assert embedder.model.max_seq_length == 256
    assert embedder.count_tokens(["one two three four five six seven eight"]) == 10


def test_base_models_that_lead_nowhere() -> None:
    with pytest.raises(UsageError, match="no such folder"):
        base_folder("./no/such/folder")
    with pytest.raises(StoreError, match="need no hub"):
        base_folder("someone/no-such-model")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(DataError, match="can run code"):
        base_folder(str(tmp_path))


def test_opening_a_model_runs_no_code_from_its_folder(
    backend: LocalBackend, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    folder = tmp_path / "model"
    backend.untuned(Base(EMBEDDED), folder)
    modules = folder / "modules.json"
    modules.write_text(
        modules.read_text().replace(
            '"sentence_transformers.sentence_transformer.modules.normalize.Normalize"',
            '"evil.Evil"',
        )
        if '"sentence_transformers.sentence_transformer.modules.normalize.Normalize"'
        in modules.read_text()
        else '[{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]'
    )
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: ...\n")
    with pytest.raises(DataError):
        backend.open(folder)
    assert not marker.exists()


def test_the_digest_follows_the_content(backend: LocalBackend, tmp_path: Path) -> None:
    backend.untuned(Base(EMBEDDED), tmp_path)
    before = folder_digest(tmp_path)
    assert backend.base_digest(Base(str(tmp_path))) == before
    (tmp_path / "README.md").write_text("words about the model do not change it")
    assert folder_digest(tmp_path) == before
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert folder_digest(tmp_path) != before


def test_prompts_reach_the_model_by_role(backend: LocalBackend, tmp_path: Path) -> None:
    model = open_model(base_folder(EMBEDDED), "cpu")
    model.prompts = {"query": "question: ", "document": "passage: "}
    model.save(str(tmp_path), create_model_card=False)
    embedder = backend.open(tmp_path)
    query, document, plain = (
        embedder.embed(["the rate"], role)[0]
        for role in (TextRole.QUERY, TextRole.DOCUMENT, TextRole.PLAIN)
    )
    assert np.allclose(query, embedder.embed(["question: the rate"])[0], atol=1e-5)
    assert np.allclose(document, embedder.embed(["passage: the rate"])[0], atol=1e-5)
    assert not np.allclose(query, plain, atol=1e-2)


def test_training_puts_the_same_prompts_before_texts_as_embedding_does(tmp_path: Path) -> None:
    model = open_model(base_folder(EMBEDDED), "cpu").eval()
    model.prompts = {"query": "question: ", "passage": "passage: "}
    texts = ["the rate", "a much longer text about the rate of exchange", "card"]
    encoder = TrainingEncoder(model, torch.float32)
    encoder.prepare(dict.fromkeys(TextRole, texts))
    embedder = LocalEmbedder(model)
    seen: list[torch.Tensor] = []

    def objective(vectors: torch.Tensor) -> torch.Tensor:
        seen.append(vectors.detach())
        return vectors.sum()

    for role in TextRole:
        encoder.backward(texts, [role] * len(texts), objective)
        assert np.allclose(seen[-1].numpy(), embedder.embed(texts, role), atol=1e-5)
    roles = [embedder.effective_role(role) for role in TextRole]
    assert roles == list(TextRole)
    model.prompts = {}
    assert {embedder.effective_role(role) for role in TextRole} == {TextRole.PLAIN}
