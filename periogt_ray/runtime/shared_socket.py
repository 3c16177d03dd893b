"""A listening socket that outlives the process which answers at it, and at which processes take turns.

Linux keeps connections that nobody has accepted as long as any process holds the socket. So while one process takes
the place of another, clients wait for a moment and are not refused.

The holder binds the address and hands the socket to processes of the same user on the same node, through an abstract
Unix socket: that needs no file, and its name is gone with the holder. It hands it to one process at a time: the others
stand in line, and the connection that breaks when a process dies is what tells the holder that it is the next one's
turn. The holder can also tell the process whose turn it is to end.
"""

import asyncio
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["HolderGoneError", "SharedSocket", "Turn", "bound_socket", "sharing"]

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; see unix(7)
_TAKE = b"t"  # with the socket
_END = b"e"


class HolderGoneError(OSError):
    """Nobody shares the socket, or the process that did has ended without a word."""


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
        self._door = door
        self._lock = threading.Lock()  # of the two below
        self._is_ending = False
        self._served_by: socket.socket | None = None
        self._is_free = threading.Event()
        self._is_free.set()
        threading.Thread(target=self._hand_on, name="shared-socket", daemon=True).start()

    def end(self, timeout_s: float) -> bool:
        """Hold the address no longer, hand it to nobody, and tell the process whose turn it is to end.

        Parameters
        ----------
        timeout_s : float
            How long to wait for that process.

        Returns
        -------
        bool
            Whether it has ended its turn; also if there was none.
        """
        with self._lock:
            self._is_ending = True
            self._bound.close()
            if self._served_by is not None:
                with suppress(OSError):
                    self._served_by.send(_END)
        return self._is_free.wait(timeout_s)

    def close(self) -> None:
        """Hold the address no longer; the process whose turn it is keeps the socket."""
        with self._lock:
            self._is_ending = True
            self._bound.close()
            for waited_at in (self._door, self._served_by):
                if waited_at is not None:
                    with suppress(OSError):
                        waited_at.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _hand_on(self) -> None:
        while True:
            try:
                visitor, _ = self._door.accept()
            except OSError:  # closed
                return
            with visitor, suppress(OSError):
                if _user_of(visitor) == os.getuid() and self._is_taken_by(visitor):
                    visitor.recv(1)  # returns when the visitor has closed the connection, or its process has died
            with self._lock:
                self._served_by = None
                self._is_free.set()

    def _is_taken_by(self, visitor: socket.socket) -> bool:
        """Hand the socket to a visitor, or tell it that all has ended."""
        with self._lock:
            if self._is_ending:
                visitor.send(_END)
                return False
            socket.send_fds(visitor, [_TAKE], [self._bound.fileno()])
            self._served_by = visitor
            self._is_free.clear()
            return True


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
            self._connection.settimeout(_TIMEOUT_S)
            self._connection.connect(f"\0{name}")
            if _user_of(self._connection) != os.getuid():
                raise PermissionError("The socket of that name is another user's.")
        except OSError as error:
            self._connection.close()
            raise HolderGoneError(str(error)) from error
        self._connection.setblocking(False)
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


def _user_of(connection: socket.socket) -> int:
    """Return the user id of the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
