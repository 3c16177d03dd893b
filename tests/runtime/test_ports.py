"""Ports that are free, and blocks of them."""

import os
import socket

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.ports import check_port, check_port_beside_ray, port_error, reserved_ports


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_error("127.0.0.1", port) == os.strerror(98)
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be bound.*PERIOGT_PORT"):
            check_port("127.0.0.1", port)
    assert port_error("127.0.0.1", port) is None
    check_port("127.0.0.1", port)


def test_a_port_that_ray_took_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} was free before Ray.*from 20000 to 32767.*--port"):
            check_port_beside_ray("127.0.0.1", port)
    check_port_beside_ray("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    assert port_error(host, 0)
    with pytest.raises(SettingsError, match="PERIOGT_HOST"):
        check_port(host, 0)


def test_a_block_has_ports_of_its_own() -> None:
    with reserved_ports(3) as ports:
        assert len(set(ports.all())) == len(ports.all())
        assert all(port_error("0.0.0.0", port) is None for port in ports.all())
