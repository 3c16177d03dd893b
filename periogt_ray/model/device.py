"""Which device the network runs on, and whether it can.

:func:`probe_device` looks at the machine; :func:`choose_device` decides only from what was found,
so that every branch can be tested without a GPU.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from periogt_ray.errors import CudaUnavailableError, DriverIncompatibleError, GPUUnsupportedError, PerioGTError

__all__ = [
    "MIN_CAPABILITY",
    "NO_DRIVER",
    "DeviceChoice",
    "DeviceFacts",
    "GPUFacts",
    "choose_device",
    "cuda_problem",
    "driver_problem",
    "has_code_for",
    "has_driver",
    "probe_device",
]

NO_DRIVER = "Running on the CPU, which is slower than a GPU. No NVIDIA driver was found."
MIN_CAPABILITY = (7, 0)  # Volta: older GPUs are not supported by builds for CUDA 12
# Oldest drivers on which a CUDA major version runs, by NVIDIA's minor-version compatibility.
_MAJOR_FLOORS = {"11": "450.80", "12": "525.60", "13": "580.65"}
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_NVIDIA_SMI_TIMEOUT_S = 10


@dataclass(frozen=True)
class GPUFacts:
    """One visible GPU."""

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    launch_error: str | None = None  # why a kernel did not run on it


@dataclass(frozen=True)
class DeviceFacts:
    """The facts about a machine.

    Attributes
    ----------
    torch_cuda : str or None
        CUDA version that torch was built for; None for a CPU build.
    is_available : bool
        ``torch.cuda.is_available()``.
    driver_version : str or None
        Of the NVIDIA driver; None where there is none.
    gpus : tuple of GPUFacts
        All visible ones.
    architectures : tuple of str
        What torch has code for, such as ``sm_90``, and ``compute_90`` for code that the driver translates.
    """

    torch_cuda: str | None
    is_available: bool
    driver_version: str | None
    gpus: tuple[GPUFacts, ...] = ()
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceChoice:
    """The device, and what a user should know about the choice."""

    device: Literal["cpu", "cuda"]
    warning: str | None = None


def probe_device() -> DeviceFacts:
    """Look at torch, the driver and every visible GPU, on which a kernel is launched."""
    import torch

    is_available = torch.cuda.is_available()
    indices = range(torch.cuda.device_count()) if is_available else ()
    return DeviceFacts(
        torch_cuda=torch.version.cuda,
        is_available=is_available,
        driver_version=_driver_version(),
        gpus=tuple(_probe_gpu(index) for index in indices),
        architectures=tuple(torch.cuda.get_arch_list()) if is_available else (),
    )


def choose_device(requested: Literal["cpu", "cuda"] | None, facts: DeviceFacts, *, min_driver: str) -> DeviceChoice:
    """Decide where the network runs.

    Parameters
    ----------
    requested : {"cpu", "cuda"} or None
        None: CUDA where it works, else the CPU with a warning.
    facts : DeviceFacts
        From :func:`probe_device`.
    min_driver : str
        Oldest driver that is accepted, such as ``560.28``.

    Raises
    ------
    CudaUnavailableError, GPUUnsupportedError, DriverIncompatibleError
        If CUDA was requested and cannot be used.
    """
    if requested == "cpu":
        return DeviceChoice("cpu")
    problem = cuda_problem(facts, min_driver)
    if problem is None:
        return DeviceChoice("cuda")
    if requested == "cuda":
        raise problem
    if facts.driver_version is None:  # a laptop, which another torch would not help
        return DeviceChoice("cpu", NO_DRIVER)
    return DeviceChoice("cpu", f"Running on the CPU, which is much slower: {problem.message}")


def cuda_problem(facts: DeviceFacts, min_driver: str) -> PerioGTError | None:
    """Return why CUDA cannot be used, or None."""
    remedy = "Set PERIOGT_DEVICE=cpu to run on the CPU."
    if facts.torch_cuda is None:
        return CudaUnavailableError(f"This torch is a build for the CPU. Install a CUDA build of torch. {remedy}")
    driver = facts.driver_version
    if problem := driver_problem(facts, min_driver):
        return problem
    if not facts.is_available:
        return CudaUnavailableError(
            (
                f"The NVIDIA driver {driver} is present but torch (CUDA {facts.torch_cuda}) cannot use a GPU. In "
                "Apptainer, run with --nv and have the administrator check nvliblist.conf, which in version 1.2 lists "
                "the libraries of CUDA 11; in Slurm, check that a GPU was requested. "
                if driver is not None
                else "No NVIDIA driver was found. On a GPU node, run the container with --nv and request a GPU "
                "(--gres=gpu:1). "
            )
            + remedy
        )
    old = [gpu for gpu in facts.gpus if gpu.capability < MIN_CAPABILITY]
    if old:
        listed = ", ".join(f"GPU {gpu.index} {gpu.name} ({gpu.capability[0]}.{gpu.capability[1]})" for gpu in old)
        return GPUUnsupportedError(
            f"{listed}: compute capability below {MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]}, that of a V100. "
            f"Request another GPU type, or hide it with CUDA_VISIBLE_DEVICES. {remedy}"
        )
    broken = [gpu for gpu in facts.gpus if gpu.launch_error]
    if broken:
        listed = "; ".join(f"GPU {gpu.index} {gpu.name}: {gpu.launch_error}" for gpu in broken)
        return GPUUnsupportedError(
            f"No kernel runs on {listed}. torch for CUDA {facts.torch_cuda} may not support this GPU: "
            f"install one that does (builds for CUDA 12.6 support V100 to H200). {remedy}"
        )
    return None


def driver_problem(facts: DeviceFacts, min_driver: str) -> DriverIncompatibleError | None:
    """Return an error if the driver is too old, else None."""
    driver, torch_cuda = facts.driver_version, facts.torch_cuda or ""
    if driver is None or _version(driver) >= _version(min_driver):
        return None
    message = f"The NVIDIA driver is {driver}; at least {min_driver} is required."
    floor = _MAJOR_FLOORS.get(torch_cuda.split(".")[0])
    if floor and _version(driver) >= _version(floor):
        return DriverIncompatibleError(
            f"{message} By NVIDIA's minor-version compatibility CUDA {torch_cuda} runs on drivers from {floor}: "
            f"to accept this one set PERIOGT_MIN_DRIVER={floor}."
        )
    return DriverIncompatibleError(f"{message} Ask the administrator for a newer driver, or set PERIOGT_DEVICE=cpu.")


def has_code_for(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a build of torch runs on a GPU; a build that does not list its architectures counts as suitable.

    Code for a GPU runs on those of the same major version from its minor version on, and code that the
    driver translates on all later ones.
    """
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        # Code with a letter, such as sm_90a, runs on that very GPU; torch ships it beside the plain one.
        found = re.fullmatch(r"(\d+)(\d)", digits)
        if found is None:
            continue
        built = int(found[1]), int(found[2])
        if (kind == "sm" and built[0] == major and built[1] <= minor) or (kind == "compute" and built <= capability):
            return True
    return not architectures


def _version(text: str) -> tuple[int, ...]:
    """Return the numbers of a dotted version; a text without numbers sorts first."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _probe_gpu(index: int) -> GPUFacts:
    import torch

    properties = torch.cuda.get_device_properties(index)
    launch_error = None
    try:
        ones = torch.ones(8, 8, device=f"cuda:{index}")
        if float((ones @ ones).sum()) != 512.0:
            launch_error = "a matrix product gave a wrong result"
    except RuntimeError as error:
        launch_error = str(error).splitlines()[0]
    return GPUFacts(
        index=index,
        name=properties.name,
        capability=(properties.major, properties.minor),
        memory_bytes=properties.total_memory,
        launch_error=launch_error,
    )


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver; loads nothing."""
    return _driver_version() is not None


def _driver_version() -> str | None:
    """Read the driver's version from the kernel module, else from nvidia-smi."""
    if _DRIVER_FILE.is_file():
        found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", _DRIVER_FILE.read_text())
        if found:
            return found[1]
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = result.stdout.split()
    return lines[0] if lines else None
