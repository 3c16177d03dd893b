"""The web page: static files of the package, served as they are, under a strict policy.

Addresses in the page are relative, so that it works at ``/``, behind a proxy that strips a prefix, and
under ``/node/<host>/<port>/``, which Open OnDemand passes on whole and
:class:`~periogt_ray.serve.http.paths.NodePrefix` takes off.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from periogt_ray.settings import EXAMPLES

__all__ = ["WEB", "add_page"]

WEB = Path(__file__).parents[2] / "web"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_HEADERS = {
    # Drawings are fetched with the key and shown from blob: addresses.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for again each time and sent only if changed: a new version of the service has a new page.
    "Cache-Control": "no-cache",
}


class _File(NamedTuple):
    content: bytes
    media_type: str
    etag: str


@cache
def _files() -> Mapping[str, _File]:
    """Read every file that is served, by its path under ``/web/``; there is no way to any other."""
    found = {str(path.relative_to(WEB)): path for path in sorted(WEB.rglob("*")) if path.is_file()}
    found["polymers.csv"] = EXAMPLES
    return {
        name: _File(content := path.read_bytes(), _MEDIA_TYPES.get(path.suffix, _MEDIA_TYPES[".txt"]), _etag(content))
        for name, path in found.items()
    }


def _etag(content: bytes) -> str:
    return f'"{sha256(content).hexdigest()[:20]}"'


def add_page(api: FastAPI) -> None:
    """Add the page at ``/``, its files under ``/web/`` and the API reference at ``/docs``."""
    methods = ["GET", "HEAD"]

    @api.api_route("/", methods=methods, include_in_schema=False)
    async def index(request: Request) -> Response:
        return _answer(request, "index.html")

    @api.api_route("/favicon.ico", methods=methods, include_in_schema=False)
    async def icon(request: Request) -> Response:
        return _answer(request, "icon.svg")

    @api.api_route("/web/{path:path}", methods=methods, include_in_schema=False)
    async def static(request: Request, path: str) -> Response:
        return _answer(request, path)

    @api.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _answer(request, "docs.html")

    @api.get("/v1/docs", include_in_schema=False)
    async def docs_of_v1(request: Request) -> Response:
        return _answer(request, "docs.html", root="../")


def _answer(request: Request, name: str, *, root: str = "./") -> Response:
    """Answer with a file; ``root`` leads from its address to that of the page."""
    file = _files().get(name)
    if file is None:
        raise HTTPException(404)
    if root != "./":
        content = file.content.replace(b'="./', f'="{root}'.encode())
        file = _File(content, file.media_type, _etag(content))
    headers = {**_HEADERS, "ETag": file.etag}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
