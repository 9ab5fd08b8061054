"""A recipe says how one model is made, whole enough to make it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, ClassVar

from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.roles import Prompts

RECIPE_VERSION = 3
"""Raised when the same recipe would train another model, so that no old result is reused for it."""


class DataForm(StrEnum):
    """The shapes of training data a loss can ask for."""

    PAIRS = "pairs"
    TRIPLETS = "triplets"
    LABELLED_TEXTS = "labelled texts"
    LABELLED_PAIRS = "pairs marked similar or not"
    SCORED_PAIRS = "scored pairs"


class Loss(StrEnum):
    """The losses a sweep can choose from; each knows the data it needs and the knobs it owns."""

    MULTIPLE_NEGATIVES_RANKING = "multiple_negatives_ranking"
    CACHED_MULTIPLE_NEGATIVES_RANKING = "cached_multiple_negatives_ranking"
    TRIPLET = "triplet"
    BATCH_HARD_TRIPLET = "batch_hard_triplet"
    CONTRASTIVE = "contrastive"
    ONLINE_CONTRASTIVE = "online_contrastive"
    COSENT = "cosent"
    COSINE_SIMILARITY = "cosine_similarity"
    SOFTMAX = "softmax"

    @property
    def needs(self) -> DataForm:
        return _NEEDS[self]

    @property
    def knobs(self) -> Mapping[str, float | int]:
        """The loss-specific knobs with their defaults, named as in `LocalRecipe`."""
        return _KNOBS[self]


_NEEDS: dict[Loss, DataForm] = {
    Loss.MULTIPLE_NEGATIVES_RANKING: DataForm.PAIRS,
    Loss.CACHED_MULTIPLE_NEGATIVES_RANKING: DataForm.PAIRS,
    Loss.TRIPLET: DataForm.TRIPLETS,
    Loss.BATCH_HARD_TRIPLET: DataForm.PAIRS,
    Loss.CONTRASTIVE: DataForm.LABELLED_PAIRS,
    Loss.ONLINE_CONTRASTIVE: DataForm.LABELLED_PAIRS,
    Loss.COSENT: DataForm.SCORED_PAIRS,
    Loss.COSINE_SIMILARITY: DataForm.SCORED_PAIRS,
    Loss.SOFTMAX: DataForm.LABELLED_TEXTS,
}

_KNOBS: dict[Loss, Mapping[str, float | int]] = {
    Loss.MULTIPLE_NEGATIVES_RANKING: {"scale": 20.0},
    Loss.CACHED_MULTIPLE_NEGATIVES_RANKING: {"scale": 20.0, "mini_batch_size": 32},
    Loss.TRIPLET: {"margin": 0.3},
    Loss.BATCH_HARD_TRIPLET: {"margin": 0.3},
    Loss.CONTRASTIVE: {"margin": 0.5},
    Loss.ONLINE_CONTRASTIVE: {"margin": 0.5},
    Loss.COSENT: {"scale": 20.0},
    Loss.COSINE_SIMILARITY: {},
    Loss.SOFTMAX: {"scale": 20.0},
}

LOSS_KNOBS = frozenset(knob for knobs in _KNOBS.values() for knob in knobs)
"""Every knob that belongs to some loss and not to all."""


class Head(StrEnum):
    """What an adapter puts on frozen vectors. Each begins as the identity."""

    LINEAR = "linear"
    LOW_RANK = "low_rank"
    MLP = "mlp"


class FileForm(StrEnum):
    """The rows of a hosted job's training file."""

    LABELLED = "labelled"
    PAIRS = "pairs"
    TRIPLETS = "triplets"


OPENAI = "openai"
LOOPBACK = "loopback"
PROVIDERS = (OPENAI, LOOPBACK)
"""Providers with a name: OpenAI, and the project's own service, started where it is needed."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model as it comes, before any tuning.

    Attributes:
        model: Name of a sentence-transformers model or a folder that holds one; with a provider,
            the provider's name of it.
        provider: Who computes its vectors: one of `PROVIDERS`, or the base URL of a server that
            speaks the OpenAI API; None for this machine.
        dimensions: Length of the vectors asked of the provider; None for the model's own.
        prompts: Prompts that replace the model's own; `None` to keep all of them.
        revision: Commit, branch or tag of a model on the Hugging Face hub, or `None` for the
            newest commit.
    """

    model: str
    provider: str | None = None
    dimensions: int | None = None
    prompts: Prompts | None = None
    revision: str | None = None

    def __str__(self) -> str:
        name = f"{self.model}@{self.revision}" if self.revision else self.model
        size = f" ({self.dimensions} dimensions)" if self.dimensions else ""
        place = f"{size} at {self.provider}" if self.provider else ""
        prompts = f" with prompts {self.prompts}" if self.prompts else ""
        return f"{name}{place}{prompts}"


class _Trained:
    """What recipes trained on this machine share: a loss with knobs of its own, and epochs."""

    __slots__ = ()

    loss: Loss
    epochs: int
    keep_from: int | None

    def knob(self, name: str) -> float:
        """The value of a loss-specific knob: as set, or the loss's default."""
        value = getattr(self, name)
        return float(self.loss.knobs[name] if value is None else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRecipe(_Trained):
    """A fine-tune of a sentence-transformers model on this machine.

    Attributes:
        base_model: Name of a sentence-transformers model, or a folder that holds one.
        prompts: See `Base`.
        loss: What training minimises.
        epochs: Passes over the training data at most, at least 1. The model after each of them is
            the one that a recipe of so many epochs gives.
        keep_from: The best model on the validation split, of those after epochs ``keep_from`` to
            ``epochs``, is kept, the earliest of equals; None for the last epoch's.
        learning_rate: The rate of AdamW, held after the warm-up. What calms the weights in the
            end is not a falling rate: a model is their average over the later steps so far.
        batch_size: Rows per optimiser step (for pairs: pairs, not texts).
        seed: Fixes row order, dropout and every drawn negative.
        warmup: Share of the first epoch's steps over which the rate climbs from zero.
        weight_decay: AdamW's, on all weights but biases and layer norms.
        train_tokens: Longest text, in tokens, that training reads; None for the model's limit.
            Evaluation and serving always use the model's own limit.
        train_layers: The transformer's last so many layers are trained, and what lies below them
            is frozen; None for all layers and the embeddings.
        lora_rank: Low-rank updates of the trained layers' matrices are trained, of this rank, and
            the layers themselves and the embeddings are frozen; None to train them as they are.
        scale: Inverse temperature of the cosine scores (ranking losses, CoSENT, softmax).
        margin: Distance beyond which a negative costs nothing, as a cosine distance.
        mini_batch_size: Texts forwarded at a time by the cached ranking loss.
        revision: Commit, branch or tag of the base model; see `Base`.
    """

    kind: ClassVar[str] = "local"

    base_model: str
    loss: Loss
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    warmup: float = 0.1
    weight_decay: float = 0.01
    train_tokens: int | None = None
    train_layers: int | None = None
    lora_rank: int | None = None
    scale: float | None = None
    margin: float | None = None
    mini_batch_size: int | None = None
    keep_from: int | None = None
    prompts: Prompts | None = None
    revision: str | None = None

    @property
    def base(self) -> Base:
        return Base(self.base_model, prompts=self.prompts, revision=self.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRecipe(_Trained):
    """A small head trained on the vectors of a frozen model.

    Attributes:
        base_model, provider, dimensions, prompts, revision: The frozen model; see `Base`.
        head: The head's shape.
        width: Rank of a low-rank head, hidden units of an MLP; None for a linear head.
        loss: What training minimises; any but the cached one, for vectors cost no memory.
        epochs: Passes over the training data at most, at least 1. The model after each of them is
            the one that a recipe of so many epochs gives.
        keep_from: The best model on the validation split, of those after epochs ``keep_from`` to
            ``epochs``, is kept, the earliest of equals; None for the last epoch's.
        learning_rate: The rate of AdamW, held after the warm-up. What calms the weights in the
            end is not a falling rate: a model is their average over the later steps so far.
        batch_size: Rows per optimiser step.
        seed: Fixes row order, every drawn negative and the head's first weights.
        warmup: Share of the first epoch's steps over which the rate climbs from zero.
        weight_decay: AdamW's; it pulls the head towards the identity.
        scale: Inverse temperature of the cosine scores (ranking losses, CoSENT, softmax).
        margin: Distance beyond which a negative costs nothing, as a cosine distance.
    """

    kind: ClassVar[str] = "adapter"

    base_model: str
    provider: str | None = None
    dimensions: int | None = None
    head: Head
    width: int | None = None
    loss: Loss
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    warmup: float = 0.1
    weight_decay: float = 0.01
    scale: float | None = None
    margin: float | None = None
    keep_from: int | None = None
    prompts: Prompts | None = None
    revision: str | None = None

    @property
    def base(self) -> Base:
        return Base(self.base_model, self.provider, self.dimensions, self.prompts, self.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedRecipe:
    """A fine-tuning job at a provider, over the OpenAI API.

    Attributes:
        base_model: The provider's name of the model to tune.
        provider: See `Base`.
        form: The rows of the training file.
        loss: What training minimises, where the server takes one; None leaves it to the server.
        epochs: ``n_epochs`` of the job.
        learning_rate_multiplier: The job's; a multiple of the rate the server thinks right.
        batch_size: The job's.
        seed: The job's.
    """

    kind: ClassVar[str] = "hosted"

    base_model: str
    provider: str
    form: FileForm
    loss: Loss | None = None
    epochs: int
    learning_rate_multiplier: float
    batch_size: int
    seed: int

    @property
    def base(self) -> Base:
        return Base(self.base_model, self.provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRecipe:
    """What tuning has to beat: the base model as it comes, or BM25.

    Attributes:
        method: ``untuned`` or ``bm25``.
        base_model, provider, dimensions, prompts, revision: The model, for ``untuned``, as in
            `Base`; None for BM25.
    """

    kind: ClassVar[str] = "baseline"

    method: str
    base_model: str | None = None
    provider: str | None = None
    dimensions: int | None = None
    prompts: Prompts | None = None
    revision: str | None = None

    @property
    def base(self) -> Base | None:
        if self.base_model is None:
            return None
        return Base(self.base_model, self.provider, self.dimensions, self.prompts, self.revision)


TunedRecipe = LocalRecipe | AdapterRecipe | HostedRecipe
"""What a search space draws."""

Recipe = TunedRecipe | BaselineRecipe

TUNED: Mapping[str, type[LocalRecipe] | type[AdapterRecipe] | type[HostedRecipe]] = {
    kind.kind: kind for kind in (LocalRecipe, AdapterRecipe, HostedRecipe)
}
"""The recipes a search space draws, by kind."""

_READERS: Mapping[str, Callable[[Any], object]] = {
    "loss": Loss,
    "head": Head,
    "form": FileForm,
    "prompts": lambda prompts: Prompts(**prompts),
}
"""What makes a field's value of the one that `recipe_as_dict` gives, where they differ."""


def kept_among(recipe: TunedRecipe) -> range:
    """The epochs of which one's model is kept; the last one alone where there is no choice."""
    first = None if isinstance(recipe, HostedRecipe) else recipe.keep_from
    return range(first or recipe.epochs, recipe.epochs + 1)


def with_epoch(recipe: Recipe, kept_epoch: int | None) -> Recipe:
    """The recipe of the model that was kept: the same training, ended after that epoch."""
    if kept_epoch is None or not isinstance(recipe, _Trained):
        return recipe
    return replace(recipe, epochs=kept_epoch, keep_from=None)


def recipe_as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON-able values, its kind included and unset knobs left out."""
    values = {name: value for name, value in asdict(recipe).items() if value is not None}
    if not isinstance(recipe, HostedRecipe) and recipe.prompts:
        values["prompts"] = recipe.prompts.as_dict()
    return {"kind": recipe.kind, **values}


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """The inverse of `recipe_as_dict`; raises `ValueError` for a kind or field it does not know."""
    rest = dict(values)
    kinds = {**TUNED, BaselineRecipe.kind: BaselineRecipe}
    kind = kinds.get(str(rest.pop("kind", None)))
    if kind is None:
        raise ValueError(f"recipe kind is {values.get('kind')!r}, expected one of {sorted(kinds)}")
    unknown = set(rest) - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"recipe has unknown fields {sorted(unknown)}")
    rest.update({name: _READERS[name](rest[name]) for name in _READERS.keys() & rest})
    return kind(**rest)


def recipe_fingerprint(recipe: Recipe, *context: str) -> str:
    """The identity of the recipe in a context.

    Args:
        recipe: The recipe.
        context: Digests of whatever else decides the result: training data, base model weights.
    """
    return fingerprint(RECIPE_VERSION, recipe_as_dict(recipe), list(context))
