"""How a provider takes the role of the texts in a request for embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import openai

from embedsweep.backends.hosted.provider import Provider, ProviderFault, RawReply
from embedsweep.core.recipe import OPENAI
from embedsweep.core.roles import TextRole

_WAIT = (None, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses of a server that is busy or out of reach; `None` if there was no reply."""

RoleFields = Mapping[TextRole, Mapping[str, str]]
"""By role, the fields to add to the body of a request; a role that is absent adds none."""

KNOWN: Mapping[str, RoleFields] = {
    "api.voyageai.com": {
        TextRole.QUERY: {"input_type": "query"},
        TextRole.DOCUMENT: {"input_type": "document"},
    },
    "api.jina.ai": {
        TextRole.QUERY: {"task": "retrieval.query"},
        TextRole.DOCUMENT: {"task": "retrieval.passage"},
    },
}
"""By host, the providers whose documents name a field for roles."""


def role_fields(provider: Provider, model: str) -> RoleFields:
    """Return what a provider's model takes to know the role of texts.

    A server that is not in `KNOWN` is asked for the model, as in ``GET /v1/models/{model}``:
    embedsweep's own server lists there the roles that a request has to name.

    Raises:
        StoreError: If the server does not answer.
    """
    if provider.name == OPENAI:
        return {}
    known = KNOWN.get(urlsplit(provider.name).hostname or "")
    return _listed(provider, model) if known is None else known


def _listed(provider: Provider, model: str) -> RoleFields:
    def card(client: openai.OpenAI) -> RawReply:
        return client.models.with_raw_response.retrieve(model)

    try:
        found = provider.once(card)
    except ProviderFault as fault:
        # Servers that have no such page answer it in many ways. One that needs roles and is not
        # asked for them says so when it is to embed.
        if fault.status not in _WAIT:
            return {}
        found = provider.ask(card, f"to read what {model} takes")
    roles = found.get("roles")
    if not isinstance(roles, list) or not roles:
        return {}
    return {role: {"input_type": role.value} for role in TextRole}
