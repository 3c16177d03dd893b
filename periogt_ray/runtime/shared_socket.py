"""A listening socket that outlives the process which answers at it.

Linux keeps connections that nobody has accepted as long as any process holds the socket. So while the process that
answers is replaced, clients wait for a moment and are not refused.

The holder binds the address and hands the socket to processes of the same user on the same node, through an abstract
Unix socket: that needs no file, and its name is gone with the holder.
"""

import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["SharedSocket", "received_socket", "sharing"]

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; see unix(7)
_GREETING = b"."  # a file descriptor travels with at least one byte


class SharedSocket:
    """A bound socket and what hands it on; made by :func:`sharing`.

    Attributes
    ----------
    name : str
        To be given to :func:`received_socket`.
    """

    def __init__(self, name: str, bound: socket.socket, door: socket.socket) -> None:
        self.name = name
        self._bound = bound
        self._door = door
        self._handing_on = threading.Thread(target=self._hand_on, name="shared-socket", daemon=True)
        self._handing_on.start()

    def close(self) -> None:
        """Hold the address no longer; processes that have the socket keep it."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._handing_on.join(_TIMEOUT_S)
        self._door.close()
        self._bound.close()

    def _hand_on(self) -> None:
        while True:
            try:
                visitor, _ = self._door.accept()
            except OSError:  # closed
                return
            with visitor, suppress(OSError):
                visitor.settimeout(_TIMEOUT_S)
                if _user_of(visitor) == os.getuid():
                    socket.send_fds(visitor, [_GREETING], [self._bound.fileno()])


@contextmanager
def sharing(host: str, port: int) -> Iterator[SharedSocket]:
    """Bind an address, without listening at it, and hand the socket to processes of this user that ask for it.

    Parameters
    ----------
    host, port : str, int
        Where servers are to listen.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # Random, so that nobody else can have taken the name.
    name = f"periogt-socket-{os.urandom(16).hex()}"
    with socket.socket(family, kind, protocol) as bound, socket.socket(socket.AF_UNIX) as door:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        door.bind(f"\0{name}")
        door.listen()
        shared = SharedSocket(name, bound, door)
        try:
            yield shared
        finally:
            shared.close()


def received_socket(name: str) -> socket.socket | None:
    """Return the socket that a process of this user shares under a name; None if none does (any longer)."""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(_TIMEOUT_S)
        try:
            visitor.connect(f"\0{name}")
            if _user_of(visitor) != os.getuid():
                return None
            _, [descriptor], *_ = socket.recv_fds(visitor, len(_GREETING), 1)
        except (OSError, ValueError):
            return None
    return socket.socket(fileno=descriptor)


def _user_of(connection: socket.socket) -> int:
    """Return the user id of the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
