"""Clients of providers, with keys that come from the environment and go nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from embedsweep.core.errors import UsageError
from embedsweep.core.recipe import LOOPBACK, OPENAI

if TYPE_CHECKING:
    import openai

    from embedsweep.wiring.loopback import Loopback

OPENAI_KEY = "OPENAI_API_KEY"
SERVER_KEY = "EMBEDSWEEP_PROVIDER_KEY"
"""For servers named by their URL, where the experiment names no other variable."""

NO_KEY = "none"
"""Shown to servers that want no key, for the client will not go without one."""


class Providers:
    """Connects to providers by name; each gets its own key.

    Args:
        environ: Where the keys are.
        key_variables: By provider, the variable that holds its key, where one is named.
        loopback: The project's own service.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        key_variables: Mapping[str, str],
        loopback: Loopback,
    ) -> None:
        self._environ = environ
        self._key_variables = key_variables
        self._loopback = loopback

    def connect(self, provider: str, key_variable: str | None = None) -> openai.OpenAI:
        """A client of the provider.

        Args:
            provider: One of `core.recipe.PROVIDERS` or a base URL.
            key_variable: The variable that holds the key, where a model's file names one.

        Raises:
            UsageError: The key is missing or unfit.
        """
        if provider == LOOPBACK:
            return self._loopback.client()
        from embedsweep.backends.hosted.provider import open_client

        key = self.key(provider, key_variable)
        return open_client(None if provider == OPENAI else provider, key)

    def key(self, provider: str, key_variable: str | None = None) -> str:
        """The provider's key; raises `UsageError` when it is missing or unfit."""
        named = key_variable or self._key_variables.get(provider)
        variable = named or (OPENAI_KEY if provider == OPENAI else SERVER_KEY)
        key = self._environ.get(variable, "")
        if not key and named is None and provider != OPENAI:
            return NO_KEY
        if not key:
            raise UsageError(
                f"no key for {provider}",
                f"the environment variable {variable}",
                "it is not set",
                f"set {variable} to the provider's key; it belongs in no file",
            )
        if not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"the key for {provider}",
                f"the environment variable {variable}",
                "it holds a character that no key has, such as a line break or a blank",
                "set it again, without quotes and line breaks",
            )
        return key
