"""The replica that answers HTTP."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from periogt_ray.runtime.shared_socket import sharing
from support.serve_fakes import settings_with
from support.served_process import free_port, wait_for

# Answers with its process id, by the server and the socket of an ingress.
SERVER = """
import asyncio, os, sys
import uvicorn
from periogt_ray.serve.ingress import _listener, _server_options
from support.serve_fakes import settings_with

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

server = uvicorn.Server(_server_options(app, settings_with()))
asyncio.run(server.serve([_listener(server.config, sys.argv[1])]))
"""


@contextmanager
def server(name: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", SERVER, name], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_requests_wait_for_the_next_ingress() -> None:
    port = free_port()
    with sharing("127.0.0.1", port) as shared:
        with server(shared.name) as first:
            wait_for(lambda: is_listening(port), 300, "the first ingress listens")
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60).text == str(first.pid)
            os.kill(first.pid, signal.SIGKILL)
            first.wait(60)
        with ThreadPoolExecutor(1) as client:
            waiting = client.submit(httpx.get, f"http://127.0.0.1:{port}/", timeout=300)
            with server(shared.name) as second:
                assert waiting.result().text == str(second.pid)


def test_where_nobody_shares_a_socket_it_binds_its_own() -> None:
    from periogt_ray.serve.ingress import _listener, _server_options

    async def app(*_: object) -> None:
        """Answers nothing."""

    config = _server_options(app, settings_with())
    config.port = free_port()
    with _listener(config, "periogt-socket-none") as own:
        assert own.getsockname() == ("127.0.0.1", config.port)


@pytest.mark.slow
def test_it_loads_neither_torch_nor_kernels() -> None:
    """A new one has to be there soon after the last one was lost."""
    code = (
        "import sys, periogt_ray.serve.ingress, periogt_ray.polymer.repeat_unit as unit\n"
        "unit.RepeatUnit.parse('*CC*')\n"
        "print(sorted({'torch', 'numba', 'scipy'} & {*sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
