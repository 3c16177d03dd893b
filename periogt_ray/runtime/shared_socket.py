"""A listening socket that outlives the process which answers at it, and at which processes take turns.

Linux keeps connections that nobody has accepted as long as any process holds the socket. So while one process takes
the place of another, clients wait for a moment and are not refused.

The holder binds the address and hands the socket to processes of the same user on the same node, through an abstract
Unix socket: that needs no file, and its name is gone with the holder. It hands it to one process at a time: the others
stand in line, and the connection that breaks when a process dies is what tells the holder that it is the next one's
turn. The holder can also tell the process whose turn it is to end.
"""

import asyncio
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["HolderGoneError", "SharedSocket", "Turn", "bound_socket", "sharing"]

_TIMEOUT_S = 5.0
_AGAIN_S = 0.02
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; see unix(7)
_TAKE = b"t"  # with the socket
_END = b"e"


class HolderGoneError(OSError):
    """Nobody shares the socket, or the process that did has ended without a word; or it cannot be reached."""


class SharedSocket:
    """A bound socket and what hands it on; made by :func:`sharing`.

    Attributes
    ----------
    name : str
        To be given to :class:`Turn`.
    """

    def __init__(self, name: str, bound: socket.socket, door: socket.socket) -> None:
        self.name = name
        self._bound = bound
        self._lock = threading.Lock()  # of what follows
        self._line: list[socket.socket] = []  # the first one has its turn
        self._is_ending = False
        self._is_free = threading.Event()
        self._is_free.set()
        self._hint, self._hinted = socket.socketpair()
        self._loop = threading.Thread(target=self._hand_on, args=(door,), name="shared-socket", daemon=True)
        self._loop.start()

    def end(self, timeout_s: float) -> bool:
        """Hold the address no longer, hand it to nobody, and tell the processes to end.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the one whose turn it is.

        Returns
        -------
        bool
            Whether it has ended its turn; also if there was none.
        """
        with self._lock:
            self._is_ending = True
            self._bound.close()
            for server in self._line:
                _send(server, _END)
        return self._is_free.wait(timeout_s)

    def close(self) -> None:
        """Hold the address no longer; the process whose turn it is keeps the socket."""
        with suppress(OSError):
            self._hint.send(_END)
        self._loop.join(_TIMEOUT_S)
        self._bound.close()

    def _hand_on(self, door: socket.socket) -> None:
        """Watch the door and those in the line, until it is over."""
        with selectors.DefaultSelector() as watched, door, self._hint, self._hinted:
            for one in (door, self._hinted):
                watched.register(one, selectors.EVENT_READ)
            while True:
                ready: list[Any] = [key.fileobj for key, _ in watched.select()]
                if self._hinted in ready:
                    break
                for one in ready:
                    if one is door:
                        self._let_in(door, watched)
                    else:
                        self._let_go(one, watched)
            for server in self._line:
                server.close()

    def _let_in(self, door: socket.socket, watched: selectors.BaseSelector) -> None:
        """Put a visitor into the line; at once, so that a user who may not have the socket keeps nobody out."""
        with suppress(OSError):
            visitor, _ = door.accept()
            if _user_of(visitor) != os.getuid():
                visitor.close()
                return
            watched.register(visitor, selectors.EVENT_READ)
            with self._lock:
                self._line.append(visitor)
                if self._is_ending:
                    _send(visitor, _END)
                elif len(self._line) == 1:
                    self._give_turn()

    def _let_go(self, server: socket.socket, watched: selectors.BaseSelector) -> None:
        """Take a process out of the line that has closed its connection, or died."""
        watched.unregister(server)
        with self._lock:
            had_turn = server is self._line[0]
            self._line.remove(server)
            server.close()
            if had_turn:
                self._is_free.set()
                if self._line and not self._is_ending:
                    self._give_turn()

    def _give_turn(self) -> None:
        self._is_free.clear()
        _send(self._line[0], _TAKE, self._bound.fileno())  # one that has gone meanwhile is let go next


@contextmanager
def sharing(host: str, port: int) -> Iterator[SharedSocket]:
    """Bind an address, without listening at it, and hand the socket to processes of this user in turn.

    Parameters
    ----------
    host, port : str, int
        Where servers are to listen.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    # Random, so that nobody else can have taken the name.
    name = f"periogt-socket-{os.urandom(16).hex()}"
    with bound_socket(host, port) as bound, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"\0{name}")
        door.listen()
        shared = SharedSocket(name, bound, door)
        try:
            yield shared
        finally:
            shared.close()


class Turn:
    """A place in the line for a shared socket; for servers, which keep it until they have ended.

    To be made where an event loop runs.

    Parameters
    ----------
    name : str
        Of the :class:`SharedSocket`.

    Raises
    ------
    HolderGoneError
        If nobody of this user shares a socket under that name.
    """

    def __init__(self, name: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            _connect(self._connection, f"\0{name}")
            if _user_of(self._connection) != os.getuid():
                raise PermissionError("The socket of that name is another user's.")
        except OSError as error:
            self._connection.close()
            raise HolderGoneError(str(error)) from error
        self._is_closed = False
        self._messages: asyncio.Queue[tuple[bytes, list[int]]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection, self._receive)

    async def listener(self) -> socket.socket | None:
        """Wait for the turn, and return the socket; None if the holder ends, or this place was left meanwhile.

        Raises
        ------
        HolderGoneError
            If the holder has gone.
        """
        message, descriptors = await self._messages.get()
        if not message and not self._is_closed:
            raise HolderGoneError("The process that shared the socket has gone.")
        return socket.socket(fileno=descriptors[0]) if message == _TAKE else None

    async def is_told_to_end(self) -> bool:
        """Wait until the holder tells to end; return False if it has gone, or this turn was ended meanwhile."""
        message, _ = await self._messages.get()
        return message == _END

    def close(self) -> None:
        """Leave the line, or let the next process have its turn."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._connection)
            self._connection.close()
            self._messages.put_nowait((b"", []))

    def _receive(self) -> None:
        try:
            message, descriptors, *_ = socket.recv_fds(self._connection, 1, 1)
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            self._loop.remove_reader(self._connection)
        self._messages.put_nowait((message, descriptors))


def _connect(connection: socket.socket, address: str) -> None:
    """Connect, where others may be in the door for a moment."""
    deadline = time.monotonic() + _TIMEOUT_S
    connection.setblocking(False)
    while True:
        try:
            connection.connect(address)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _send(server: socket.socket, message: bytes, *descriptors: int) -> None:
    """Send what a process is to know; one that has died is found out otherwise."""
    with suppress(OSError):
        socket.send_fds(server, [message], descriptors)


def _user_of(connection: socket.socket) -> int:
    """Return the user id of the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
