"""Who may ask: the API key, and the warning when there is none."""

import secrets

from periogt_ray.errors import UnauthorizedError
from periogt_ray.runtime.network import is_loopback

__all__ = ["API_KEY_HEADER", "check_key", "exposure_warning", "is_exempt"]

API_KEY_HEADER = "X-Api-Key"

# The web page's static shell: it holds no data and asks for the key itself.
_EXEMPT_PATHS = frozenset({"/", "/favicon.ico"})
_EXEMPT_PREFIX = "/web/"


def is_exempt(path: str) -> bool:
    """Whether a path is answered without a key; every path that is not named here needs one."""
    return path in _EXEMPT_PATHS or (path.startswith(_EXEMPT_PREFIX) and ".." not in path)


def check_key(expected: str | None, given: bytes | None) -> None:
    """Compare the key of a request with the configured one, in constant time.

    Parameters
    ----------
    expected : str or None
        None: every request may pass.
    given : bytes or None
        Value of the ``X-Api-Key`` header.

    Raises
    ------
    UnauthorizedError
        If a key is configured and another one, or none, is given.
    """
    if expected is None:
        return
    if given is None:
        raise UnauthorizedError(
            f"The request has no {API_KEY_HEADER} header, or several; this service asks for its API key."
        )
    if not secrets.compare_digest(given, expected.encode()):
        raise UnauthorizedError(
            f"The {API_KEY_HEADER} header does not hold this service's API key; check PERIOGT_API_KEY."
        )


def exposure_warning(host: str, port: int, api_key: str | None) -> str | None:
    """Return who can use a service that has no key; None for one that has.

    A loopback address keeps other machines out, but not the other users of this one.
    """
    if api_key is not None:
        return None
    if is_loopback(host):
        return (
            f"Every user of this machine can use this service at {host}:{port}: it has no API key. On a node that you "
            "share, set one: export PERIOGT_API_KEY=$(openssl rand -hex 24)"
        )
    return (
        f"ANYONE WHO CAN REACH {host}:{port} CAN USE THIS SERVICE: it listens beyond this machine and has no API key. "
        "Every user of a shared node or cluster network can connect. Set PERIOGT_API_KEY, or PERIOGT_HOST=127.0.0.1."
    )
