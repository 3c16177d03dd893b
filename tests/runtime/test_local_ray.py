"""Connections to a Ray that is not there."""

import socket

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.local_ray import local_ray


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        pytest.raises(SettingsError, match=f"127.0.0.1:{port}.*Check that it runs there"),
        local_ray(address=f"127.0.0.1:{port}"),
    ):
        raise AssertionError("connected to nothing")
