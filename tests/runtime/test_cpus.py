"""The number of CPUs, from made-up files of the kernel and from this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from periogt_ray.runtime.cpus import UsableCpus, usable_cpus

MACHINE = 64
ALLOWED = min(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: MACHINE)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(32)))


class Kernel:
    """Made-up /proc and /sys, in which cgroups have quotas."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys fs"
        (self.proc / "self").mkdir(parents=True)
        self.is_in("").mounts()

    def is_in(self, *lines: str) -> "Kernel":
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines if line))
        return self

    def mounts(self, *mounts: tuple[str, str, str]) -> "Kernel":
        """Each a root, a mount point below ``sys`` and ``TYPE OPTIONS``."""
        lines = []
        for number, (root, point, rest) in enumerate(mounts):
            kind, options = rest.split(" ")
            place = str(self.sys / point).replace(" ", r"\040")
            lines.append(f"{30 + number} 23 0:{number} {root} {place} rw,relatime shared:1 - {kind} {kind} {options}\n")
        (self.proc / "self" / "mountinfo").write_text("".join(lines))
        return self

    def v2(self, path: str, maximum: str) -> "Kernel":
        return self.write(path, "cpu.max", maximum)

    def v1(self, path: str, quota: int, period: int = 100_000) -> "Kernel":
        return self.write(path, "cpu.cfs_quota_us", str(quota)).write(path, "cpu.cfs_period_us", str(period))

    def write(self, path: str, name: str, text: str) -> "Kernel":
        (self.sys / path).mkdir(parents=True, exist_ok=True)
        (self.sys / path / name).write_text(f"{text}\n")
        return self

    def cpus(self, **env: str) -> UsableCpus:
        return usable_cpus(env, proc=self.proc)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


UNIFIED = ("/", "cgroup", "cgroup2 rw")
CPU_V1 = ("/", "cpu,cpuacct", "cgroup rw,cpu,cpuacct")


def test_affinity_counts_where_nothing_else_bounds(kernel: Kernel) -> None:
    assert kernel.cpus() == UsableCpus(32, "CPU affinity", MACHINE)


def test_the_whole_machine_is_told(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(MACHINE)))
    assert kernel.cpus() == UsableCpus(MACHINE, "all of the machine", MACHINE)


def test_a_system_without_affinity_and_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cpus({}, proc=tmp_path / "none").n == MACHINE


@pytest.mark.parametrize(
    ("maximum", "n"),
    [("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("max 100000", 32), ("", 32), ("1 0", 32)],
)
def test_quota_of_the_unified_hierarchy(kernel: Kernel, maximum: str, n: int) -> None:
    kernel.is_in("0::/job/task").mounts(UNIFIED).v2("cgroup/job/task", maximum)
    assert kernel.cpus().n == n


def test_the_smallest_quota_on_the_way_up_counts(kernel: Kernel) -> None:
    kernel.is_in("0::/slice/job/task").mounts(UNIFIED)
    kernel.v2("cgroup/slice", "1000000 100000").v2("cgroup/slice/job", "300000 100000")
    kernel.v2("cgroup/slice/job/task", "max 100000").v2("cgroup/slice/other", "100000 100000")
    assert kernel.cpus() == UsableCpus(3, "cgroup quota of 3 CPUs", MACHINE)


@pytest.mark.parametrize(("quota", "n"), [(600_000, 6), (-1, 32), (150_000, 1)])
def test_quota_of_the_older_hierarchy(kernel: Kernel, quota: int, n: int) -> None:
    kernel.is_in("5:memory:/m", "3:cpu,cpuacct:/a/b", "0::/").mounts(CPU_V1, ("/", "unified", "cgroup2 rw"))
    kernel.v1("cpu,cpuacct/a", quota).v1("cpu,cpuacct/a/b", 800_000).v1("cpu,cpuacct/m", 100_000)
    assert kernel.cpus().n == min(n, 8)


def test_the_period_counts(kernel: Kernel) -> None:
    kernel.is_in("3:cpu:/a").mounts(("/", "cpu", "cgroup rw,cpu")).v1("cpu/a", 100_000, period=50_000)
    assert kernel.cpus().n == 2


@pytest.mark.parametrize(
    ("group", "root"),
    [
        ("/docker/0a1b", "/docker/0a1b"),  # the container sees its own cgroup only, by the name it has outside
        ("/", "/"),  # a namespace of cgroups
        ("/../../system.slice", "/"),  # of a process that came into the namespace
        ("/elsewhere", "/docker/0a1b"),
    ],
)
def test_quota_of_a_container(kernel: Kernel, group: str, root: str) -> None:
    kernel.is_in(f"0::{group}").mounts((root, "cgroup", "cgroup2 rw")).v2("cgroup", "500000 100000")
    kernel.v2("system.slice", "100000 100000")
    assert kernel.cpus().n == 5


def test_other_mounts_are_left_alone(kernel: Kernel) -> None:
    kernel.is_in("4:cpuset:/", "0::/").mounts(("/", "cpuset", "cgroup rw,cpuset"), ("/", "tmp", "tmpfs rw,size=1k"))
    kernel.v1("cpuset", 100_000).v2("tmp", "100000 100000")
    assert kernel.cpus().n == 32


@pytest.mark.parametrize(
    ("env", "n", "bound"),
    [
        ({"SLURM_CPUS_PER_TASK": "1"}, 1, "SLURM_CPUS_PER_TASK"),
        ({"SLURM_CPUS_ON_NODE": "6"}, 6, "SLURM_CPUS_ON_NODE"),
        # A step keeps the number of tasks that the job was submitted with, and may have fewer CPUs.
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "2"}, 2, "SLURM_CPUS_ON_NODE"),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "8"}, 2, "SLURM_CPUS_PER_TASK"),
        ({"SLURM_CPUS_PER_TASK": "48"}, 32, "CPU affinity"),
        ({"SLURM_CPUS_PER_TASK": "many", "SLURM_CPUS_ON_NODE": "0"}, 32, "CPU affinity"),
    ],
)
def test_what_slurm_granted_counts(kernel: Kernel, env: dict[str, str], n: int, bound: str) -> None:
    assert kernel.cpus(**env) == UsableCpus(n, bound, MACHINE)


def test_a_process_on_one_cpu_of_this_machine_counts_one() -> None:
    taskset = shutil.which("taskset")
    assert taskset is not None
    code = "import os; from periogt_ray.runtime.cpus import usable_cpus; print(usable_cpus({}))"
    command = [taskset, "--cpu-list", str(ALLOWED), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("UsableCpus(n=1, ")
