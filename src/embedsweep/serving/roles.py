"""The role of the texts of a request: named in its body, by its model id, or by the operator."""

from __future__ import annotations

from embedsweep.core.ports import Embedder
from embedsweep.core.roles import ROLE_NAMES, TextRole, distinct_roles
from embedsweep.serving.errors import ApiError

PARAM = "input_type"


def split_role(model_id: str) -> tuple[str, TextRole | None]:
    """Split ``name:query`` into the model's id and the role; the role is `None` without one."""
    name, _, suffix = model_id.rpartition(":")
    role = ROLE_NAMES.get(suffix)
    return (name, role) if name and role else (model_id, None)


def role_of(
    named: TextRole | None, by_id: TextRole | None, default: TextRole | None, embedder: Embedder
) -> TextRole:
    """Return the role that a request means.

    Args:
        named: Role in the request's body, or `None`.
        by_id: Role in the suffix of its model id, or `None`.
        default: Role of requests that name none, or `None` to reject them.
        embedder: The model that the request names.

    Raises:
        ApiError: 400 if two different roles are named, or if none is and the model needs one.
    """
    if named and by_id and named is not by_id:
        message = f"{PARAM}: is {named.value}, but the model id ends in {by_id.value}; name one"
        raise ApiError(400, "conflicting_roles", message, PARAM)
    role = named or by_id or default
    if role is not None:
        return role
    if distinct_roles(embedder.effective_role):
        message = (
            f"{PARAM}: is required, because this model embeds queries and documents differently; "
            f'add "{PARAM}": "query" or "{PARAM}": "document" to the body, or append ":query" or '
            '":document" to the model id'
        )
        raise ApiError(400, "missing_required_parameter", message, PARAM)
    return TextRole.PLAIN
