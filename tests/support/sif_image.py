"""An image of this repository, built by apptainer/build.sh with the test double of Apptainer, and kept between runs.

Tests with the markers ``container`` and ``slurm`` share it. The double replaces the definition's base,
which comes from a registry, by a Debian made with mmdebstrap; everything else of the definition is run.
What comes before the package in it (system, Python, locked libraries) is a layer that is kept, too, so that a change of
the package costs a minute and not ten.
"""

import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
BIN = ROOT / "tests" / "container" / "bin"
# Not below /root, /tmp or a home: those are what containers see, and ordinary users do not.
CACHE = Path("/var/cache/periogt-tests")
BASE_NAME = "nvidia_cuda_12.6.0-runtime-ubuntu22.04.tar.zst"
_TOOLS = ("mmdebstrap", "mksquashfs", "squashfuse", "siftool", "zstd")
# How the network is reached is the machine's business; everything else stays out of the build, as with Apptainer.
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_FUSE_NUMBERS = os.makedev(10, 229)
USER = 65534
_KEPT = 2  # images, and layers: one is about a gigabyte


def sif_image() -> Path:
    """Return the image, built if the sources have changed since: some minutes, or one if its layer is there.

    What build.sh printed is beside it, with the suffix ``.out``.
    """
    if os.geteuid() != 0:
        raise RuntimeError("Tests of the container need root; leave them out with -m 'not container and not slurm'.")
    if missing := _missing_tools():
        raise RuntimeError(f"{', '.join(missing)}: not found; scripts/test installs them with apt-get.")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        image = CACHE / f"periogt-{_fingerprint()}.sif"
        if not Path(f"{image}.out").exists():  # written last
            _build(image)
        _keep_newest(CACHE.glob("periogt-*.sif"), image)
    return image


def can_build() -> bool:
    """Whether this user and machine can; :func:`sif_image` says what is missing."""
    return os.geteuid() == 0 and not _missing_tools()


class Building:
    """A build of the image beside whatever runs in the meantime; who needs it waits for it in :func:`sif_image`."""

    def __init__(self) -> None:
        # A failure is not reported here: who needs the image meets it again.
        command = [sys.executable, "-c", "from support.sif_image import sif_image; sif_image()"]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, **streams)

    def finish(self, *, is_needed: bool) -> None:
        """Wait for the end, or bring it about."""
        if self._process.poll() is None and not is_needed:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()


def as_user(command: Sequence[str | Path], home: Path) -> list[str]:
    """Return a command that runs another one as an ordinary user, who may use FUSE as on clusters."""
    fuse = CACHE / "fuse"
    if not fuse.exists():
        os.mknod(fuse, 0o020666, _FUSE_NUMBERS)
        fuse.chmod(0o666)
    os.chown(home, USER, USER)
    drop = f"exec setpriv --reuid {USER} --regid {USER} --clear-groups env HOME={home} USER=nobody"
    script = f'mount --bind {fuse} /dev/fuse && {drop} "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, command)]


def _missing_tools() -> list[str]:
    return [tool for tool in _TOOLS if shutil.which(tool) is None]


def _fingerprint() -> str:
    """Return a hash of all that the image is made from."""
    paths = [ROOT / name for name in ("pyproject.toml", "requirements.lock", "apptainer/periogt.def")]
    packages = [path for name in ("periogt_ray", "periogt_hpc") for path in (ROOT / name).rglob("*")]
    paths += [path for path in packages if path.is_file() and "__pycache__" not in path.parts]
    return _hash([*paths, ROOT / "apptainer" / "build.sh", *_double()])


def _layer_fingerprint() -> str:
    """Return a hash of what the definition's first part is made from: system, Python and locked libraries."""
    definition = (ROOT / "apptainer" / "periogt.def").read_text(encoding="utf-8")
    first, mark, _ = definition.partition("# ---- layer: the package ----")
    if not mark:
        raise RuntimeError("apptainer/periogt.def has no line that ends the first part of %post.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return _hash([ROOT / "requirements.lock", *_double()], first, *project["dependencies"])


def _double() -> list[Path]:
    return [BIN / "apptainer", *(BIN.parent / "apptainer_double").glob("*.py")]


def _hash(paths: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join([importlib.metadata.version("torch"), *words]).encode())
    for path in sorted(paths):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _keep_newest(found: Iterable[Path], used: Path) -> None:
    """Remove what other states of the sources left, but for the newest: clones share the directory."""
    used.touch()
    for old in sorted(found, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
        for beside in ("sha256", "out"):
            Path(f"{old}.{beside}").unlink(missing_ok=True)


def _build(image: Path) -> None:
    version = importlib.metadata.version("torch")
    layer, work = CACHE / "layers" / _layer_fingerprint(), CACHE / "work"
    layer.parent.mkdir(exist_ok=True)
    shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
    work.mkdir()
    environment = {name: value for name in _NETWORK for value in [os.environ.get(name)] if value}
    environment |= {
        "HOME": "/root",
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "APPTAINER_SHIM_BASES": str(_base().parent),
        "APPTAINER_SHIM_LAYER": str(layer),
        "APPTAINER_TMPDIR": str(work),
    }
    log = CACHE / "build.log"
    command = [
        *(ROOT / "apptainer" / "build.sh", "--force", "--output", image),
        *("--torch-version", version.partition("+")[0], "--torch-index", "file:///mnt/index"),
        *("--", "--bind", "/etc/ssl/certs:/etc/ssl/certs:ro", "--bind", f"{_index(version)}:/mnt/index:ro"),
        *("--mksquashfs-args", "-comp lz4"),
    ]
    with log.open("w") as file:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"The image was not built, see {log}:\n" + "".join(log.read_text().splitlines(True)[-30:]))
    Path(f"{image}.out").write_text(done.stdout)
    _keep_newest(layer.parent.iterdir(), layer)


def _base() -> Path:
    """Return the stand-in for the base image."""
    base = CACHE / "bases" / BASE_NAME
    if not base.exists():
        base.parent.mkdir(exist_ok=True)
        partial = base.with_name("partial.tar.zst")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", partial]
        subprocess.run(command, check=True)
        partial.rename(base)
    return base


def _index(version: str) -> Path:
    """Return a package index with the build of torch that runs these tests; others may be gigabytes."""
    folder = CACHE / "index" / "torch"
    if not list(folder.glob(f"torch-{version}-*.whl")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        extra = ["--extra-index-url", url] if (url := os.environ.get("TORCH_INDEX_URL")) else []
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *extra]
        subprocess.run([*command, f"torch=={version}"], check=True)
    links = (f'<a href="{path.name.replace("+", "%2B")}">{path.name}</a>' for path in folder.glob("*.whl"))
    (folder / "index.html").write_text("\n".join(links))
    return folder.parent
