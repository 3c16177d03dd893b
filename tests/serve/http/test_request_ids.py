"""What Serve's proxy is given to do with request ids, where it stands before the application."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from periogt_ray.serve.http.request_ids import ProxyRequestIds, proxy_middlewares, request_id


def through_proxy(*given: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the ids that the application behind the proxy sees, and those in the answer."""
    seen: list[bytes] = []
    sent: list[Message] = []

    async def proxied(scope: Scope, _: Receive, send: Send) -> None:
        seen.extend(value for key, value in scope["headers"] if key == b"x-request-id")
        # The application writes the id, and the proxy writes it once more.
        headers = [(b"content-type", b"x"), (b"x-request-id", seen[0]), (b"X-Request-ID", seen[0])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"accept", b"*/*"), *((b"x-request-id", value) for value in given)]}
    asyncio.run(ProxyRequestIds(proxied)(scope, receive, send))
    assert (b"content-type", b"x") in sent[0]["headers"]
    return seen, [value for key, value in sent[0]["headers"] if key.lower() == b"x-request-id"]


def test_an_acceptable_id_is_kept_once() -> None:
    assert through_proxy(b"mine") == ([b"mine"], [b"mine"])


@pytest.mark.parametrize("given", [(), (b"caf\xe9",), (b"x" * 129,), (b"one", b"two")])
def test_any_other_is_replaced_for_both(given: tuple[bytes, ...]) -> None:
    seen, answered = through_proxy(*given)
    assert seen == answered
    assert len(seen) == 1
    assert len(seen[0]) == 36


def test_new_ids_differ() -> None:
    assert request_id(None) != request_id(None)


def test_the_proxy_is_given_one_middleware() -> None:
    [middleware] = proxy_middlewares()
    assert middleware.cls is ProxyRequestIds
