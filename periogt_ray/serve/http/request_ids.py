"""Request ids, which clients give or get; light, because Serve's proxy imports it."""

from uuid import uuid4

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_ID_LENGTH", "ProxyRequestIds", "proxy_middlewares", "request_id"]

MAX_ID_LENGTH = 128
_HEADER = b"x-request-id"


def request_id(given: bytes | None) -> str:
    """Return the id that a client gave if it is printable ASCII of at most 128 characters, else a new one."""
    if given and len(given) <= MAX_ID_LENGTH and all(0x20 <= byte < 0x7F for byte in given):
        return given.decode("ascii")
    return str(uuid4())


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


def proxy_middlewares() -> list[Middleware]:
    """Return what Serve's proxy runs around every request (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH)."""
    return [Middleware(ProxyRequestIds)]
