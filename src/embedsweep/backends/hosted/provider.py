"""One provider, as it is called from here: retries that are safe, and errors in our own words."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx2
import openai

from embedsweep.backends.hosted.clock import Clock, Waits
from embedsweep.backends.hosted.identity import OPENAI_URL
from embedsweep.core.errors import StoreError
from embedsweep.core.trial import TrialFailure

CONNECT_SECONDS = 10.0
READ_SECONDS = 120.0
PATIENCE = 600.0
"""Seconds that a call waits in all for a provider that is busy or out of order."""

MAX_PAGES = 100
PAGE = 100
"""Items asked for at a time."""

_SHOWN = 500
_LONG = 10.0
"""Seconds of waiting that whoever watches wants to know of."""

_SHORTEST_KEY = 6
"""Servers that want no key are given a word such as ``none``, which is no secret."""

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
_UNDECIDED = frozenset({408, 409, 425, 499})
"""Of the statuses for faulty requests, those that may come after one was carried out."""

_OF_THE_REQUEST = frozenset({400, 413, 422})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class RawReply(Protocol):
    """What ``with_raw_response`` of the openai client gives."""

    @property
    def content(self) -> bytes: ...


Call = Callable[[openai.OpenAI], RawReply]


def open_client(
    base_url: str | None,
    key: str,
    read_seconds: float = READ_SECONDS,
    http_client: httpx2.Client | None = None,
) -> openai.OpenAI:
    """A client that never repeats a request of its own accord; `Provider` does where it is safe.

    Args:
        base_url: The server's, with its ``/v1``; None for OpenAI.
        key: The server's key; any word for a server that wants none.
        read_seconds: How long a reply may take.
        http_client: What carries the requests; None for the client's own.
    """
    return openai.OpenAI(
        api_key=key,
        base_url=base_url or OPENAI_URL,
        default_headers=None if base_url is None else _own_headers(key),
        timeout=openai.Timeout(read_seconds, connect=CONNECT_SECONDS),
        max_retries=0,
        http_client=http_client,
    )


def _own_headers(key: str) -> Mapping[str, Any]:
    """Keeps other servers from being shown what the environment holds for OpenAI.

    The client would add to every request who pays at OpenAI, and all the headers that a variable
    holds, which may be keys.
    """
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    named = [line.partition(":")[0].strip() for line in lines if ":" in line]
    kept_back = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project", *named), openai.omit)
    return {**kept_back, "Authorization": f"Bearer {key}"}


class ProviderFault(Exception):
    """A call came to nothing.

    Attributes:
        message: The provider's own words, or what broke; no key in it.
        status: The reply's; None where none came, 200 for a reply that is not what was asked for.
        retry_after: Seconds the provider asked to wait.
        was_refused: The request was certainly not carried out.
        may_pass: The same request may succeed later.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
        *,
        was_refused: bool = False,
        may_pass: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.was_refused = was_refused
        self.may_pass = may_pass

    def told(self, provider: str, action: str) -> StoreError | TrialFailure:
        """The error to raise: of the trial where the request is at fault, else of the provider."""
        if self.status in _OF_THE_REQUEST:
            return TrialFailure("provider", f"{provider} refuses {action}: {self.message}")
        return StoreError(f"provider {provider}", action, self.message, _fix(self.status))


class Provider:
    """A provider's API.

    Args:
        name: As recipes name it.
        client: Its client.
        clock: Time.
        patience: Seconds that a call may wait in all.
    """

    def __init__(
        self,
        name: str,
        client: openai.OpenAI,
        clock: Clock | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.clock = clock or Clock()
        self.patience = patience
        self._client = client.with_options(max_retries=0)
        self._key = client.api_key

    def once(self, call: Call) -> dict[str, Any]:
        """The reply to a single request, a JSON object; raises `ProviderFault`."""
        try:
            content = call(self._client).content
        except openai.APIStatusError as error:
            raise self._fault_of_status(error) from None
        except openai.APIConnectionError as error:
            raise self._fault_of_connection(error) from None
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            text = self.shown(content.decode("utf-8", "replace"))
            raise ProviderFault(f"the reply is no JSON object but {text!r:.120}", 200)
        return reply

    def patiently(self, call: Call) -> dict[str, Any]:
        """The reply to a request that may be repeated; raises `ProviderFault` in the end."""
        waits = Waits(self.clock, self.patience)
        while True:
            try:
                return self.once(call)
            except ProviderFault as fault:
                if not self.wait_after(fault, waits):
                    raise

    def ask(self, call: Call, action: str) -> dict[str, Any]:
        """The same in our own words.

        Args:
            call: Makes the request; it may be repeated.
            action: What is tried, such as ``to read job ftjob-1``.

        Raises:
            TrialFailure: The provider finds fault with the request.
            StoreError: It refuses the key, or patience came to its end.
        """
        try:
            return self.patiently(call)
        except ProviderFault as fault:
            raise fault.told(self.name, action) from None

    def wait_after(self, fault: ProviderFault, waits: Waits) -> bool:
        """Wait until the request may be tried again; False when it should not be.

        Raises:
            ProviderFault: Patience came to its end; the same fault, which says so.
        """
        if not fault.may_pass:
            return False
        pause = waits.pause(fault.retry_after)
        if pause is None:
            asked = "" if fault.retry_after is None else f", asked to wait {fault.retry_after:g} s"
            raise ProviderFault(
                f"{fault.message} (tried {waits.tries} times{asked}; it is waited for"
                f" {self.patience:g} s at most)",
                fault.status,
                was_refused=fault.was_refused,
            ) from None
        level = logging.WARNING if pause >= _LONG else logging.INFO
        _logger.log(level, "%s: %s; asked again in %.0f s", self.name, fault.message, pause)
        self.clock.sleep(pause)
        return True

    def pages(
        self, call: Callable[[openai.OpenAI, str | openai.Omit], RawReply]
    ) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list; raises `ProviderFault` when one cannot be had.

        Args:
            call: Asks for the page after the item of that id.
        """
        after: str | openai.Omit = openai.omit
        for _ in range(MAX_PAGES):
            asked_after = after
            reply = self.patiently(lambda client, at=asked_after: call(client, at))  # type: ignore[misc]
            data = reply.get("data")
            if not isinstance(data, list):
                raise ProviderFault("the reply is no list", 200)
            page = [item for item in data if isinstance(item, dict)]
            yield page
            last = page[-1].get("id") if page else None
            # Some servers know no pages and give the same one for ever.
            if reply.get("has_more") is False or not isinstance(last, str) or last == after:
                return
            after = last
        raise ProviderFault(f"the list has no end within {MAX_PAGES} pages", 200)

    def shown(self, text: str) -> str:
        """The text with the key taken out, cut to what people read."""
        if len(self._key) >= _SHORTEST_KEY:
            text = text.replace(self._key, "***")
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    def _fault_of_status(self, error: openai.APIStatusError) -> ProviderFault:
        status, body = error.status_code, error.body
        code = body.get("code") if isinstance(body, Mapping) else None
        passes = status >= 500 or status in _UNDECIDED or status == 429
        return ProviderFault(
            f"status {status}: {self._said(body, error)}",
            status,
            _retry_after(error.response.headers),
            was_refused=400 <= status < 500 and status not in _UNDECIDED,
            may_pass=passes and code not in _NO_CREDIT,
        )

    def _said(self, body: object, error: openai.APIStatusError) -> str:
        """The provider's message as it is, with its code and the parameter it is about."""
        if not isinstance(body, Mapping) or not isinstance(body.get("message"), str):
            return self.shown(error.response.text.strip()) or "no message"
        details = [f"{name} {body[name]}" for name in ("code", "param") if body.get(name)]
        return self.shown(body["message"] + (f" ({', '.join(details)})" if details else ""))

    def _fault_of_connection(self, error: openai.APIConnectionError) -> ProviderFault:
        cause = error.__cause__
        why = self.shown(str(cause) or type(cause).__name__)
        slow = "no reply in time" if isinstance(error, openai.APITimeoutError) else "no connection"
        sent = not isinstance(cause, _NEVER_SENT)
        return ProviderFault(f"{slow}: {why}", was_refused=not sent, may_pass=True)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as RFC 9110 (10.2.3) and, before it, OpenAI's own header say."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        until, now = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (until - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _fix(status: int | None) -> str:
    match status:
        case 401:
            return "give the right key, in the environment variable that the experiment names"
        case 403:
            return "ask the provider's administrator for the permission, or use another key"
        case 404:
            return "check the model's name and the provider's base URL, which ends in /v1"
        case 402 | 429:
            return "check the plan and the limits at the provider, or try again later"
        case None:
            return "check the provider's address and that it runs, then run the command again"
        case _:
            return "look at the provider's status page or its log, then run the command again"
