"""What goes over the wire, as OpenAI has it. Unknown fields of a request are ignored, as there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)
from pydantic_core import PydanticCustomError

from embedsweep.core.roles import ROLE_NAMES, TextRole

Encoding = Literal["float", "base64"]


def _no_tokens(value: object) -> object:
    """Refuse token arrays, ``[1, 2]`` and ``[[1], [2]]``, by name: they are valid at OpenAI."""
    if isinstance(value, list) and value and all(isinstance(item, int | list) for item in value):
        raise PydanticCustomError("token_input", "token input not supported; send text")
    return value


def _role(value: object) -> object:
    if value is None or value in ROLE_NAMES:
        return ROLE_NAMES.get(str(value))
    raise PydanticCustomError("unknown_role", f"is none of {', '.join(ROLE_NAMES)}")


def _one_or_many(value: object) -> str:
    return "one" if isinstance(value, str) else "many"


Text = Annotated[str, StringConstraints(strict=True, min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, fail_fast=True), BeforeValidator(_no_tokens)]
Input = Annotated[
    Annotated[Text, Tag("one")] | Annotated[Texts, Tag("many")], Discriminator(_one_or_many)
]


class EmbeddingsRequest(BaseModel):
    """The body of POST /v1/embeddings.

    Attributes:
        input: A text, or several.
        model: ``name``, ``name@champion`` or ``name/7``.
        encoding_format: ``base64`` is of little-endian float32.
        dimensions: Anything here; the route compares it with the model's, which is the only
            value taken.
        input_type: Role of the texts, by any name of `core.roles.ROLE_NAMES`; `None` if the
            request names none.
    """

    input: Input
    model: Text
    encoding_format: Encoding | None = None
    dimensions: object = None
    input_type: Annotated[TextRole | None, BeforeValidator(_role)] = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def params(self) -> list[str]:
        """What each text is called in an error."""
        if isinstance(self.input, str):
            return ["input"]
        return [f"input[{index}]" for index in range(len(self.input))]


class Embedding(BaseModel):
    """One vector, as numbers or as base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens as the model counts them, or words where it does not tell."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(BaseModel):
    """The body of a reply to POST /v1/embeddings; `data` is in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model to ask for; what OpenAI says of one, and of a registered one which version it is.

    Attributes:
        created: When it was made or loaded, in Unix seconds.
        dimension: Absent where the model is not in memory.
        roles: Roles whose embeddings differ, one of which each request must name; absent if texts
            have the same embedding in every role, or if the model is not in memory.
        default_role: Role of requests that name none, if the operator set one.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "embedsweep"
    version: int | None = None
    dimension: int | None = None
    fingerprint: str | None = None
    roles: list[TextRole] | None = None
    default_role: TextRole | None = None


class ModelList(BaseModel):
    """The body of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
