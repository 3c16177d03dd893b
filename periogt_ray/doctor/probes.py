"""Facts about where the process runs: node, job, container, file systems, ports, clock.

Functions here look and decide nothing. :mod:`periogt_ray.doctor.node` decides, by these facts only, so that
the states of a cluster can be tested on any machine.
"""

import ctypes
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.mounts import Mount, mount_of
from periogt_ray.runtime.ports import port_error
from periogt_ray.slurm.job import job_memory_bytes

__all__ = [
    "Directory",
    "GPULibraries",
    "RayFacts",
    "Surroundings",
    "TokenFile",
    "probe_directory",
    "probe_gpu_libraries",
    "probe_ray",
    "probe_shared_memory",
    "probe_surroundings",
]

_SLURM_PLACES = (Path("/etc/slurm"), Path("/var/spool/slurmd"))
_NV_LIBRARIES = Path("/.singularity.d/libs")  # where Apptainer's --nv binds the driver's libraries


@dataclass(frozen=True)
class Directory:
    """A directory that the program reads or writes.

    Attributes
    ----------
    name : str
        The setting that names it.
    path : pathlib.Path
        Absolute, links followed.
    exists : bool
        Whether it is there.
    is_writable : bool
        Whether this user may write to it, or to the nearest directory above it that exists.
    mount : Mount
        The file system that it is, or would be, on.
    free_bytes : int
        Free on that file system; a quota does not show in it.
    """

    name: str
    path: Path
    exists: bool
    is_writable: bool
    mount: Mount
    free_bytes: int


@dataclass(frozen=True)
class Surroundings:
    """Where the program runs.

    Attributes
    ----------
    host : str
        Name of the node.
    has_slurm : bool
        Whether there is a sign of Slurm, in a job or not.
    cluster, job_id : str or None
        From Slurm's variables; None outside of a job.
    job_gpus : int
        GPUs that the job has on this node.
    memory_bytes : int or None
        Memory that the job has on this node; None where it is not known, or is the whole node.
    container : str or None
        The image that the process runs in.
    home : pathlib.Path or None
        The user's home directory.
    port_error : str or None
        Why the service could not listen at its port.
    clock_offset_s : float or None
        How far the clock is ahead of that of the file system with the results, seconds.
    is_clock_behind : bool
        Whether the clock is earlier than the installation date of this package.
    """

    host: str
    has_slurm: bool = False
    cluster: str | None = None
    job_id: str | None = None
    job_gpus: int = 0
    memory_bytes: int | None = None
    container: str | None = None
    home: Path | None = None
    port_error: str | None = None
    clock_offset_s: float | None = None
    is_clock_behind: bool = False


@dataclass(frozen=True)
class GPULibraries:
    """The NVIDIA driver as a process in a container sees it.

    Attributes
    ----------
    devices : tuple of str
        GPU device files.
    bound : tuple of str
        Libraries that --nv brought into the container.
    load_error : str or None
        Why libcuda.so.1 does not load; None if it does.
    init_code : int or None
        What its cuInit returned; None if it was not called.
    """

    devices: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    load_error: str | None = None
    init_code: int | None = None


@dataclass(frozen=True)
class TokenFile:
    """The file that holds Ray's token."""

    path: Path
    exists: bool
    mode: int = 0o600


@dataclass(frozen=True)
class RayFacts:
    """Ray's settings from the environment.

    Attributes
    ----------
    address, mode : str or None
        RAY_ADDRESS and RAY_AUTH_MODE.
    has_token_variable : bool
        Whether the token itself is in the environment.
    token_file : TokenFile or None
        That of RAY_AUTH_TOKEN_PATH, else the default one if it exists.
    temp_dir : Directory
        Where a Ray of our own makes its directory; the path as it is given.
    """

    address: str | None
    mode: str | None
    has_token_variable: bool
    token_file: TokenFile | None
    temp_dir: Directory


def probe_surroundings(
    env: Mapping[str, str], *, results_dir: Path, listens_at: tuple[str, int] | None = None
) -> Surroundings:
    """Look at the node, the job and the container.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    results_dir : pathlib.Path
        A small file is made there, and removed, to compare clocks.
    listens_at : tuple of str and int, optional
        Address and port at which the service would listen.
    """
    home = env.get("HOME")
    return Surroundings(
        host=platform.node(),
        has_slurm=_has_slurm(env),
        cluster=env.get("SLURM_CLUSTER_NAME"),
        job_id=env.get("SLURM_JOB_ID"),
        job_gpus=_number(env, "SLURM_GPUS_ON_NODE") or 0,
        memory_bytes=_job_memory(env),
        container=env.get("APPTAINER_CONTAINER") or env.get("SINGULARITY_CONTAINER"),
        home=Path(home).resolve() if home else None,
        port_error=port_error(*listens_at) if listens_at else None,
        clock_offset_s=_clock_offset(results_dir),
        is_clock_behind=time.time() < Path(__file__).stat().st_mtime,
    )


def probe_directory(name: str, path: Path) -> Directory:
    """Look at a directory, or at the nearest one above it that exists."""
    resolved = path.expanduser().resolve()
    above = next(parent for parent in (resolved, *resolved.parents) if parent.is_dir())
    return Directory(
        name=name,
        path=resolved,
        exists=resolved.is_dir(),
        is_writable=os.access(above, os.W_OK | os.X_OK),
        mount=mount_of(above),
        free_bytes=shutil.disk_usage(above).free,
    )


def probe_gpu_libraries() -> GPULibraries:
    """Look for GPU devices, and load the driver's library as torch would."""
    devices = tuple(sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*")))
    bound = tuple(sorted(path.name for path in _NV_LIBRARIES.glob("*"))) if _NV_LIBRARIES.is_dir() else ()
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return GPULibraries(devices, bound, load_error=str(error))
    return GPULibraries(devices, bound, init_code=int(library.cuInit(0)))


def probe_shared_memory() -> int | None:
    """Return what is free in /dev/shm, bytes; None where there is none."""
    place = Path("/dev/shm")
    return shutil.disk_usage(place).free if place.is_dir() else None


def probe_ray(env: Mapping[str, str]) -> RayFacts:
    """Look at Ray's variables and the files that they name."""
    token = None
    given = env.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path(env.get("HOME", "/nonexistent")) / ".ray" / "auth_token"
    if given or path.is_file():
        token = TokenFile(path, path.is_file(), path.stat().st_mode & 0o777 if path.is_file() else 0)
    root = env.get("RAY_TMPDIR") or env.get("TMPDIR") or "/tmp"
    return RayFacts(
        address=env.get("RAY_ADDRESS") or None,
        mode=env.get("RAY_AUTH_MODE") or None,
        has_token_variable=bool(env.get("RAY_AUTH_TOKEN")),
        token_file=token,
        # By the name that is given: Ray does not follow links, and the length of its sockets' paths counts.
        temp_dir=replace(probe_directory("RAY_TMPDIR", Path(root)), path=Path(root)),
    )


def _has_slurm(env: Mapping[str, str]) -> bool:
    is_named = any(name.startswith("SLURM_") for name in env)
    return is_named or shutil.which("sbatch") is not None or any(path.is_dir() for path in _SLURM_PLACES)


def _number(env: Mapping[str, str], name: str) -> int | None:
    value = env.get(name, "")
    return int(value) if value.isdigit() else None


def _job_memory(env: Mapping[str, str]) -> int | None:
    """Return the memory of the job on this node; None where Slurm does not say it in a way that is understood."""
    try:
        return job_memory_bytes(env)
    except SettingsError:
        return None


def _clock_offset(directory: Path) -> float | None:
    """Compare the clock with that of the file system; None where no file can be made."""
    if not directory.is_dir():
        return None
    try:
        with tempfile.NamedTemporaryFile(prefix=".periogt-clock-", dir=directory) as file:
            file.write(b"0")
            file.flush()
            return time.time() - os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
