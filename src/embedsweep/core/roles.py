"""The role of a text, and the prompts that a model puts before texts of each role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum


class TextRole(StrEnum):
    """What a text is to the model; models with prompts embed queries and documents differently."""

    QUERY = "query"
    DOCUMENT = "document"
    PLAIN = "plain"


ROLE_NAMES: Mapping[str, TextRole] = {
    **{role.value: role for role in TextRole},
    "search_query": TextRole.QUERY,
    "search_document": TextRole.DOCUMENT,
    "passage": TextRole.DOCUMENT,
}
"""The role by every name that a request may give it, the names of other providers included."""


def distinct_roles(effective_role: Callable[[TextRole], TextRole]) -> list[TextRole]:
    """Return the roles whose embeddings differ from those of a text without a role.

    Args:
        effective_role: That of a model; see `core.ports.Embedder`.
    """
    return [role for role in TextRole if effective_role(role) is not TextRole.PLAIN]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts that replace those of a base model.

    Attributes:
        query, document, plain: Text put before every text of that role, the empty text for no
            prompt, or `None` to keep the base model's prompt.
    """

    query: str | None = None
    document: str | None = None
    plain: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role} {prompt!r}" for role, prompt in self.as_dict().items())

    def __bool__(self) -> bool:
        return bool(self.as_dict())

    def as_dict(self) -> dict[str, str]:
        """Return the prompts that are given, by role."""
        return {role: prompt for role, prompt in asdict(self).items() if prompt is not None}


NO_PROMPTS = Prompts()
