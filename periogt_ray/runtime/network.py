"""Whether a host can be reached at all, answered within a bound.

A compute node's firewall drops packets without a word, and a client then tries each of a host's
addresses (raw.githubusercontent.com has eight) for its whole connection time-out. Here all of
them are tried at once.
"""

import contextlib
import errno
import selectors
import socket
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

__all__ = ["is_reachable", "uses_proxy"]

_PORTS = {"http": 80, "https": 443}


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
    """Whether the host of an address resolves and accepts a connection.

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

    # A resolver without network may hang for half a minute, and cannot be told to stop: it is left behind.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[:1] == [True]
