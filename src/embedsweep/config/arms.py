"""The kinds of arms: what each backend adds to the knobs that all share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from embedsweep.config.arm_section import Arm, TrainedArm
from embedsweep.config.fields import Text
from embedsweep.config.knobs import Knob
from embedsweep.config.providers import BaseUrl, KeyVariable, ProviderName
from embedsweep.config.refusal import Reading, nearest, refused, shown
from embedsweep.core.recipe import LOOPBACK, FileForm, Head, Loss
from embedsweep.core.space import Choice, Domain

DEFAULT_WIDTH = 32
"""Of a low-rank head or an MLP."""


class LocalArm(TrainedArm):
    """Fine-tunes of sentence-transformers models on this machine."""

    backend: Literal["local"]
    """What makes the models: local fine-tunes, adapter trains a head, hosted runs jobs."""
    train_tokens: Annotated[Domain, Knob(int, "TrainTokens", ge=3, le=131_072)] | None = None
    """Longest text, in tokens, that training reads, its begin and end marks included."""
    train_layers: Annotated[Domain, Knob(int, "TrainLayers", ge=1, le=1024)] | None = None
    """Train the last so many layers alone; what the frozen ones make of texts is computed once."""
    lora_rank: Annotated[Domain, Knob(int, "LoraRank", ge=1, le=4096)] | None = None
    """Train low-rank updates (LoRA) of the trained layers' matrices, of this rank, alone."""
    mini_batch_size: Annotated[Domain, Knob(int, "MiniBatchSize", ge=1, le=65_536)] | None = None
    """Texts forwarded at a time by the cached ranking loss."""

    @model_validator(mode="before")
    @classmethod
    def _known_backend(cls, value: Any) -> Any:  # noqa: ANN401 - raw
        # Of an arm of another kind every other key would be at fault too.
        backend = value.get("backend", "local") if isinstance(value, dict) else "local"
        if not isinstance(backend, str) or backend not in ARM_KINDS:
            known = ", ".join(ARM_KINDS)
            why = f"{shown(backend)} is no backend here, known are {known}"
            meant = nearest(str(backend), list(ARM_KINDS)) or "local"
            raise refused(why, f"write backend: {meant}, or remove the arm", at="backend")
        return value


class _WithProvider(Arm):
    """An arm whose base model a provider may have."""

    provider: ProviderName | None = None
    """openai, or loopback for the project's own service, started where it is needed."""
    base_url: BaseUrl | None = None
    """A server that speaks the OpenAI API, such as http://gpu-machine:8000/v1."""
    api_key_env: KeyVariable | None = None
    """Variable that holds the key; OPENAI_API_KEY for openai, else EMBEDSWEEP_PROVIDER_KEY."""

    @property
    def provider_name(self) -> str | None:
        return self.provider or self.base_url

    @property
    def key_variable(self) -> str | None:
        return self.api_key_env

    @field_validator("base_url")
    @classmethod
    def _instead_of_a_provider(cls, url: str | None, info: ValidationInfo[Reading]) -> str | None:
        if url is not None and info.data.get("provider") is not None:
            why = f"the arm names the provider {info.data['provider']} already"
            raise refused(why, "remove provider or base_url")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _one_key(cls, variable: str | None, info: ValidationInfo[Reading]) -> str | None:
        provider = info.data.get("provider") or info.data.get("base_url")
        if variable is None:
            return None
        if provider in (None, LOOPBACK):
            why = "this arm asks no provider that wants a key"
            raise refused(why, "remove it, or name a provider or a base_url")
        known = info.context.key_variables.setdefault(provider, variable)
        if known != variable:
            why = f"another arm has {provider}'s key in {known}"
            raise refused(why, "name the same variable in both arms")
        return variable


class AdapterArm(_WithProvider, TrainedArm):
    """Small heads trained on the vectors of a frozen model, of this machine or of a provider."""

    backend: Literal["adapter"]
    """What makes the models: local fine-tunes, adapter trains a head, hosted runs jobs."""
    epochs: Annotated[Domain, Knob(int, "AdapterEpochs", ge=1, le=10_000)] = Field(
        default={"low": 5, "high": 50}, validate_default=True
    )
    """Passes over the training data; they cost little, for the texts are embedded once. Of a range
    or a list, ten models between the lowest and the highest number are measured in one training,
    and the best is kept."""
    learning_rate: Annotated[Domain, Knob(float, "LearningRate", gt=0, le=1)] = Field(
        default={"low": 1e-4, "high": 3e-3, "log": True}, validate_default=True
    )
    """The rate of AdamW, held after the warm-up."""
    dimensions: Annotated[Choice, Knob(int, ge=1, le=65_536)] | None = None
    """Length of the vectors asked of the provider; its own when left out."""
    head: Annotated[Choice, Knob(Head)] = Field(default=[Head.LINEAR.value], validate_default=True)
    """What is put on the vectors: linear, low_rank or mlp; each begins as the identity."""
    width: Annotated[Domain, Knob(int, "Width", ge=1, le=16_384)] | None = None
    """Rank of a low-rank head, hidden units of an MLP; 32 when left out."""

    @field_validator("loss")
    @classmethod
    def _not_cached(cls, loss: Choice) -> Choice:
        cached = Loss.CACHED_MULTIPLE_NEGATIVES_RANKING.value
        if cached in loss.options:
            why = f"{cached} saves memory, of which vectors take little"
            raise refused(why, f"write {Loss.MULTIPLE_NEGATIVES_RANKING.value}")
        return loss

    @field_validator("dimensions")
    @classmethod
    def _asked_of_a_provider(
        cls, dimensions: Choice | None, info: ValidationInfo[Reading]
    ) -> Choice | None:
        asked = info.data.get("provider") or info.data.get("base_url")
        if dimensions is not None and not asked:
            raise refused("a model of this machine gives vectors of its own length", "remove it")
        return dimensions

    @field_validator("width")
    @classmethod
    def _of_a_head_that_has_one(
        cls, width: Domain | None, info: ValidationInfo[Reading]
    ) -> Domain | None:
        head = info.data.get("head")
        if width is not None and head and set(head.options) == {Head.LINEAR.value}:
            raise refused("a linear head has no width", "remove it, or add low_rank or mlp to head")
        return width

    @model_validator(mode="after")
    def _revision_of_a_local_model(self) -> AdapterArm:
        if self.revision is not None and self.provider_name is not None:
            why = f"{self.provider_name} takes no revision of a model"
            given = "provider" if self.provider else "base_url"
            raise refused(why, f"remove revision, or remove {given}", at="revision")
        return self

    def knobs(self) -> dict[str, Domain]:
        found = super().knobs()
        if "width" not in found and set(self.head.options) != {Head.LINEAR.value}:
            found["width"] = Choice((DEFAULT_WIDTH,))
        return found


class HostedArm(_WithProvider):
    """Fine-tuning jobs at a provider, over the OpenAI API."""

    backend: Literal["hosted"]
    """What makes the models: local fine-tunes, adapter trains a head, hosted runs jobs."""
    base_model: Annotated[Choice, Knob(Text)]
    """The provider's name of the model to tune."""
    form: Annotated[Choice, Knob(FileForm)] = Field(
        default=[FileForm.PAIRS.value], validate_default=True
    )
    """The rows of the training file: labelled, pairs or triplets."""
    loss: Annotated[Choice, Knob(Loss)] | None = None
    """What training minimises, where the server takes one; left to the server when left out."""
    epochs: Annotated[Domain, Knob(int, "Epochs", ge=1, le=1000)] = Field(
        default={"low": 1, "high": 3}, validate_default=True
    )
    """n_epochs of the job."""
    learning_rate_multiplier: Annotated[
        Domain, Knob(float, "LearningRateMultiplier", gt=0, le=1000)
    ] = Field(default={"low": 0.1, "high": 4.0, "log": True}, validate_default=True)
    """The job's: a multiple of the rate that the server thinks right."""
    batch_size: Annotated[Domain, Knob(int, "BatchSize", ge=2, le=65_536)] = Field(
        default=32, validate_default=True
    )
    """The job's: rows per optimiser step."""

    @model_validator(mode="after")
    def _has_a_provider(self) -> HostedArm:
        if self.provider_name is None:
            why = "it is missing, and a job needs someone who runs it"
            fix = "write base_url: http://HOST:PORT/v1, or provider: loopback to run it here"
            raise refused(why, fix, at="base_url")
        return self


ARM_KINDS: dict[str, type[Arm]] = {"local": LocalArm, "adapter": AdapterArm, "hosted": HostedArm}
"""The arms by backend; wiring knows how to build each."""

ARM_TAGS = {kind: f"arm of kind {kind}" for kind in ARM_KINDS}
"""The names pydantic puts into an error's place; no key of a file reads like these."""


def kind_of_arm(value: object) -> str:
    """The backend that an arm names, or the one whose checks tell what is wrong with it."""
    backend = value.get("backend") if isinstance(value, dict) else None
    return backend if isinstance(backend, str) and backend in ARM_KINDS else "local"


AnyArm = Annotated[
    Annotated[LocalArm, Tag(ARM_TAGS["local"])]
    | Annotated[AdapterArm, Tag(ARM_TAGS["adapter"])]
    | Annotated[HostedArm, Tag(ARM_TAGS["hosted"])],
    Discriminator(lambda value: ARM_TAGS[kind_of_arm(value)]),
]
