"""Every refusal in OpenAI's error body, with the request's id and nothing of the machine's."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
CLOSE = {"Connection": "close"}
NOT_JSON = "send one JSON object, with the header Content-Type: application/json"

MESSAGES = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "is empty; send at least one character",
    "string_unicode": "holds half of a surrogate pair, which is no text",
    "list_type": "must be a string or a list of strings",
    "too_short": "is empty; send at least one text",
}
"""What to say of a field, by pydantic's error type; pydantic's own words for all others."""


class ApiError(Exception):
    """A request that gets no answer, as the client is told of it.

    Attributes:
        status: HTTP status; 409 is never used, for clients retry it.
        code: Short name of the fault, for programs.
        message: One sentence, for people.
        param: The field at fault, such as ``input[1]``; None where no field is.
        headers: Further headers of the reply.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return {
            "error": {
                "message": self.message,
                "type": _type_of(self.status),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def _type_of(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


class Replies:
    """The outermost layer: gives each reply its request id, and an `ApiError` its reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ApiError as error:
            await error.response()(scope, receive, send_with_id)


def speak_openai(app: FastAPI) -> None:
    """Give the framework's own refusals, and whatever breaks inside, OpenAI's error body."""
    app.exception_handler(RequestValidationError)(_invalid_body)
    app.exception_handler(HTTPException)(_refused_by_framework)
    app.exception_handler(Exception)(_broken)


async def _invalid_body(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    kind, place = str(first["type"]), first["loc"][1:]
    if kind == "json_invalid" or not place:
        return ApiError(400, "invalid_json", NOT_JSON).response()
    param = str(place[0]) + "".join(f"[{part}]" for part in place if isinstance(part, int))
    code = "missing_required_parameter" if kind == "missing" else "invalid_value"
    message = f"{param}: {MESSAGES.get(kind, first['msg'])}"
    return ApiError(400, code, message, param).response()


async def _refused_by_framework(request: Request, error: HTTPException) -> Response:
    asked = f"{request.method} {request.scope['path']}"[:200]
    code, message = {
        400: ("invalid_json", NOT_JSON),
        404: ("unknown_url", f"there is no {asked}; see POST /v1/embeddings and GET /v1/models"),
        405: ("method_not_allowed", f"{request.method} is not a method of this path"),
    }.get(error.status_code, ("invalid_request", HTTPStatus(error.status_code).phrase))
    return ApiError(error.status_code, code, message, headers=error.headers).response()


async def _broken(request: Request, error: Exception) -> Response:
    """The last resort. The framework raises the error again, and the server logs its traceback."""
    # uvicorn closes the connection on such an error; a client that is not told would use it again.
    headers = {REQUEST_ID: request.state.request_id, **CLOSE}
    logger.error("request %s failed", request.state.request_id)
    message = "the server failed; its log tells why, under this request's id"
    return ApiError(500, "internal_error", message, headers=headers).response()
