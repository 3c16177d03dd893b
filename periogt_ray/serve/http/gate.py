"""What every request passes: its id, the API key, the limit of its body, its deadline, the access log."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from periogt_ray.errors import InternalError, PerioGTError, RequestTimeoutError, UnauthorizedError
from periogt_ray.model.answers import error_body
from periogt_ray.schemas import ErrorResponse
from periogt_ray.serve.http.access_log import log_request
from periogt_ray.serve.http.auth import API_KEY_HEADER, check_key, is_exempt
from periogt_ray.serve.http.request_ids import request_id
from periogt_ray.serve.trace import Recorder, Trace
from periogt_ray.settings import Settings

__all__ = ["Gate", "deadline_of", "error_response", "trace_of"]

logger = logging.getLogger(__name__)

_TRACE, _DEADLINE = "periogt.trace", "periogt.deadline"
_RETRY_AFTER_S = {"overloaded": 2, "not_ready": 5}
_CLIENT_LEFT = 499  # nginx's number for a client that closed the connection; logged, never sent


@dataclass
class _Progress:
    """How far a request has come.

    Attributes
    ----------
    has_begun : bool
        Whether its answer has begun, with ``status``.
    has_left : bool
        Whether the client closed the connection while the request was in work.
    status : int
        Of the answer; without meaning before it has begun.
    """

    has_begun: bool = False
    has_left: bool = False
    status: int = 0


def trace_of(scope: Scope) -> Trace:
    """Return the trace that the gate made for a request."""
    trace: Trace = scope[_TRACE]
    return trace


def deadline_of(scope: Scope) -> float:
    """Return a request's deadline, seconds since the epoch."""
    deadline: float = scope[_DEADLINE]
    return deadline


def error_response(
    error: PerioGTError, trace: Trace, *, status: int | None = None, code: str | None = None
) -> Response:
    """Make the answer of an error; ``status`` and ``code`` replace those of the error."""
    body = error_body(error)
    if code is not None:
        body = body.model_copy(update={"code": code})
    trace.outcome = body.code
    headers = {}
    if body.code in _RETRY_AFTER_S:
        headers["Retry-After"] = str(_RETRY_AFTER_S[body.code])
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "ApiKey"
    answer = ErrorResponse(error=body, request_id=trace.request_id)
    return JSONResponse(answer.model_dump(), status_code=status or error.http_status, headers=headers)


class Gate:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    settings : Settings
        The key and the bounds.
    recorder : Recorder
        Where figures go.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, recorder: Recorder) -> None:
        self._app = app
        self._api_key = settings.api_key
        self._bounds = settings.service
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; lifespan events pass through, anything else is refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = Headers(scope=scope)
        trace = Trace(request_id(_raw(headers, "x-request-id")))
        scope[_TRACE], scope[_DEADLINE] = trace, time.time() + self._bounds.timeout_s
        progress = _Progress()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                progress.has_begun, progress.status = True, message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = trace.request_id
            await send(message)

        try:
            refusal = self._refusal(scope, headers, trace)
            if refusal is not None:
                await refusal(scope, receive, send_marked)
            else:
                await self._run(scope, self._limited(receive), send_marked, progress)
        finally:
            self._record(scope, trace, progress, time.perf_counter() - started)

    def _record(self, scope: Scope, trace: Trace, progress: _Progress, seconds: float) -> None:
        """Count and log a request; one without an answer is one whose client left."""
        if not progress.has_begun:
            trace.outcome = "client_left"
        status = progress.status if progress.has_begun else _CLIENT_LEFT
        route = getattr(scope.get("route"), "path", "unmatched")
        self._recorder.request(route, trace.outcome, seconds)
        log_request(trace, method=_method(scope), route=route, status=status, seconds=seconds)

    def _refusal(self, scope: Scope, headers: Headers, trace: Trace) -> Response | None:
        """Return the answer to a request without the key."""
        if is_exempt(scope["path"]):
            return None
        try:
            check_key(self._api_key, _raw(headers, API_KEY_HEADER.lower()))
        except UnauthorizedError as error:
            return error_response(error, trace)
        return None

    async def _run(self, scope: Scope, receive: Receive, send: Send, progress: _Progress) -> None:
        """Run the application until the deadline; an exception that it does not handle is an internal error.

        If the client leaves first, the work that was for this client only is cancelled.
        """
        trace = trace_of(scope)
        limit = asyncio.timeout(self._bounds.timeout_s)
        try:
            async with limit, _watched_client(receive, limit, progress) as receive_watched:
                await self._app(scope, receive_watched, send)
            return
        except TimeoutError:
            if not limit.expired():
                raise
            if progress.has_left:
                return
            error: PerioGTError = RequestTimeoutError(
                f"The request was not answered within {self._bounds.timeout_s:g} s and was dropped. Send fewer or "
                "smaller polymers at once, or send it again when the service is less busy."
            )
        except Exception:
            # The outermost frame of a request: the log gets the whole traceback, the answer none of it.
            logger.exception("request %s failed by a bug", trace.request_id)
            error = InternalError(f"The request failed by a bug; the service's log has it as {trace.request_id}.")
        trace.outcome = error.code
        if not progress.has_begun:
            await error_response(error, trace)(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """Return a ``receive`` that stops at the largest body accepted."""
        n_bytes = 0

        async def limited() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._bounds.max_body_bytes:
                raise HTTPException(413)
            return message

        return limited


@asynccontextmanager
async def _watched_client(receive: Receive, limit: asyncio.Timeout, progress: _Progress) -> AsyncIterator[Receive]:
    """End a limit when the client closes the connection; once the body is read, nothing else notices that."""
    is_read = asyncio.Event()

    async def watched() -> Message:
        message = await receive()
        if not message.get("more_body", False):
            is_read.set()
        return message

    async def watch() -> None:
        await is_read.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        progress.has_left = True
        limit.reschedule(asyncio.get_running_loop().time())

    watching = asyncio.create_task(watch())
    try:
        yield watched
    finally:
        watching.cancel()


def _raw(headers: Headers, name: str) -> bytes | None:
    """Return a header's value; None where it is absent, or given twice and therefore unclear."""
    values = [value for key, value in headers.raw if key == name.encode()]
    return values[0] if len(values) == 1 else None


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    return scope["method"] if scope["method"] in known else "other"
