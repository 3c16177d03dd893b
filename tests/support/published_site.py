"""A web server on this machine that publishes archives made from the golden weights, well or badly."""

import functools
import hashlib
import io
import json
import pickle
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from periogt_ray.setup.convert import Conversion, convert_file
from periogt_ray.setup.downloads import DownloadPolicy

GOLDEN = Path(__file__).parents[1] / "golden" / "artifacts"
ENCODER = GOLDEN / "pretrained_ckpt" / "base.pth"
HEADS = {name: GOLDEN / "finetuned_ckpt" / name / "best_model.pth" for name in ("eps", "tg")}
LAYOUTS = {
    "directories": ("pretrained_ckpt/base.pth", "finetuned_ckpt/{}/best_model.pth"),
    "light": ("pretrained_ckpt/light/base.pth", "finetuned_ckpt/light/{}.pth"),
    "flat": ("base.pth", "{}.pth"),
}
# Train rows (the first list) have mean 3.9 and std 0.8, and 410 and 105, as in the golden label_stats.json.
LABELS = {"eps": [3.1, 4.7, 100.0, -50.0], "tg": [305.0, 515.0, 1.0, 2.0]}
SPLIT = [[0, 1], [2], [3]]


QUICK = DownloadPolicy(backoff_s=0.01, longest_backoff_s=0.05, read_timeout_s=2.0)


def convert_here(conversions: Iterable[Conversion], *, done: Callable[[Conversion], None]) -> None:
    """Convert in this process, which saves a test the seconds of starting another."""
    for conversion in conversions:
        convert_file(conversion)
        done(conversion)


def zip_bytes(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these members; the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression, compresslevel=1)
    return buffer.getvalue()


def golden_files(layout: str = "directories") -> dict[str, bytes]:
    """Every published file by its name, archives in one of the three layouts."""
    return dict(_golden_files(layout))


@functools.cache
def _golden_files(layout: str) -> dict[str, bytes]:
    """Make the archives once."""
    encoder, head = LAYOUTS[layout]
    files = {
        "scaler_all.pkl": (GOLDEN / "descriptor_scaler.pkl").read_bytes(),
        "pretrained_ckpt.zip": zip_bytes({encoder: ENCODER.read_bytes(), "README.md": b"weights"}),
        "finetuned_ckpt.zip": zip_bytes(
            {head.format(name): path.read_bytes() for name, path in HEADS.items()} | {"__MACOSX/._eps.pth": b"\0\5"}
        ),
    }
    for name, labels in LABELS.items():
        rows = "".join(f"*C*,{label}\r\n" for label in labels)
        files[f"{name}/{name}.csv"] = f"\ufeffsmiles,value\r\n{rows}".encode()
        files[f"{name}/split.pkl"] = pickle.dumps([np.array(part) for part in SPLIT], protocol=4)
    return files


def role_of(name: str) -> str:
    """Role of a published file."""
    roles = {"scaler_all.pkl": "scaler", "pretrained_ckpt.zip": "encoder", "finetuned_ckpt.zip": "heads"}
    return roles.get(name, "labels" if name.endswith(".csv") else "split")


def manifest_of(files: Mapping[str, bytes], base: str = "https://published.invalid") -> dict[str, object]:
    """A manifest for these files, in the format of the package's."""
    entries = []
    for name, content in files.items():
        entry: dict[str, object] = {
            "name": name,
            "role": role_of(name),
            "url": f"{base}/files/{name}?download=1",
            "approximate_bytes": len(content),
        }
        if "/" in name:
            entry["property"] = name.split("/")[0]
        if name.endswith(".zip"):
            entry["md5"] = hashlib.md5(content).hexdigest()
        else:
            entry["sha256"] = hashlib.sha256(content).hexdigest()
        entries.append(entry)
    return {"files": entries}


@dataclass
class Behaviour:
    """How the server treats one file; counts go down with each request that they apply to."""

    content: bytes
    fail_first: int = 0
    fail_status: int = 503
    retry_after: str | None = None
    cut_first: int = 0
    cut_after: int = 0
    chunk_bytes: int = 1 << 20
    pause_s: float = 0.0
    ignore_range: bool = False
    redirect_to: str | None = None
    declared_length: int | None = None
    etag: str | None = '"one"'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    range: str | None
    is_proxied: bool


class Site:
    """The server; ``behaviours`` is by path, ``requests`` what came in."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        site = self

        class Handler(_Handler):
            owner = site

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def publish(self, files: Mapping[str, bytes], prefix: str = "/files/") -> None:
        """Serve files well."""
        self.behaviours |= {f"{prefix}{name}": Behaviour(content) for name, content in files.items()}

    def count(self, name: str) -> int:
        """Number of requests for a file."""
        return sum(request.path.endswith(name) for request in self.requests)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET as the file's behaviour says."""

    owner: Site

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.owner.requests.append(Request(path, self.headers.get("Range"), self.path.startswith("http")))
        behaviour = self.owner.behaviours.get(path)
        self.close_connection = True
        if behaviour is None:
            self.send_error(404)
        elif behaviour.fail_first:
            behaviour.fail_first -= 1
            self.send_response(behaviour.fail_status)
            if behaviour.retry_after is not None:
                self.send_header("Retry-After", behaviour.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif behaviour.redirect_to is not None:
            self.send_response(302)
            self.send_header("Location", behaviour.redirect_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            try:
                self._send(behaviour)
            except (BrokenPipeError, ConnectionResetError):
                return

    def _send(self, behaviour: Behaviour) -> None:
        content, start = behaviour.content, 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match and not behaviour.ignore_range and (condition is None or condition == behaviour.etag):
            start = int(match[1])
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        length = len(content) - start if behaviour.declared_length is None else behaviour.declared_length
        self.send_header("Content-Length", str(length))
        for name, value in {**({"ETag": behaviour.etag} if behaviour.etag else {}), **behaviour.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        body = content[start:]
        if behaviour.cut_first:
            behaviour.cut_first -= 1
            body = body[: behaviour.cut_after]
        for position in range(0, len(body), behaviour.chunk_bytes):
            self.wfile.write(body[position : position + behaviour.chunk_bytes])
            if behaviour.pause_s:
                time.sleep(behaviour.pause_s)


def as_modal_leaves_it(directory: Path, layout: str) -> None:
    """Archives unpacked as they are, and the files that the Modal bootstrap and its users add."""
    encoder, head = LAYOUTS[layout]
    for name, source in [(encoder, GOLDEN / "pretrained_ckpt" / "base.pth")] + [
        (head.format(name), path) for name, path in HEADS.items()
    ]:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, directory / name)
    shutil.copy(GOLDEN / "label_stats.json", directory)
    shutil.copy(GOLDEN / "descriptor_scaler.pkl", directory)
    index = {
        name: {"checkpoint": f"/vol/checkpoints/{head.format(name)}", "label": name, "units": ""} for name in HEADS
    }
    (directory / "index.json").write_text(json.dumps(index, indent=2))
    (directory / ".ready").write_text("ready")


def snapshot(root: Path) -> dict[str, str]:
    """SHA-256 of every file under a directory but the lock file, which stays by design."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".setup.lock"
    }


def write_manifest_file(path: Path, files: Mapping[str, bytes], base: str) -> Path:
    """Write a manifest to a file, for the command line."""
    path.write_text(json.dumps(manifest_of(files, base)))
    return path
