"""What can be told of a provider's models before anything is asked of it.

Loads none of what speaks to providers: an experiment is checked without.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.recipe import OPENAI, Base, HostedRecipe

OPENAI_URL = "https://api.openai.com/v1"


def refusal(recipe: HostedRecipe) -> str | None:
    """Why no job can come of the recipe, whatever the data; or None."""
    if _is_openai(recipe.provider):
        return (
            f"OpenAI accepts no embedding model for fine-tuning, {recipe.base_model} included; "
            "an arm with 'backend: adapter' and 'provider: openai' tunes a head on its vectors"
        )
    return None


def base_digest(base: Base) -> str:
    """Identity of a provider's model: its names, for its weights cannot be seen."""
    provider = provider_of(base).rstrip("/")
    return fingerprint(HostedRecipe.kind, provider, base.model, base.dimensions)


def provider_of(base: Base) -> str:
    """The provider that has an untuned model."""
    if base.provider is None:
        raise TypeError(f"{base} is a model of this machine")
    return base.provider


def _is_openai(provider: str) -> bool:
    return provider == OPENAI or urlsplit(provider).hostname == urlsplit(OPENAI_URL).hostname
