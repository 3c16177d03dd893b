"""Whether addresses answer, and what kind they are; setup's tests cover hosts that do not answer."""

import socket

import pytest

from periogt_ray.runtime.network import can_connect, is_loopback, local_url


def test_a_connection_is_accepted_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert can_connect("127.0.0.1", port, 5)
        assert can_connect("localhost", port, 5)
    assert not can_connect("127.0.0.1", port, 5)


def test_a_name_that_does_not_resolve_is_no_error() -> None:
    assert not can_connect("no such host", 80, 5)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("login.example.edu", False),
    ],
)
def test_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("n1", "http://n1:8000"),
        ("10.0.0.1", "http://10.0.0.1:8000"),
    ],
)
def test_where_a_server_answers_on_its_own_machine(host: str, url: str) -> None:
    assert local_url(host, 8000) == url
