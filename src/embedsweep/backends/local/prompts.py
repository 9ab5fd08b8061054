"""The prompt that a sentence-transformers model puts before a text, and how to replace it."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer

from embedsweep.core.roles import Prompts, TextRole

_NAMES: dict[TextRole, tuple[str, ...]] = {
    TextRole.QUERY: ("query",),
    TextRole.DOCUMENT: ("document", "passage", "corpus"),
    TextRole.PLAIN: (),
}
"""The names that ``encode_query``, ``encode_document`` and ``encode`` look up, in their order."""


def prompt_of(model: SentenceTransformer, role: TextRole) -> str:
    """Return what the model's own ``encode_query``, ``encode_document`` or ``encode`` prepends."""
    known = (name for name in _NAMES[role] if name in model.prompts)
    name = next(known, model.default_prompt_name)
    return (model.prompts.get(name) or "") if name else ""


def apply_prompts(model: SentenceTransformer, prompts: Prompts | None) -> None:
    """Replace the model's prompts by those that are given.

    The model saves them in ``config_sentence_transformers.json``, so that its own ``encode``
    methods prepend them wherever the model is opened.
    """
    if prompts is None:
        return
    given = prompts.as_dict()
    # Resolved before any is replaced, because a role without a prompt falls back on the default.
    resolved = {role: given.get(role.value, prompt_of(model, role)) for role in TextRole}
    model.prompts = {**model.prompts, **{role.value: text for role, text in resolved.items()}}
    model.default_prompt_name = TextRole.PLAIN.value if resolved[TextRole.PLAIN] else None
