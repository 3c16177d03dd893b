"""States of a cluster, and what doctor says in them."""

import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from periogt_ray.doctor import run as doctor
from periogt_ray.doctor.node import (
    check_clock,
    check_cpus,
    check_directory,
    check_gpu,
    check_gpu_libraries,
    check_key,
    check_memory,
    check_place,
    check_port,
    check_ray,
    check_shared_memory,
    gpu_remedy,
)
from periogt_ray.doctor.probes import (
    Directory,
    GPULibraries,
    RayFacts,
    Surroundings,
    TokenFile,
    probe_directory,
    probe_ray,
    probe_surroundings,
)
from periogt_ray.doctor.report import Check, Status
from periogt_ray.model.device import DeviceFacts, GPUFacts
from periogt_ray.runtime.cpus import UsableCpus
from periogt_ray.runtime.mounts import Mount
from periogt_ray.runtime.temp_dir import MAX_ROOT_LENGTH, private_dir
from periogt_ray.settings import Settings

FLOOR = "560.28"
GIB = 1 << 30
PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL

LAPTOP = Surroundings("laptop")
LOGIN = Surroundings("explorer-01", has_slurm=True, home=Path("/home/ada"))
JOB = replace(LOGIN, host="d1021", cluster="explorer", job_id="77", job_gpus=1)
IMAGE = replace(JOB, container="/projects/lab/periogt.sif")

CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
H200 = GPUFacts(0, "NVIDIA H200", (9, 0), 140 * GIB)
V100 = GPUFacts(0, "Tesla V100-SXM2-32GB", (7, 0), 32 * GIB)
P100 = GPUFacts(0, "Tesla P100-PCIE-16GB", (6, 0), 16 * GIB)
K80 = GPUFacts(0, "Tesla K80", (3, 7), 12 * GIB)
L40S = GPUFacts(0, "NVIDIA L40S", (8, 9), 48 * GIB)
GOOD = DeviceFacts("12.6", is_available=True, driver_version="560.35.03", gpus=(H200,), architectures=CU126)
OLD_DRIVER = replace(GOOD, driver_version="470.57.02")
BETWEEN = replace(GOOD, driver_version="535.104.05")
BLIND = replace(GOOD, is_available=False, gpus=(), architectures=())

VERDICTS: list[tuple[GPUFacts, DeviceFacts, str, Status, list[str]]] = [
    (H200, GOOD, FLOOR, PASS, ["NVIDIA H200", "9.0", "140 GiB", "560.35.03", "CUDA 12.6", "compatible"]),
    (V100, GOOD, FLOOR, PASS, ["V100", "7.0", "compatible"]),
    (L40S, GOOD, FLOOR, PASS, ["compatible"]),
    (P100, GOOD, FLOOR, FAIL, ["P100", "6.0", "not supported", "V100", "PERIOGT_DEVICE=cpu"]),
    (K80, GOOD, FLOOR, FAIL, ["K80", "3.7", "not supported"]),
    (H200, OLD_DRIVER, FLOOR, FAIL, ["470.57.02", "560.28", "administrator"]),
    (H200, BETWEEN, FLOOR, FAIL, ["535.104.05", "PERIOGT_MIN_DRIVER=525.60"]),
    (H200, BETWEEN, "525.60", WARN, ["535.104.05", "560.28", "Do nothing if"]),
    # Builds of torch for CUDA 12.8 and later have no code for V100.
    (
        V100,
        replace(GOOD, torch_cuda="12.9", architectures=("sm_75", "sm_80", "sm_90")),
        FLOOR,
        FAIL,
        ["torch 2.6.0 for CUDA 12.6"],
    ),
    (H200, replace(GOOD, architectures=("sm_80", "compute_80")), FLOOR, PASS, ["compatible"]),
    (H200, replace(GOOD, architectures=("sm_80", "sm_90a", "compute_100")), FLOOR, FAIL, ["sm_90a", "CUDA 12.6"]),
    (replace(H200, launch_error="out of memory"), GOOD, FLOOR, FAIL, ["out of memory", "another node"]),
]


def holds(check: Check, status: Status, words: list[str]) -> None:
    text = f"{check.message} {check.remedy}"
    assert check.status is status, text
    assert all(word in text for word in words), text
    assert (status is PASS) == (check.remedy == ""), "what does not pass says what to do, and nothing else does"


@pytest.mark.parametrize(("gpu", "facts", "floor", "status", "words"), VERDICTS)
def test_gpu_verdict(gpu: GPUFacts, facts: DeviceFacts, floor: str, status: Status, words: list[str]) -> None:
    holds(check_gpu(gpu, facts, floor), status, words)


BOUND = ("libcuda.so.1", "libnvidia-ml.so.1")
LIBRARIES: list[tuple[Surroundings, DeviceFacts, GPULibraries, Status | None, list[str]]] = [
    (IMAGE, GOOD, GPULibraries(), None, []),
    (LAPTOP, replace(BLIND, driver_version=None), GPULibraries(), None, []),
    (JOB, replace(BLIND, torch_cuda=None), GPULibraries(("/dev/nvidia0",)), None, []),
    (IMAGE, BLIND, GPULibraries(load_error="no such file"), FAIL, ["--nv", "none of its libraries"]),
    (
        IMAGE,
        replace(BLIND, driver_version=None),
        GPULibraries(("/dev/nvidia0",), (), "no such file"),
        FAIL,
        ["--nv", "version unknown"],
    ),
    (IMAGE, BLIND, GPULibraries((), ("libGL.so",), "no such file"), FAIL, ["nvliblist.conf", "--nvccli", "--bind"]),
    (IMAGE, BLIND, GPULibraries((), BOUND, init_code=803), FAIL, ["803", "nvliblist.conf"]),
    (IMAGE, BLIND, GPULibraries((), BOUND, init_code=0), FAIL, ["cuInit returned 0", "nvliblist.conf"]),
    (JOB, BLIND, GPULibraries(load_error="no such file"), FAIL, ["administrator", "another node"]),
    (replace(IMAGE, job_gpus=0), BLIND, GPULibraries((), BOUND, init_code=100), WARN, ["--gres=gpu"]),
]


@pytest.mark.parametrize(("place", "facts", "libraries", "status", "words"), LIBRARIES)
def test_why_torch_sees_no_gpu(
    place: Surroundings, facts: DeviceFacts, libraries: GPULibraries, status: Status | None, words: list[str]
) -> None:
    check = check_gpu_libraries(place, facts, libraries)
    if status is None:
        assert check is None
    else:
        assert check is not None
        holds(check, status, words)


def test_a_missing_gpu_has_another_remedy_in_each_place() -> None:
    assert "doctor.sbatch" in gpu_remedy(LOGIN)
    assert "--gres=gpu" in gpu_remedy(replace(JOB, job_gpus=0))
    assert gpu_remedy(LAPTOP) == gpu_remedy(JOB) == "Set PERIOGT_DEVICE=cpu if you want the CPU."


GPFS, EXT4, NFS = Mount(Path("/gpfs"), "gpfs"), Mount(Path("/"), "ext4"), Mount(Path("/home"), "nfs4")


def at(path: str, mount: Mount = GPFS, *, exists: bool = True, writable: bool = True, free: int = 900) -> Directory:
    return Directory("somewhere", Path(path), exists, writable, mount, free * GIB)


OVERLAY, COVER = Mount(Path("/"), "overlay"), Mount(Path("/projects"), "tmpfs")
DIRECTORIES: list[tuple[Directory, Surroundings, bool, bool, Status, list[str]]] = [
    (at("/gpfs/lab/periogt"), JOB, True, False, PASS, ["/gpfs/lab/periogt", "gpfs", "900 GiB"]),
    (at("/gpfs/lab/results", exists=False), JOB, False, True, PASS, ["does not exist yet"]),
    (at("/scratch/ada/checkpoints"), JOB, True, False, WARN, ["delete regularly", "/projects/"]),
    (at("/scratch/ada/results"), JOB, False, True, PASS, ["copy results to another place"]),
    (at("/home/ada/periogt", NFS), LOGIN, True, False, WARN, ["quota", "75 GB", "PERIOGT_BASE_DIR"]),
    (at("/home/ada/periogt", EXT4), replace(LAPTOP, home=Path("/home/ada")), True, False, PASS, []),
    (at("/home/ada/results", NFS), LOGIN, False, True, PASS, []),
    (at("/gpfs/lab/results", writable=False), JOB, False, True, FAIL, ["cannot be written", ":ro"]),
    (at("/gpfs/lab/checkpoints", writable=False), JOB, True, False, PASS, []),
    (at("/gpfs/lab/results", free=0), JOB, False, True, WARN, ["nearly full"]),
    (at("/projects/lab", OVERLAY), IMAGE, True, False, FAIL, ["--bind /projects/lab", "part of the container"]),
    (at("/projects/lab", COVER, exists=False), IMAGE, False, True, WARN, ["--bind /projects/lab"]),
    (at("/tmp/results", Mount(Path("/tmp"), "tmpfs")), IMAGE, False, True, PASS, []),
    (at("/projects/lab", EXT4), JOB, True, False, PASS, []),
]


@pytest.mark.parametrize(("directory", "place", "is_kept", "is_written", "status", "words"), DIRECTORIES)
def test_directories(
    directory: Directory, place: Surroundings, is_kept: bool, is_written: bool, status: Status, words: list[str]
) -> None:
    holds(check_directory(directory, place, is_kept=is_kept, is_written=is_written), status, words)


TMP = Directory("RAY_TMPDIR", Path("/tmp"), True, True, EXT4, GIB)
ALONE = RayFacts(None, None, False, None, TMP)
JOINED = RayFacts("10.0.0.1:6379", "token", False, TokenFile(Path("/x/token"), exists=True), TMP)
RAY: list[tuple[RayFacts, str, Status, list[str]]] = [
    (ALONE, "ray token", PASS, ["its own Ray"]),
    (JOINED, "ray token", PASS, ["10.0.0.1:6379", "with a token"]),
    (replace(JOINED, mode=None), "ray token", WARN, ["RAY_AUTH_MODE", "not set", "everyone"]),
    (
        replace(JOINED, token_file=TokenFile(Path("/x/token"), exists=False)),
        "ray token",
        FAIL,
        ["/x/token", "does not exist"],
    ),
    (replace(JOINED, token_file=None), "ray token", FAIL, ["there is no token"]),
    (
        replace(JOINED, token_file=TokenFile(Path("/x/token"), exists=True, mode=0o640)),
        "ray token",
        FAIL,
        ["0640", "chmod 600 /x/token"],
    ),
    (replace(ALONE, has_token_variable=True), "ray token", WARN, ["environment", "RAY_AUTH_TOKEN_PATH"]),
    (ALONE, "ray temp dir", PASS, ["/tmp"]),
    (replace(ALONE, temp_dir=replace(TMP, path=Path("/local/" + "x" * 40))), "ray temp dir", WARN, ["RAY_TMPDIR"]),
    (replace(ALONE, temp_dir=replace(TMP, path=Path("/local/" + "x" * 18))), "ray temp dir", PASS, ["/local/x"]),
    (replace(ALONE, temp_dir=replace(TMP, path=Path("/local/" + "x" * 19))), "ray temp dir", WARN, ["25 characters"]),
    (replace(ALONE, temp_dir=replace(TMP, mount=Mount(Path("/t"), "nfs4"))), "ray temp dir", WARN, ["nfs4"]),
    (replace(ALONE, temp_dir=replace(TMP, exists=False)), "ray temp dir", WARN, ["does not exist"]),
]


@pytest.mark.parametrize(("facts", "name", "status", "words"), RAY)
def test_ray(facts: RayFacts, name: str, status: Status, words: list[str]) -> None:
    [check] = [check for check in check_ray(facts) if check.name == name]
    holds(check, status, words)


OTHERS: list[tuple[Callable[[], Check | None], Status, list[str]]] = [
    (lambda: check_place(IMAGE), PASS, ["job 77", "d1021", "explorer", "1 GPUs", "periogt.sif"]),
    (lambda: check_place(LOGIN), PASS, ["explorer-01", "not in a Slurm job", "no container"]),
    (lambda: check_port(JOB, "0.0.0.0", 8000), PASS, ["0.0.0.0:8000", "free"]),
    (
        lambda: check_port(replace(JOB, port_error="Address already in use"), "0.0.0.0", 8000),
        WARN,
        ["already in use", "PERIOGT_PORT"],
    ),
    (lambda: check_key("127.0.0.1", has_key=True), PASS, ["PERIOGT_API_KEY is set"]),
    (lambda: check_key("127.0.0.1", has_key=False), PASS, ["every user of this machine", "export PERIOGT_API_KEY"]),
    (lambda: check_key("0.0.0.0", has_key=False), PASS, ["everybody who can reach 0.0.0.0", "ray_serve.sbatch"]),
    (lambda: check_clock(replace(JOB, clock_offset_s=0.2)), PASS, ["agrees"]),
    (lambda: check_clock(JOB), PASS, ["not compared"]),
    (lambda: check_clock(replace(JOB, clock_offset_s=-200.0)), WARN, ["200 s behind", "administrator"]),
    (lambda: check_clock(replace(JOB, is_clock_behind=True)), FAIL, ["earlier than the installation date"]),
    (lambda: check_memory(replace(JOB, memory_bytes=4 * GIB), 6 * GIB), WARN, ["4.0 GiB", "6.0 GiB", "--mem=8G"]),
    (lambda: check_memory(replace(JOB, memory_bytes=64 * GIB), 6 * GIB), PASS, []),
    (lambda: check_cpus(UsableCpus(2, "SLURM_CPUS_PER_TASK", 64)), PASS, ["2 of the machine's 64", "SLURM_CPUS_PER"]),
    (lambda: check_cpus(UsableCpus(64, "all of the machine", 64)), PASS, ["64, all of the machine"]),
    (lambda: check_shared_memory(64 << 20), WARN, ["64 MiB", "at least 256 MiB", "--shm-size", "/tmp"]),
    (lambda: check_shared_memory(GIB), PASS, ["1024 MiB"]),
]


@pytest.mark.parametrize(("run", "status", "words"), OTHERS)
def test_other_checks(run: Callable[[], Check | None], status: Status, words: list[str]) -> None:
    check = run()
    assert check is not None
    holds(check, status, words)


def test_a_system_without_shared_memory_is_not_judged() -> None:
    assert check_shared_memory(None) is None


NO_GPU = DeviceFacts(None, is_available=False, driver_version=None)
DEVICES: list[tuple[DeviceFacts, GPULibraries, Surroundings, Status, list[str]]] = [
    (NO_GPU, GPULibraries(load_error="no libcuda"), LAPTOP, PASS, ["no NVIDIA GPU and no driver"]),
    (NO_GPU, GPULibraries(load_error="no libcuda"), LOGIN, PASS, ["no NVIDIA GPU and no driver", "doctor.sbatch"]),
    (NO_GPU, GPULibraries(devices=("/dev/nvidia0",), load_error="no libcuda"), LAPTOP, WARN, ["build for the CPU"]),
    (replace(NO_GPU, driver_version="560.35"), GPULibraries(), LAPTOP, WARN, ["build for the CPU"]),
    (GOOD, GPULibraries(), JOB, PASS, ["cuda"]),
]


@pytest.mark.parametrize(("facts", "libraries", "place", "status", "words"), DEVICES)
def test_only_a_gpu_that_is_there_and_unused_is_a_warning(
    facts: DeviceFacts,
    libraries: GPULibraries,
    place: Surroundings,
    status: Status,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "probe_gpu_libraries", lambda: libraries)
    *_, check = doctor._check_device(Settings.from_env({"HOME": "/"}), facts, place)
    assert check.name == "device"
    holds(check, status, words)


def test_memory_is_not_checked_outside_of_a_job() -> None:
    assert check_memory(LOGIN, GIB) is None


def test_probes_read_the_job_from_slurms_variables(tmp_path: Path) -> None:
    env = {
        "HOME": str(tmp_path),
        "SLURM_JOB_ID": "9",
        "SLURM_CLUSTER_NAME": "baseline",
        "SLURM_MEM_PER_CPU": "2048",
        "SLURM_CPUS_ON_NODE": "8",
        "SLURM_GPUS_ON_NODE": "2",
        "APPTAINER_CONTAINER": "/x.sif",
    }
    place = probe_surroundings(env, results_dir=tmp_path)
    assert (place.job_id, place.cluster, place.job_gpus, place.container) == ("9", "baseline", 2, "/x.sif")
    assert place.memory_bytes == 16 * GIB
    assert probe_surroundings({**env, "SLURM_MEM_PER_NODE": "4096"}, results_dir=tmp_path).memory_bytes == 4 * GIB
    per_gpu = {**env, "SLURM_MEM_PER_GPU": "3072", "CUDA_VISIBLE_DEVICES": "0,1"}
    del per_gpu["SLURM_MEM_PER_CPU"]
    assert probe_surroundings(per_gpu, results_dir=tmp_path).memory_bytes == 6 * GIB
    strange = {**env, "SLURM_MEM_PER_NODE": "much", "SLURM_GPUS_ON_NODE": "some"}
    assert probe_surroundings(strange, results_dir=tmp_path).memory_bytes is None
    assert probe_surroundings({}, results_dir=tmp_path).memory_bytes is None
    assert place.clock_offset_s is not None
    assert abs(place.clock_offset_s) < 60
    assert not place.is_clock_behind
    assert list(tmp_path.iterdir()) == [], "the file that clocks were compared by is gone"


def test_probes_see_that_a_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = probe_surroundings({}, results_dir=tmp_path, listens_at=("127.0.0.1", port))
    assert taken.port_error == os.strerror(98)
    free = probe_surroundings({}, results_dir=tmp_path, listens_at=("127.0.0.1", port))
    assert free.port_error is None


def test_probes_find_the_file_system_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    found = probe_directory("results_dir", tmp_path / "a" / "b")
    assert (found.exists, found.is_writable) == (False, True)
    assert found.mount.kind == probe_directory("results_dir", tmp_path).mount.kind != "unknown"
    assert probe_directory("x", Path("/proc/self")).mount == Mount(Path("/proc"), "proc")


def test_doctor_takes_the_directories_that_ray_is_started_in(tmp_path: Path) -> None:
    """What passes is used, and what is used passes; a link counts as long as its own name."""
    target = tmp_path / "a directory with a long name"
    target.mkdir()
    for length in (MAX_ROOT_LENGTH, MAX_ROOT_LENGTH + 1):
        with tempfile.TemporaryDirectory(prefix="short-", dir="/tmp") as parent:
            root = Path(parent, "x" * (length - len(parent) - 1))
            root.symlink_to(target)
            env = {"RAY_TMPDIR": str(root)}
            [check] = [check for check in check_ray(probe_ray(env)) if check.name == "ray temp dir"]
            with private_dir({**env, "TMPDIR": "/tmp"}) as made:
                assert (check.status is PASS) == (made.parent == root)


def test_probes_read_the_mode_of_rays_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    facts = probe_ray({"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token"})
    assert facts.token_file == TokenFile(token, exists=False, mode=0)
    token.write_text("x")
    token.chmod(0o640)
    assert probe_ray({"RAY_AUTH_TOKEN_PATH": str(token)}).token_file == TokenFile(token, exists=True, mode=0o640)
    assert probe_ray({"HOME": str(tmp_path)}).token_file is None
