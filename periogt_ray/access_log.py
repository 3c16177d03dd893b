"""Request ids, and the access log: one JSON object a request, on standard error."""

import json
import logging
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from periogt_ray.service import Trace

__all__ = ["MAX_ID_LENGTH", "ProxyRequestIds", "log_request", "request_id"]

MAX_ID_LENGTH = 128
_HEADER = b"x-request-id"

logger = logging.getLogger(__name__)


def request_id(given: bytes | None) -> str:
    """Return the id that a client gave if it is printable ASCII of at most 128 characters, else a new one."""
    if given and len(given) <= MAX_ID_LENGTH and all(0x20 <= byte < 0x7F for byte in given):
        return given.decode("ascii")
    return str(uuid4())


def log_request(trace: Trace, *, method: str, route: str, status: int, seconds: float) -> None:
    """Log one request.

    Parameters
    ----------
    trace : Trace
        What happened.
    method, route : str
        The route's own path, so that nothing a client invents gets into the log.
    status : int
        Of the answer; 499 where the client left.
    seconds : float
        From the request's arrival to the end of its answer.
    """
    record = {
        "request_id": trace.request_id,
        "method": method,
        "route": route,
        "status": status,
        "outcome": trace.outcome,
        "property": ",".join(trace.properties) or None,
        "n_polymers": trace.n_polymers,
        "n_triplets": trace.n_triplets,
        "n_cache_hits": trace.n_cache_hits,
        "batch_size": trace.batch_size,
        "queue_s": round(trace.queue_s, 6),
        "featurize_s": round(trace.featurize_s, 6),
        "forward_s": round(trace.forward_s, 6),
        "total_s": round(seconds, 6),
    }
    logger.info("%s", json.dumps(record, ensure_ascii=True))


class ProxyRequestIds:
    """ASGI middleware for Serve's proxy, which takes any id and writes it beside the application's.

    It puts an acceptable id into the request before the proxy reads it, and keeps one in the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value for key, value in scope["headers"] if key == _HEADER]
        chosen = request_id(given[0] if len(given) == 1 else None).encode()
        headers = [pair for pair in scope["headers"] if pair[0] != _HEADER]

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() != _HEADER]
                message = {**message, "headers": [*kept, (_HEADER, chosen)]}
            await send(message)

        await self._app({**scope, "headers": [*headers, (_HEADER, chosen)]}, receive, send_once)
