"""Whether an address can be reached, and what kind of address it is."""

import contextlib
import errno
import ipaddress
import selectors
import socket
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

__all__ = ["can_connect", "is_loopback", "is_reachable", "local_url", "uses_proxy"]

_PORTS = {"http": 80, "https": 443}
# What a server binds to listen on every address, and where it then answers on its own machine.
_LOOPBACK_OF_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def can_connect(host: str, port: int, timeout_s: float) -> bool:
    """Whether something accepts a connection; False also if the name does not resolve.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        TCP port.
    timeout_s : float
        Seconds to wait for the answer of each address of the name.
    """
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine can reach a server that listens at a host.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def local_url(host: str, port: int) -> str:
    """Return the address at which a program of the same machine reaches a server.

    Parameters
    ----------
    host : str
        What the server binds.
    port : int
        Where it listens.

    Examples
    --------
    >>> local_url("0.0.0.0", 8000)
    'http://127.0.0.1:8000'
    >>> local_url("::", 8000)
    'http://[::1]:8000'
    """
    name = _LOOPBACK_OF_ANY.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def uses_proxy(url: str) -> bool:
    """Whether the environment sends requests for an address through a proxy."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    is_proxied = parts.scheme in proxies or "all" in proxies
    return is_proxied and not urllib.request.proxy_bypass(parts.hostname or "")


def _connects(addresses: list[tuple[int, Any]], deadline: float) -> bool:
    """Whether any of the addresses accepts a connection in time."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for family, address in addresses:
            connection = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            connection.setblocking(False)
            if connection.connect_ex(address) in (0, errno.EINPROGRESS):
                selector.register(connection, selectors.EVENT_WRITE, connection)
        while selector.get_map() and (remaining_s := deadline - time.monotonic()) > 0:
            for key, _events in selector.select(remaining_s):
                if key.data.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return True
                selector.unregister(key.data)
    return False


def is_reachable(url: str, *, timeout_s: float) -> bool:
    """Whether the host of an address resolves and accepts a connection, answered within a bound.

    A compute node's firewall drops packets without a word, and a client then tries each of a host's
    addresses (raw.githubusercontent.com has eight) for its whole connection time-out. Here all of
    them are tried at once.

    Parameters
    ----------
    url : str
        An http or https address.
    timeout_s : float
        Time for resolving the name and connecting together.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout_s
    answers: list[bool] = []

    def probe() -> None:
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers.append(False)
            return
        answers.append(_connects([(entry[0], entry[4]) for entry in found], deadline))

    # A resolver without network may hang for half a minute, and nothing can stop it: it is left behind.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[:1] == [True]
