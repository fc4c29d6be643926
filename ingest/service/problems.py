"""What a client is told when something goes wrong, as RFC 9457 has it; what a request may take, and `HEAD`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.errors import IngestError, MartsReplaced, NotThere, QueryFailed, ServiceBusy, UsageError

MAX_BODY_BYTES = 1 << 20
MEDIA = "application/problem+json"
RETRY_SECONDS = "2"
log = logging.getLogger(__name__)


def problem(
    status: int, detail: str, hint: str = "", *, errors: list[dict[str, str]] | None = None, again: bool = False
) -> JSONResponse:
    """Return an answer that says what is wrong, and what to do.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail, hint : str
        What is wrong and where, and what to do.
    errors : list of dict, optional
        What is wrong with each parameter.
    again : bool
        Whether the same question may be answered in a moment.
    """
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "hint": hint,
    }
    headers = {"Cache-Control": "no-store", **({"Retry-After": RETRY_SECONDS} if again else {})}
    return JSONResponse(told | ({"errors": errors} if errors else {}), status, headers, MEDIA)


def handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """Return what answers for each kind of error."""
    return {
        RequestValidationError: _of_question,
        HTTPException: _of_http,
        IngestError: _of_marts,
        Exception: _of_us,
    }


async def _of_question(_request: Request, error: RequestValidationError) -> Response:
    errors = [
        {
            "where": ".".join(map(str, each["loc"])),
            "what": "There is no such parameter" if each["type"] == "extra_forbidden" else str(each["msg"]),
        }
        for each in error.errors()[:20]
    ]
    return problem(
        400,
        "; ".join(f"{each['where']}: {each['what']}" for each in errors),
        "/docs says what can be asked.",
        errors=errors,
    )


async def _of_http(_request: Request, error: HTTPException) -> Response:
    answer = problem(error.status_code, str(error.detail), "/docs says what can be asked.")
    answer.headers.update(error.headers or {})
    return answer


async def _of_marts(_request: Request, error: IngestError) -> Response:
    if isinstance(error, NotThere):
        return problem(404, error.message, error.hint)
    if isinstance(error, UsageError | QueryFailed):
        return problem(400, error.message, error.hint)
    return problem(503, error.message, error.hint, again=isinstance(error, MartsReplaced | ServiceBusy))


async def _of_us(request: Request, error: Exception) -> Response:
    log.error("%s failed", request.url.path, exc_info=error)
    return problem(500, "The service failed; its log says why.")


class Bounded:
    """Refuse a request whose body is larger than it may be."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  as ASGI has it
        size = 0
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if length.isdecimal() and int(length) > self._most:
            await self._too_large()(scope, receive, send)
            return

        async def receiving() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise HTTPException(413, f"The body is larger than {self._most:,} bytes.")
            return message

        await self._app(scope, receiving, send)

    def _too_large(self) -> Response:
        return problem(413, f"The body is larger than {self._most:,} bytes.", "Send fewer points at a time.")


class HeadAsGet:
    """Answer ``HEAD`` as ``GET``: FastAPI's routes know only the methods that they name. The server drops the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  as ASGI has it
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


class AtMost:
    """Refuse requests while so many are being answered that others would wait for long."""

    def __init__(self, app: ASGIApp, questions: int) -> None:
        self._app, self._most, self._count = app, questions, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  as ASGI has it
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._count >= self._most:
            refusal = problem(503, f"{self._most} requests are being answered.", "Ask again in a moment.", again=True)
            await refusal(scope, receive, send)
            return
        self._count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1
