"""A listening socket that outlives the process which answers at it, and at which processes take turns."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from periogt_ray.runtime.shared_socket import HolderGoneError, SharedSocket, Turn, sharing
from support.served_process import free_port

# Answers each connection with its process id, once it has the turn and a line on its standard input.
SERVER = """
import asyncio, os, sys
from periogt_ray.runtime.shared_socket import Turn

async def main():
    turn = Turn(sys.argv[1])
    print("in line", flush=True)
    listener = await turn.listener()
    if listener is None:
        print("told to end", flush=True)
        return
    listener.listen(16)
    listener.setblocking(False)
    print("listening", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    told = asyncio.create_task(turn.is_told_to_end())
    while not told.done():
        accepted = asyncio.create_task(asyncio.get_running_loop().sock_accept(listener))
        await asyncio.wait([accepted, told], return_when=asyncio.FIRST_COMPLETED)
        if accepted.done():
            connection, _ = accepted.result()
            with connection:
                connection.sendall(str(os.getpid()).encode())
    print("told to end" if told.result() else "holder gone", flush=True)

asyncio.run(main())
"""


@contextmanager
def server(name: str, *lines: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", SERVER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in ("in line", *lines):
                expect(process, line)
            yield process
        finally:
            process.kill()


def expect(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answer(address: tuple[str, int]) -> str:
    with socket.create_connection(address, 60) as client:
        return client.recv(20).decode()


def test_a_connection_waits_for_the_next_server() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared:
        with server(shared.name, "listening") as first:
            begin(first)
            assert answer(address) == str(first.pid)
            os.kill(first.pid, signal.SIGKILL)
            first.wait(60)
        with socket.create_connection(address, 60) as waiting, server(shared.name, "listening") as second:
            begin(second)
            assert waiting.recv(20) == str(second.pid).encode()


def test_servers_take_turns() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared, server(shared.name, "listening") as first, server(shared.name) as second:
        begin(first)
        begin(second)
        assert {answer(address) for _ in range(5)} == {str(first.pid)}
        os.kill(first.pid, signal.SIGKILL)
        assert answer(address) == str(second.pid)
        expect(second, "listening")


def test_at_the_end_the_one_whose_turn_it_is_is_waited_for_and_nobody_else_has_one() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared, server(shared.name, "listening") as first, server(shared.name) as second:
        assert not shared.end(0.05)  # it has not begun to look
        begin(first)
        assert shared.end(60)
        expect(first, "told to end")
        expect(second, "told to end")
        with server(shared.name, "told to end"):
            pass
        with pytest.raises(ConnectionRefusedError):
            answer(address)


def test_the_end_of_a_socket_that_nobody_serves() -> None:
    with sharing("127.0.0.1", free_port()) as shared:
        assert shared.end(60)


def test_nobody_listens_until_a_server_does() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address), pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 60)


def test_a_server_keeps_the_socket_when_the_holder_closes() -> None:
    address = ("127.0.0.1", free_port())
    with sharing(*address) as shared, server(shared.name, "listening") as only:
        shared.close()
        with pytest.raises(HolderGoneError):
            Turn(shared.name)
        begin(only)
        expect(only, "holder gone")
        only.wait(60)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 60)


def test_an_address_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), sharing("127.0.0.1", taken.getsockname()[1]):
            pass


def left(shared: SharedSocket) -> tuple[socket.socket | None, socket.socket | None]:
    """Return what one gets who leaves the line, and then what another one gets."""

    async def stand_in_line() -> tuple[socket.socket | None, socket.socket | None]:
        first, second, third = (Turn(shared.name) for _ in range(3))
        listener = await first.listener()
        assert listener is not None
        listener.close()
        waiting = asyncio.create_task(second.listener())
        await asyncio.sleep(0)
        second.close()
        first.close()
        try:
            return await waiting, await third.listener()
        finally:
            third.close()

    return asyncio.run(stand_in_line())


def test_a_place_in_the_line_can_be_left() -> None:
    with sharing("127.0.0.1", free_port()) as shared:
        nothing, listener = left(shared)
        assert nothing is None
        assert listener is not None
        listener.close()


def test_who_stands_in_line_learns_that_the_holder_has_gone() -> None:
    async def stand_in_line(shared: SharedSocket) -> None:
        first, second = Turn(shared.name), Turn(shared.name)
        listener = await first.listener()
        assert listener is not None
        listener.close()
        shared.close()
        assert not await first.is_told_to_end()
        with pytest.raises(HolderGoneError):
            await second.listener()
        first.close()
        second.close()

    with sharing("127.0.0.1", free_port()) as shared:
        asyncio.run(stand_in_line(shared))


def test_a_socket_is_for_its_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing("127.0.0.1", free_port()) as shared:
        monkeypatch.setattr("periogt_ray.runtime.shared_socket.os.getuid", lambda: os.geteuid() + 1)
        with pytest.raises(HolderGoneError):
            Turn(shared.name)


@pytest.mark.root
def test_another_user_keeps_nobody_out_of_the_line() -> None:
    with sharing("127.0.0.1", free_port()) as shared, server(shared.name, "listening") as first:
        told, tells = os.pipe()
        stranger = os.fork()
        if stranger == 0:
            os.setuid(65534)
            visitors = []
            while len(visitors) < 300:
                visitors.append(socket.socket(socket.AF_UNIX))
                visitors[-1].connect(f"\0{shared.name}")
            os.write(tells, b".")
            signal.pause()
        try:
            assert os.read(told, 1) == b"."
            with server(shared.name) as second:
                first.kill()
                expect(second, "listening")
        finally:
            os.kill(stranger, signal.SIGKILL)
            os.waitpid(stranger, 0)


def test_a_name_that_nobody_shares() -> None:
    with pytest.raises(HolderGoneError):
        Turn("periogt-socket-none")
