"""The parts of a cluster that need no Slurm and no Ray."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.ports import reserved_ports
from periogt_ray.runtime.processes import descendants_of
from periogt_ray.runtime.ray_environment import environment_of_cluster
from periogt_ray.slurm.connection_note import ConnectionNote
from periogt_ray.slurm.job import SlurmJob
from periogt_ray.slurm.job_directory import JobDirectory
from periogt_ray.slurm.ray_node import NodeShare
from periogt_ray.slurm.stop_request import StopRequest

GIB = 1 << 30


@pytest.fixture
def files(tmp_path: Path) -> JobDirectory:
    directory = tmp_path / "job"
    directory.mkdir(mode=0o700)
    return JobDirectory(directory)


# Ports.


def test_clusters_of_one_job_number_get_other_ports() -> None:
    with reserved_ports(7) as first, reserved_ports(7) as second, reserved_ports(7 + 1408) as third:
        blocks = [set(ports.all()) for ports in (first, second, third)]
    assert len(set.union(*blocks)) == sum(map(len, blocks))
    assert all(10240 <= port < 32768 for port in set.union(*blocks))


def test_a_block_with_a_port_in_use_is_passed_over() -> None:
    with reserved_ports(11) as free:
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free.dashboard))
        taken.listen()
        with reserved_ports(11) as other:
            assert free.dashboard not in other.all()
    with reserved_ports(11) as again:
        assert again == free


# Memory and CPUs.


def share(*, memory_bytes: int | None = 32 * GIB, n_gpus: int = 0, n_usable_cpus: int | None = None) -> NodeShare:
    job = SlurmJob(job_id=1, nodes=("n1",), node_index=0, n_cpus=4, n_gpus=n_gpus, memory_bytes=memory_bytes)
    return NodeShare.of(
        job, node_memory_bytes=512 * GIB, node_cpus=128, shared_memory_bytes=256 * GIB, n_usable_cpus=n_usable_cpus
    )


def test_ray_gets_what_the_job_has() -> None:
    got = share(n_gpus=2)
    assert (got.n_cpus, got.n_gpus) == (4, 2)
    assert got.object_store_bytes == 32 * GIB // 10
    assert got.object_store_bytes + got.memory_bytes < 32 * GIB


@pytest.mark.parametrize(("n_usable_cpus", "n_cpus"), [(1, 1), (64, 4)])
def test_ray_gets_no_more_than_the_node_lets_it_use(n_usable_cpus: int, n_cpus: int) -> None:
    assert share(n_usable_cpus=n_usable_cpus).n_cpus == n_cpus


def test_memory_that_slurm_does_not_state_goes_with_the_cpus() -> None:
    assert share(memory_bytes=None) == share(memory_bytes=16 * GIB)


def test_a_small_job_gets_what_ray_needs_at_least() -> None:
    got = share(memory_bytes=GIB // 2)
    assert got.object_store_bytes >= 75 << 20
    assert got.memory_bytes > 0


# The job's directory.


def test_files_are_private_and_whole(files: JobDirectory) -> None:
    assert files.published() is None
    files.publish({"ray_address": "10.0.0.1:7", "node": "n 1"})
    assert files.published() == {"ray_address": "10.0.0.1:7", "node": "n 1"}
    assert {path.stat().st_mode & 0o777 for path in files.path.iterdir()} == {0o600}
    sourced = subprocess.run(
        ["bash", "-c", f"source {files.path}/ray-job.env; echo $periogt_node"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sourced.stdout == "n 1\n"
    files.report_failure("n2", "no room")
    assert files.failures() == ["no room"]
    files.remove()
    assert not files.exists


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(SettingsError, match="chmod 700"):
        JobDirectory(tmp_path / "open")
    with pytest.raises(SettingsError, match="is not there"):
        JobDirectory(tmp_path / "none")


# The end.


def test_the_file_leaves_time_and_a_signal_takes_it(files: JobDirectory) -> None:
    stop = StopRequest(files, kill_wait_s=5, drain_s=90)
    assert not stop.is_asked
    (files.path / "stop").touch()
    assert stop.is_asked
    assert 80 < stop.remaining_s <= 90
    stop.hurry()
    assert 0 < stop.remaining_s <= 5
    before = stop.remaining_s
    stop.hurry()
    assert stop.remaining_s <= before


def test_the_shortest_kill_wait_leaves_a_moment(files: JobDirectory) -> None:
    stop = StopRequest(files, kill_wait_s=1, drain_s=90)
    stop.hurry()
    assert stop.is_asked
    assert stop.remaining_s > 0


def test_orphans_are_adopted_and_ended() -> None:
    """In a process of its own, which also leaves nothing behind when its children have lost their parents."""
    program = """
import os, subprocess, time
from periogt_ray.runtime.processes import adopt_orphans, descendants_of, kill_descendants
adopt_orphans()
# The shell ends at once, and its child, in a session of its own, would belong to process 1.
subprocess.run(["bash", "-c", "setsid sleep 60 >/dev/null 2>&1 & setsid sleep 60 >/dev/null 2>&1 & exit 0"])
print(len(descendants_of(os.getpid())), kill_descendants(timeout_s=10), len(descendants_of(os.getpid())))
"""
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert result.stdout.split() == ["2", "[]", "0"]


def test_only_marked_children_are_found() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert process.pid in descendants_of(os.getpid())
        assert process.pid not in descendants_of(os.getpid(), marked="not in its command line")
        process.kill()


# What processes are started with.


def test_the_environment_lets_in_and_keeps_out(files: JobDirectory, tmp_path: Path) -> None:
    env = {"RAY_ADDRESS": "elsewhere", "RAY_AUTH_TOKEN": "of another", "PATH": "/bin", "PERIOGT_DEVICE": "cpu"}
    found = environment_of_cluster(env, token_file=files.token_file, scratch_dir=tmp_path)
    assert "RAY_ADDRESS" not in found
    assert "RAY_AUTH_TOKEN" not in found
    assert (found["PATH"], found["PERIOGT_DEVICE"]) == ("/bin", "cpu")
    assert (found["RAY_AUTH_MODE"], found["RAY_enable_metrics_collection"]) == ("token", "0")
    assert found["RAY_AUTH_TOKEN_PATH"] == str(files.token_file)


# What the user reads.


def note(*, is_loopback: bool = False) -> ConnectionNote:
    return ConnectionNote(
        job_id=5,
        node="c0123",
        port=10321,
        key_file=Path("/results/my job/api-key"),
        directory=Path("/results/my job"),
        repository="/home/me/periogt ray",
        login="me@login",
        is_loopback=is_loopback,
    )


def test_the_tunnel_ends_where_the_service_listens() -> None:
    assert note().tunnel == "ssh -N -L 8000:c0123:10321 me@login"
    assert note(is_loopback=True).tunnel == "ssh -N -L 8000:127.0.0.1:10321 -J me@login c0123"


def test_paths_with_spaces_are_quoted() -> None:
    text = note().text()
    assert "'/results/my job/api-key'" in text
    assert "bash '/home/me/periogt ray/slurm/ray_job.sh' '/results/my job' submit" in text


@pytest.mark.parametrize(
    ("env", "login"),
    [
        ({"SLURM_JOB_USER": "me", "SLURM_SUBMIT_HOST": "login02"}, "me@login02"),
        ({"SLURM_JOB_USER": "me", "SLURM_SUBMIT_HOST": "login02", "PERIOGT_LOGIN": "hpc.edu"}, "me@hpc.edu"),
        ({"SLURM_JOB_USER": "me", "PERIOGT_LOGIN": "other@hpc.edu"}, "other@hpc.edu"),
        ({}, "USER@LOGIN_NODE"),
    ],
)
def test_login(env: dict[str, str], login: str) -> None:
    assert ConnectionNote.login_of(env) == login
