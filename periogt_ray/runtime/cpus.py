"""How many CPUs this process may use: what the machine, its container and its Slurm job grant.

None of the three knows of the others. Affinity says on which CPUs the process may run; a container's quota bounds
the time on them; Slurm states a number, and on clusters without its cgroup or affinity plugin nothing enforces it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from periogt_ray.runtime.mounts import unescaped

__all__ = ["SLURM_CPU_VARIABLES", "UsableCpus", "usable_cpus"]

_PROC = Path("/proc")
_MOST_DIGITS = 40  # of a quota and its period; more are no number of microseconds
# Slurm sets these in jobs only, and the smaller one counts: a step keeps the first one of its job and may have fewer
# CPUs; a task has a part of those of its step on this node.
SLURM_CPU_VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


@dataclass(frozen=True)
class UsableCpus:
    """How many CPUs this process may use, and why.

    Attributes
    ----------
    n : int
        At least 1.
    bound : str
        What gives this number, for a user to read.
    n_machine : int
        CPUs of the machine.
    """

    n: int
    bound: str
    n_machine: int


def usable_cpus(env: Mapping[str, str], *, proc: Path = _PROC) -> UsableCpus:
    """Return the smallest of affinity, cgroup quota and Slurm's number, at least 1.

    A quota of 2.5 CPUs counts as 2: a third worker would spend half of its time stopped.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    proc : pathlib.Path
        Where the kernel's process files are.

    Examples
    --------
    >>> usable_cpus({"SLURM_CPUS_PER_TASK": "1"}).n
    1
    """
    n_machine = os.cpu_count() or 1
    found = [(n, "CPU affinity") for n in _affinity()]
    found += [(int(quota), f"cgroup quota of {quota:g} CPUs") for quota in _quotas(proc)]
    found += [(n, name) for name, n in _slurm_cpus(env)]
    # The first of equal numbers: the machine itself, if nothing grants less.
    n, bound = min([(n_machine, "all of the machine"), *found], key=lambda one: one[0])
    return UsableCpus(max(1, n), bound, n_machine)


def _affinity() -> list[int]:
    """Return the number of CPUs on which this process may run; empty where the system has no such bound (macOS)."""
    get = getattr(os, "sched_getaffinity", None)
    return [] if get is None else [len(get(0))]


def _slurm_cpus(env: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the CPUs that Slurm grants, by variable; values that are not numbers are left out."""
    for name in SLURM_CPU_VARIABLES:
        value = env.get(name, "")
        if value.isascii() and value.isdigit() and int(value) > 0:
            yield name, int(value)


def _quotas(proc: Path) -> Iterator[float]:
    """Yield the CPUs that each cgroup grants, from the process's own upwards; nothing where there are no cgroups."""
    try:
        groups = (proc / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        mounts = (proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in groups:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        is_v2 = hierarchy == "0" and not controllers
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            for directory in _directories(mount, Path(path), is_v2=is_v2):
                quota = _quota_v2(directory) if is_v2 else _quota_v1(directory)
                if quota is not None:
                    yield quota


def _directories(mount: str, path: Path, *, is_v2: bool) -> Iterator[Path]:
    """Yield a cgroup's directory and those above it, below one mount; nothing if the mount is another one.

    Parameters
    ----------
    mount : str
        A line of ``mountinfo``; see proc(5).
    path : pathlib.Path
        The cgroup by its name in the hierarchy.
    is_v2 : bool
        Whether the hierarchy is the unified one.
    """
    ours, _, source = mount.partition(" - ")
    fields = ours.split(" ")
    if len(fields) < 5:
        return
    root, point = fields[3:5]
    kind, _, options = [*source.split(" "), "", "", ""][:3]
    if kind != ("cgroup2" if is_v2 else "cgroup") or (not is_v2 and "cpu" not in options.split(",")):
        return
    top, root_path = Path(unescaped(point)), Path(unescaped(root))
    # In a container the mount may show its own cgroup only, or a namespace may hide how it is named outside.
    below = path.relative_to(root_path) if path.is_relative_to(root_path) and ".." not in path.parts else Path()
    directory = top / below
    yield directory
    while directory != top:
        directory = directory.parent
        yield directory


def _quota_v2(directory: Path) -> float | None:
    quota, _, period = _text(directory / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _quota_v1(directory: Path) -> float | None:
    return _ratio(_text(directory / "cpu.cfs_quota_us"), _text(directory / "cpu.cfs_period_us"))


def _text(path: Path) -> str:
    """Return the text of a file; empty if the cgroup has no such file, as the topmost one."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _ratio(quota: str, period: str) -> float | None:
    """Return the CPUs of a quota (microseconds in each period); None for ``max``, ``-1`` and a missing quota."""
    if not quota.isdecimal() or not period.isdecimal() or len(quota + period) > _MOST_DIGITS or int(period) == 0:
        return None
    return int(quota) / int(period)
