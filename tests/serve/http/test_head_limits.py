"""What comes before a request is bounded in size and time."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from periogt_ray.serve.http import head_limits
from periogt_ray.serve.http.head_limits import MAX_HEAD_BYTES, BoundedProtocol

TIMEOUT_S = 30.0


async def echo_length(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = str(length).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(head_limits, "HEAD_TIMEOUT_S", 1.0)
    config = uvicorn.Config(echo_length, port=0, lifespan="off", http=BoundedProtocol, log_config=None)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    listening.close()


def answers(connection: socket.socket) -> bytes:
    """Return all that comes until the service closes the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: ", b"GET /"])
def test_an_endless_head_ends_the_connection(address: tuple[str, int], start: bytes) -> None:
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.sendall(start)
        # Far more than what the kernel holds, which says nothing of what the service has taken.
        with pytest.raises(ConnectionError):
            connection.sendall(b"a" * (1024 * MAX_HEAD_BYTES))
        assert answers(connection) in (b"", head_limits._TOO_LARGE)


@pytest.mark.parametrize("start", [b"", b"GET /v1/he", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"])
def test_a_head_that_does_not_end_ends_the_connection(address: tuple[str, int], start: bytes) -> None:
    started = time.monotonic()
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.sendall(start)
        found = answers(connection)
    assert found.count(b"200 OK") == start.count(b"\r\n\r\n")
    assert time.monotonic() - started >= 0.9


def test_large_bodies_and_kept_connections_are_not_concerned(address: tuple[str, int]) -> None:
    body = b"b" * (8 * MAX_HEAD_BYTES)
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        for _ in range(3):
            connection.sendall(request)
            found = b""
            while not found.endswith(b"\r\n\r\n%d" % len(body)):
                piece = connection.recv(65536)
                assert piece, found
                found += piece
            time.sleep(0.5)  # together longer than a head may take
