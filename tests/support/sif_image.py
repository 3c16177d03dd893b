"""An image of this repository, built by apptainer/build.sh with the test double of Apptainer, and kept between runs.

Tests with the markers ``container`` and ``slurm`` share it. The double replaces the definition's base,
which comes from a registry, by a Debian made with mmdebstrap; everything else of the definition is run.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
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


def sif_image() -> Path:
    """Return the image, built if the sources have changed since (some minutes)."""
    if os.geteuid() != 0:
        raise RuntimeError("Tests of the container need root; leave them out with -m 'not container and not slurm'.")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise RuntimeError(f"{', '.join(missing)}: not found; scripts/test installs them with apt-get.")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        image = CACHE / f"periogt-{_fingerprint()}.sif"
        if not image.exists():
            for old in CACHE.glob("periogt-*.sif*"):
                old.unlink()
            _build(image)
    return image


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


def _fingerprint() -> str:
    """Return a hash of all that the image is made from."""
    paths = [ROOT / name for name in ("pyproject.toml", "requirements.lock", "apptainer/periogt.def")]
    paths += [path for path in (ROOT / "periogt_ray").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    paths += [ROOT / "apptainer" / "build.sh", BIN / "apptainer", *(BIN.parent / "apptainer_double").glob("*.py")]
    for path in sorted(paths):
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _build(image: Path) -> None:
    version = importlib.metadata.version("torch")
    environment = {name: value for name in _NETWORK for value in [os.environ.get(name)] if value}
    environment |= {
        "HOME": "/root",
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "APPTAINER_SHIM_BASES": str(_base().parent),
        "APPTAINER_TMPDIR": "/var/tmp",
    }
    log = CACHE / "build.log"
    command = [
        *(ROOT / "apptainer" / "build.sh", "--output", image),
        *("--torch-version", version.partition("+")[0], "--torch-index", "file:///mnt/index"),
        *("--", "--bind", "/etc/ssl/certs:/etc/ssl/certs:ro", "--bind", f"{_index(version)}:/mnt/index:ro"),
        *("--mksquashfs-args", "-comp zstd -Xcompression-level 1"),
    ]
    with log.open("w") as file:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True, check=False)
    (CACHE / "build.out").write_text(done.stdout)
    if done.returncode != 0:
        raise RuntimeError(f"The image was not built, see {log}:\n" + "".join(log.read_text().splitlines(True)[-30:]))


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
