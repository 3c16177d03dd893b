"""A listening socket that outlives the process which answers at it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from periogt_ray.runtime.shared_socket import received_socket, sharing

# Answers each connection with its process id, once it is told to begin.
SERVER = """
import os, sys
from periogt_ray.runtime.shared_socket import received_socket
listener = received_socket(sys.argv[1])
listener.listen(16)
print("listening", flush=True)
sys.stdin.readline()
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(str(os.getpid()).encode())
"""


@contextmanager
def server(name: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", SERVER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.kill()


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_connection_waits_for_the_next_server() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared:
        with server(shared.name) as first:
            begin(first)
            with socket.create_connection(address, 60) as client:
                assert client.recv(20) == str(first.pid).encode()
            os.kill(first.pid, signal.SIGKILL)
            first.wait(60)
        with socket.create_connection(address, 60) as waiting, server(shared.name) as second:
            begin(second)
            assert waiting.recv(20) == str(second.pid).encode()


def test_nobody_listens_until_a_server_does() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address), pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 60)


def test_a_server_keeps_the_socket_when_the_holder_closes() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared, server(shared.name) as only:
        shared.close()
        assert received_socket(shared.name) is None
        begin(only)
        with socket.create_connection(address, 60) as client:
            assert client.recv(20) == str(only.pid).encode()
        only.kill()
        only.wait(60)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 60)


def test_an_address_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), sharing("127.0.0.1", taken.getsockname()[1]):
            pass


def test_a_socket_is_for_its_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing("127.0.0.1", free_port()) as shared:
        monkeypatch.setattr("periogt_ray.runtime.shared_socket.os.getuid", lambda: os.geteuid() + 1)
        assert received_socket(shared.name) is None


def test_a_name_that_nobody_shares() -> None:
    assert received_socket("periogt-socket-none") is None
