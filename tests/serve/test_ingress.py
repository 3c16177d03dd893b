"""The replica that answers HTTP."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from periogt_ray.runtime.shared_socket import sharing
from support.served_process import free_port, wait_for

# An ingress that answers with its process id, and /open with that and what it is told to say on its standard input.
# There it is also told that Serve replaces it.
SERVER = """
import asyncio, os, sys
from dataclasses import replace
from periogt_ray.serve import ingress
from support.serve_fakes import settings_with

class Deployment:
    def __getattr__(self, name):
        return self

    def options(self, **_):
        return self

    async def remote(self, *_):
        await asyncio.Event().wait()

said = asyncio.Event()

def create_api(service, settings):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode(), "more_body": True})
        if scope["path"] == "/open":
            service.n_open += 1
            await said.wait()
            service.n_open -= 1
        await send({"type": "http.response.body", "body": b"."})
    return app

async def main():
    ingress.create_api = create_api
    settings = replace(settings_with(), port=int(sys.argv[2]))
    one = ingress.Ingress(settings, Deployment(), Deployment(), socket_name=sys.argv[1])
    print("in line", flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if line == "replace":
            replaced = asyncio.create_task(one.__del__())
            replaced.add_done_callback(lambda _: print("replaced", flush=True))
        else:
            said.set()

asyncio.run(main())
"""


@contextmanager
def servers(name: str, port: int, *, n: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start ingresses, which take their places in the line in order."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", SERVER, name, str(port)]
    with ExitStack() as stack:
        found = []
        for _ in range(n):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            found.append(stack.enter_context(process))
            stack.callback(process.kill)
            expect(process, "in line")
        yield found


def expect(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def pid_at(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}", timeout=60).text.rstrip(".")


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_ingresses_answer_in_turn() -> None:
    port = free_port()
    with sharing("127.0.0.1", port) as shared, servers(shared.name, port, n=3) as (first, second, third):
        wait_for(lambda: is_listening(port), 60, "the first ingress listens")
        assert {pid_at(port) for _ in range(5)} == {str(first.pid)}
        os.kill(first.pid, signal.SIGKILL)
        assert {pid_at(port) for _ in range(5)} == {str(second.pid)}

        with httpx.stream("GET", f"http://127.0.0.1:{port}/open", timeout=60) as answer:
            parts = answer.iter_text()
            assert next(parts) == str(second.pid)
            tell(second, "replace")
            wait_for(lambda: pid_at(port) == str(third.pid), 60, "another one answers")
            tell(second, "go on")
            assert [*parts] == ["."]
            expect(second, "replaced")

        with (
            httpx.stream("GET", f"http://127.0.0.1:{port}/open", timeout=60) as answer,
            ThreadPoolExecutor(1) as holder,
        ):
            parts = answer.iter_text()
            assert next(parts) == str(third.pid)
            ending = holder.submit(shared.end, 60)
            assert not shared.end(0.2)
            tell(third, "go on")
            assert [*parts] == ["."]
            assert ending.result()
        assert not is_listening(port)


@pytest.mark.slow
def test_without_a_holder_the_service_goes_on() -> None:
    """As where `periogt serve` was killed on a Ray that others use, too."""
    port = free_port()
    with sharing("127.0.0.1", port) as shared, servers(shared.name, port, n=2) as (first, second):
        wait_for(lambda: is_listening(port), 60, "the first ingress listens")
        shared.close()
        assert pid_at(port) == str(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(60)
        wait_for(lambda: is_listening(port), 60, "the second ingress listens")
        assert pid_at(port) == str(second.pid)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["ingress", "run"])
def test_it_loads_neither_torch_nor_kernels(module: str) -> None:
    """A new ingress has to be there soon after the last one was lost, and a service soon after it was asked for."""
    code = (
        f"import sys, periogt_ray.serve.{module}, periogt_ray.polymer.repeat_unit as unit\n"
        "unit.RepeatUnit.parse('*CC*')\n"
        "print(sorted({'torch', 'numba', 'scipy'} & {*sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
