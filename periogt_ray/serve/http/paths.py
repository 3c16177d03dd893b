"""Which spellings of a path lead to the same route; decided before anything else looks at a request."""

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["NodePrefix", "TrailingSlash"]

_NODE_PREFIX = re.compile(r"/r?node/[A-Za-z0-9._-]{1,253}/[0-9]{1,5}(?=/|$)")
# The reference at /v1/docs has relative addresses, which would miss from /v1/docs/.
_WITH_SLASH = re.compile(r"/v1/(?!docs/)[^/].*[^/]/")


class NodePrefix:
    """ASGI middleware that takes ``/node/<host>/<port>`` off a path before anything else looks at it.

    Parameters
    ----------
    app : ASGI application
        What sees the path without the prefix.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        prefix = _NODE_PREFIX.match(scope["path"]) if scope["type"] == "http" else None
        if prefix is None:
            await self._app(scope, receive, send)
            return
        path = scope["path"][prefix.end() :]
        if not path:
            # Without the slash at the end, relative addresses of the page would miss the port.
            port = prefix.group().rpartition("/")[2]
            await RedirectResponse(f"{port}/")(scope, receive, send)
            return
        await self._app(_with_path(scope, path), receive, send)


class TrailingSlash:
    """ASGI middleware that takes the slash off ``/v1/predict/``; a redirect would lose the key or the body.

    Parameters
    ----------
    app : ASGI application
        What sees the path without the slash.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and _WITH_SLASH.fullmatch(scope["path"]):
            scope = _with_path(scope, scope["path"].removesuffix("/"))
        await self._app(scope, receive, send)


def _with_path(scope: Scope, path: str) -> Scope:
    return {**scope, "path": path, "raw_path": path.encode()}
