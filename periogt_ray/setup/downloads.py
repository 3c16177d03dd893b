"""Fetch published files: resume, retry, verify; a file has its name only once its hash agrees.

While it is being fetched a file is ``<name>.part``, with what identifies it at the server
beside it in ``<name>.part.json``. A cut transfer goes on where it stopped, also in a later run.
"""

import contextlib
import hashlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from periogt_ray.errors import CheckpointMissingError, ChecksumMismatchError
from periogt_ray.runtime.network import is_reachable, uses_proxy
from periogt_ray.setup.published import PublishedFile, mirrored

__all__ = ["DownloadPolicy", "download", "human_bytes", "make_client", "require_network", "verify_file"]

logger = logging.getLogger("periogt_ray.setup")

_CHUNK_BYTES = 2**20
_PARTIAL, _OK, _RANGE_NOT_SATISFIABLE = 206, 200, 416
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LEAST_PROGRESS_BYTES = 1 << 10
_DIGITS = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d*/(\d+|\*)|bytes \*/(\d+)")
_LOG_EVERY_S = 15.0

Progress = Callable[[int], None]


@dataclass(frozen=True)
class DownloadPolicy:
    """How long to keep trying; attempts count anew whenever a transfer got further than before.

    Attributes
    ----------
    attempts : int
        Attempts without progress before giving up.
    first_attempts : int
        The same while nothing at all has been received: no network should be said within seconds.
    backoff_s, longest_backoff_s : float
        Pause after the first failed attempt, doubled each time up to the longest.
    connect_timeout_s, read_timeout_s : float
        Longest wait for a connection, and for the next bytes.
    """

    attempts: int = 6
    first_attempts: int = 2
    backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0

    def pause_s(self, n_failures: int, asked_s: float | None = None) -> float:
        """Return the pause after a number of failures in a row, at least what the server asks for."""
        wait_s = max(self.backoff_s * 2.0 ** (n_failures - 1), asked_s or 0.0)
        return float(min(wait_s, self.longest_backoff_s))


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, *, wait_s: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.reached = reached


def human_bytes(n_bytes: float) -> str:
    """Return a size for people, in powers of ten as download pages state them."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.2f} GB"


def require_network(file: PublishedFile, *, policy: DownloadPolicy, mirror: str | None = None) -> None:
    """Find out within seconds whether the server of a file can be reached at all.

    Raises
    ------
    CheckpointMissingError
        It cannot; says how to bring the files in.
    """
    url = mirrored(file.url, mirror)
    if uses_proxy(url) or is_reachable(url, timeout_s=policy.connect_timeout_s):
        return
    # Once more: a first name look-up may have been slow.
    if not is_reachable(url, timeout_s=policy.connect_timeout_s):
        raise unreachable(file, url, f"no connection to its host within {policy.connect_timeout_s:g} s")


def unreachable(file: PublishedFile, url: str, reason: str) -> CheckpointMissingError:
    """Make the error for a file that cannot be fetched."""
    return CheckpointMissingError(
        f"{file.name} could not be fetched from {url}: {reason}. If this machine has no network, fetch the files of "
        "`periogt setup --list` on a machine that has one (a transfer node), and give their directory to "
        "`periogt setup --from-dir DIR`. Behind a proxy set HTTPS_PROXY; for a mirror set PERIOGT_MIRROR.",
        {"missing": [file.name], "url": url, "reason": reason},
    )


def make_client(policy: DownloadPolicy) -> httpx.Client:
    """Return an HTTP client; it honours HTTP(S)_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and .netrc."""
    return httpx.Client(
        follow_redirects=True,
        timeout=httpx.Timeout(policy.read_timeout_s, connect=policy.connect_timeout_s),
        headers={"User-Agent": "periogt-setup", "Accept-Encoding": "identity"},
    )


def verify_file(file: PublishedFile, path: Path) -> None:
    """Compare size and published hashes of a file.

    Raises
    ------
    ChecksumMismatchError
        Names the file, what was expected and what was found; nothing is removed.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise _mismatch(file, path, "size", str(file.size), str(size))
    if file.md5 is None and file.sha256 is None:
        logger.warning("%s: no hash is published for it, so its content is not verified", file.name)
        return
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    wanted = {name: value for name, value in (("md5", file.md5), ("sha256", file.sha256)) if value is not None}
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            for name in wanted:
                digests[name].update(chunk)
    for name, expected in wanted.items():
        found = digests[name].hexdigest()
        if found != expected.lower():
            raise _mismatch(file, path, name, expected, found)


def _mismatch(file: PublishedFile, path: Path, kind: str, expected: str, found: str) -> ChecksumMismatchError:
    """Make the error for a file that is not the published one."""
    kind = {"md5": "MD5", "sha256": "SHA-256"}.get(kind, kind)
    return ChecksumMismatchError(
        f"{path}: not the published {file.name}: expected {kind} {expected}, found {found}. "
        "The file was left where it is; replace it with an intact copy, or remove it to have it fetched.",
        {"file": str(path), "name": file.name, "kind": kind, "expected": expected, "found": found},
    )


def download(
    file: PublishedFile, directory: Path, *, client: httpx.Client, policy: DownloadPolicy, mirror: str | None = None
) -> Path:
    """Fetch a file into a directory, unless it is there already.

    Returns
    -------
    pathlib.Path
        The file, complete and verified.

    Raises
    ------
    CheckpointMissingError
        The server does not have it or cannot be reached; says how to bring the file in otherwise.
    ChecksumMismatchError
        What the server sends is not the published file; nothing of it is kept.
    """
    target = directory / file.flat_name
    if target.is_file():
        return target
    directory.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(file, directory / f"{file.flat_name}.part", url=mirrored(file.url, mirror), client=client)
    logger.info("%s: fetching %s", file.name, transfer.url)
    transfer.run(policy)
    try:
        verify_file(file, transfer.part)
    except ChecksumMismatchError as error:
        transfer.discard()
        if not transfer.has_resumed:
            raise transfer.sent_other(error.details) from error
        # Pieces of two versions of the file, perhaps; one fetch in one go settles it.
        logger.warning("%s: the resumed download does not match the published file; fetching it again", file.name)
        transfer.run(policy)
        try:
            verify_file(file, transfer.part)
        except ChecksumMismatchError as second:
            transfer.discard()
            raise transfer.sent_other(second.details) from second
    transfer.part.replace(target)
    transfer.discard()
    logger.info("%s: complete and verified, %s", file.name, human_bytes(target.stat().st_size))
    return target


class _Transfer:
    """One file on its way into ``<name>.part``."""

    def __init__(self, file: PublishedFile, part: Path, *, url: str, client: httpx.Client) -> None:
        self.file = file
        self.part = part
        self.url = url
        self.client = client
        self.has_resumed = False
        self._state_path = part.with_name(f"{part.name}.json")

    @property
    def n_received(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Remove what is here of the transfer."""
        self.part.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def run(self, policy: DownloadPolicy) -> None:
        """Make attempts until the file is here, or until they get no further."""
        furthest = self.n_received
        has_reached, n_failures, n_attempts = False, 0, 0
        while True:
            n_attempts += 1
            try:
                self._attempt()
                return
            except _TryAgainError as error:
                has_reached |= error.reached
                # A server that sends a few bytes and hangs up would be followed for ever.
                has_progressed = self.n_received >= furthest + _LEAST_PROGRESS_BYTES
                n_failures = 1 if has_progressed else n_failures + 1
                furthest = self.n_received if has_progressed else furthest
                if n_failures >= (policy.attempts if has_reached else policy.first_attempts):
                    raise unreachable(self.file, self.url, f"{error} (tried {n_attempts} times)") from error
                wait_s = policy.pause_s(n_failures, error.wait_s)
                logger.warning(
                    "%s: %s; trying again in %.1f s, %s have arrived",
                    self.file.name,
                    error,
                    wait_s,
                    human_bytes(self.n_received),
                )
                time.sleep(wait_s)

    def sent_other(self, facts: Mapping[str, Any]) -> ChecksumMismatchError:
        """Make the error for a server that sends something else."""
        return ChecksumMismatchError(
            f"{self.url}: what the server sent is not the published {self.file.name}: expected {facts['kind']} "
            f"{facts['expected']}, found {facts['found']}. Nothing of it was kept; try again later, or fetch the file "
            "elsewhere and use `periogt setup --from-dir DIR`.",
            {**facts, "name": self.file.name, "url": self.url},
        )

    def _wrong_size(self, found: str) -> ChecksumMismatchError:
        """Give up on a body that cannot be the file."""
        self.discard()
        expected = str(self.file.size or f"at most {self.file.limit_bytes}")
        return self.sent_other({"kind": "size", "expected": expected, "found": found})

    def _attempt(self) -> None:
        """Transfer what is still missing, once."""
        headers = self._resume_headers()
        offset = self.n_received if headers else 0
        try:
            with self.client.stream("GET", self.url, headers=headers) as response:
                if response.status_code == _RANGE_NOT_SATISFIABLE and offset:
                    if _total_of(response) == offset:
                        return
                    self.discard()
                    raise _TryAgainError("the server has fewer bytes than were received; starting again")
                self._check_status(response)
                is_rest = response.status_code == _PARTIAL and _start_of(response) == offset
                self._receive(response, offset if is_rest else 0)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise _TryAgainError(f"no connection ({_reason(error)})", reached=False) from error
        except httpx.UnsupportedProtocol as error:
            raise unreachable(self.file, self.url, _reason(error)) from error
        except httpx.TransportError as error:
            raise _TryAgainError(f"the transfer was cut ({_reason(error)})") from error
        except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError) as error:
            raise unreachable(self.file, self.url, _reason(error)) from error

    def _resume_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest of a partial file; empty to start anew."""
        if self.n_received == 0:
            return {}
        try:
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
            if state["url"] != self.url:
                return {}
            validator = str(state["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {"Range": f"bytes={self.n_received}-", **({"If-Range": validator} if validator else {})}

    def _check_status(self, response: httpx.Response) -> None:
        """Sort answers into usable, worth another attempt, and final."""
        status = response.status_code
        if status in (_OK, _PARTIAL):
            return
        if status in _TRANSIENT_STATUS:
            raise _TryAgainError(f"the server answered {status}", wait_s=_retry_after(response))
        raise unreachable(self.file, self.url, f"the server answered {status} {response.reason_phrase}".rstrip())

    def _receive(self, response: httpx.Response, offset: int) -> None:
        """Write the body of an answer behind what is there already."""
        is_plain = response.headers.get("content-encoding", "identity") == "identity"
        length = response.headers.get("content-length", "")
        total = offset + int(length) if is_plain and _DIGITS.fullmatch(length) else None
        if total is not None and total > self.file.limit_bytes:
            raise self._wrong_size(f"{total} bytes")
        self.has_resumed |= offset > 0
        if offset == 0:
            self.discard()
            # An encoded body has no offsets in the file, so a transfer of one is never resumed.
            if is_plain:
                self._state_path.write_text(json.dumps({"url": self.url, "validator": _validator(response)}))
        with self.part.open("ab" if offset else "wb") as content, _progress(self.file.name, offset, total) as show:
            # No chunk size: httpx would hold bytes back until a chunk is full, and lose them when the transfer is cut.
            for chunk in response.iter_bytes():
                content.write(chunk)
                if content.tell() > self.file.limit_bytes:
                    raise self._wrong_size(f"{content.tell()} bytes and more")
                show(content.tell())


def _validator(response: httpx.Response) -> str:
    """Return what tells the server whether its file is still the one that was begun; empty if nothing does."""
    etag, modified = (str(response.headers.get(name, "")) for name in ("etag", "last-modified"))
    # A weak tag promises the same meaning, not the same bytes; what is not ASCII cannot be sent back.
    usable = [value for value in (etag, modified) if value and value.isascii() and not value.startswith("W/")]
    return usable[0] if usable else ""


def _reason(error: Exception) -> str:
    """Return what went wrong; some of httpx's errors have no text."""
    return str(error) or type(error).__name__


def _retry_after(response: httpx.Response) -> float | None:
    """Return the pause that the server asks for, in seconds."""
    value = response.headers.get("retry-after", "")
    if _DIGITS.fullmatch(value):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _start_of(response: httpx.Response) -> int | None:
    """Return the offset of the first byte of a partial answer."""
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    return int(match[1]) if match and match[1] and _DIGITS.fullmatch(match[1]) else None


def _total_of(response: httpx.Response) -> int | None:
    """Return the size of the whole file from a Content-Range header."""
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    totals = [] if match is None else [group for group in match.groups()[1:] if group and _DIGITS.fullmatch(group)]
    return int(totals[0]) if totals else None


@contextlib.contextmanager
def _progress(name: str, offset: int, total: int | None) -> Iterator[Progress]:
    """Show how far a transfer is: a bar on a terminal, a line now and then in a log."""
    if sys.stderr.isatty():
        with _bar(name, offset, total) as show:
            yield show
        return
    started = last = time.monotonic()

    def show_line(position: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LOG_EVERY_S:
            return
        last = now
        of_total = f" of {human_bytes(total)} ({100 * position / total:.0f} %)" if total else ""
        logger.info(
            "%s: %s%s, %s/s", name, human_bytes(position), of_total, human_bytes((position - offset) / (now - started))
        )

    yield show_line


@contextlib.contextmanager
def _bar(name: str, offset: int, total: int | None) -> Iterator[Progress]:
    """Show a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, completed=offset)
        yield lambda position: progress.update(task, completed=position)
