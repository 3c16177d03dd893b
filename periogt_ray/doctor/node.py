"""Checks of what goes wrong on clusters, as pure functions of what was found.

Nothing here looks at the machine; the facts come from :mod:`periogt_ray.doctor.probes` and
:mod:`periogt_ray.model.device`. Every check that does not pass says what to do.
"""

from collections.abc import Iterator
from pathlib import Path

from periogt_ray.doctor.probes import Directory, GPULibraries, RayFacts, Surroundings
from periogt_ray.doctor.report import Check, Status
from periogt_ray.model.device import MIN_CAPABILITY, DeviceFacts, GPUFacts, driver_problem, has_code_for
from periogt_ray.runtime.cpus import UsableCpus
from periogt_ray.runtime.network import is_loopback
from periogt_ray.runtime.ray_environment import LEAST_STORE_BYTES
from periogt_ray.runtime.temp_dir import MAX_ROOT_LENGTH
from periogt_ray.settings import Settings

__all__ = [
    "check_clock",
    "check_cpus",
    "check_directory",
    "check_gpu",
    "check_gpu_libraries",
    "check_memory",
    "check_place",
    "check_port",
    "check_ray",
    "check_shared_memory",
    "gpu_remedy",
]

_IMAGE_FILE_SYSTEMS = frozenset({"overlay", "squashfs", "fuse.squashfuse", "fuse.squashfuse_ll", "fuse.fuse-overlayfs"})
_SHARED_MEMORY_POINTS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_SPECIFIED_DRIVER = Settings.min_driver  # the setting's default, which a user may have lowered
_LEAST_FREE_BYTES = 1 << 30
_STORE_MIB = LEAST_STORE_BYTES >> 20
_CLOCK_TOLERANCE_S = 60.0
# Return codes of cuInit; see the CUDA driver API.
_CUDA_NO_DEVICE = 100
_CUDA_MISMATCHES = (803, 804)
_NVLIBLIST = (
    "Have the administrator add the driver's libraries (libcuda.so, libnvidia-ml.so, libnvidia-ptxjitcompiler.so, "
    "libnvidia-nvvm.so, libnvidia-gpucomp.so) to nvliblist.conf, or run with --nvccli where nvidia-container-cli is "
    "installed. Until then bind them yourself: --bind /usr/lib64:/host/lib64:ro and "
    "APPTAINERENV_LD_LIBRARY_PATH=/.singularity.d/libs:/host/lib64."
)


def check_place(place: Surroundings) -> Check:
    """Report where the program runs."""
    if place.job_id is not None:
        where = f"job {place.job_id} on {place.host}" + (f" of {place.cluster}" if place.cluster else "")
        where += f", {place.job_gpus} GPUs"
    else:
        where = f"{place.host}, " + ("not in a Slurm job" if place.has_slurm else "no Slurm")
    return Check("place", Status.PASS, f"{where}, {f'in {place.container}' if place.container else 'no container'}")


def gpu_remedy(place: Surroundings) -> str:
    """Return what to do where there is no GPU."""
    cpu = "Set PERIOGT_DEVICE=cpu if you want the CPU."
    if place.job_id is not None and place.job_gpus == 0:
        return f"The job has no GPU: submit it with --gres=gpu:1 or a type, such as --gres=gpu:h200:1. {cpu}"
    if place.job_id is None and place.has_slurm:
        return f"Login nodes have no GPU: run the check in a job, `sbatch slurm/doctor.sbatch`. {cpu}"
    return cpu


def check_gpu(gpu: GPUFacts, facts: DeviceFacts, min_driver: str) -> Check:
    """Return the verdict on one GPU: name, capability, memory, driver and torch's CUDA."""
    name = f"gpu {gpu.index}"
    capability = f"{gpu.capability[0]}.{gpu.capability[1]}"
    message = (
        f"{gpu.name}, compute capability {capability}, {gpu.memory_bytes / 2**30:.0f} GiB; driver "
        f"{facts.driver_version or 'unknown'}, torch for CUDA {facts.torch_cuda}"
    )
    if gpu.capability < MIN_CAPABILITY:
        floor = f"{MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]}"
        remedy = f"Request a GPU from {floor} on: V100, A100, H100, H200. Or set PERIOGT_DEVICE=cpu."
        return Check(name, Status.FAIL, f"{message}: not supported", remedy)
    if problem := driver_problem(facts, min_driver):
        return Check(name, Status.FAIL, f"{message}: driver too old", problem.message)
    if not has_code_for(gpu.capability, facts.architectures):
        return Check(
            name,
            Status.FAIL,
            f"{message}: this torch has code only for {', '.join(facts.architectures)}",
            "Install torch 2.6.0 for CUDA 12.6, which has code for V100 to H200: "
            "apptainer/build.sh and deploy/conda/install.sh install it by default.",
        )
    if gpu.launch_error:
        remedy = "Try another node; if it fails there too, install torch for CUDA 12.6."
        return Check(name, Status.FAIL, f"{message}: no kernel runs, {gpu.launch_error}", remedy)
    if problem := driver_problem(facts, _SPECIFIED_DRIVER):
        remedy = f"Do nothing if predictions are right; CUDA 12.6 requires {_SPECIFIED_DRIVER}. {problem.message}"
        return Check(name, Status.WARN, f"{message}: works, with an older driver than required", remedy)
    return Check(name, Status.PASS, f"{message}: compatible")


def check_gpu_libraries(place: Surroundings, facts: DeviceFacts, libraries: GPULibraries) -> Check | None:
    """Tell why torch sees no GPU where the node has one; None where there is nothing to tell.

    Tells apart a container that was started without --nv, one in which Apptainer brought too few of
    the driver's libraries (its list in version 1.2 is that of CUDA 11), and a job without a GPU.
    """
    if facts.is_available or facts.torch_cuda is None or not (facts.driver_version or libraries.devices):
        return None
    name = "gpu libraries"
    driver = f"the node has the NVIDIA driver {facts.driver_version or '(version unknown)'}"
    if libraries.init_code == _CUDA_NO_DEVICE:
        return Check(name, Status.WARN, f"{driver}, but this process sees no GPU", gpu_remedy(place))
    if libraries.load_error is not None and place.container and not libraries.bound:
        message = f"{driver}, but none of its libraries is in the container"
        return Check(name, Status.FAIL, message, "Start the container with --nv (scripts/doctor.sh does).")
    if libraries.load_error is not None:
        remedy = _NVLIBLIST if place.container else "Have the administrator repair the driver; try another node."
        return Check(name, Status.FAIL, f"{driver}, but libcuda.so.1 cannot be loaded: {libraries.load_error}", remedy)
    if libraries.init_code in _CUDA_MISMATCHES:
        remedy = "Remove other copies of libcuda.so.1 from LD_LIBRARY_PATH and --bind. " + (
            _NVLIBLIST if place.container else "Then have the administrator reload the driver."
        )
        message = f"{driver}, but libcuda.so.1 has another version (cuInit returned {libraries.init_code})"
        return Check(name, Status.FAIL, message, remedy)
    message = f"{driver}; cuInit returned {libraries.init_code}, and torch for CUDA {facts.torch_cuda} sees no GPU"
    return Check(name, Status.FAIL, message, _NVLIBLIST if place.container else "Install torch for CUDA 12.6.")


def check_directory(directory: Directory, place: Surroundings, *, is_kept: bool, is_written: bool) -> Check:
    """Check one directory.

    Parameters
    ----------
    directory : Directory
        What was found.
    place : Surroundings
        Where the program runs.
    is_kept : bool
        Whether what is in it has to stay, as artifacts do.
    is_written : bool
        Whether the program writes to it.
    """
    path, name = directory.path, directory.name
    shown = f"{path} ({directory.mount.kind}, {directory.free_bytes / 2**30:.0f} GiB free)"
    if place.container and _is_of_image(directory):
        message = f"{path}: no directory of the node is bound there; this directory is part of the container"
        remedy = f"Start the container with --bind {path}" + ("." if directory.exists else ", after you have made it.")
        # A directory that exists was asked for; a default one may never be used.
        return Check(name, Status.FAIL if directory.exists else Status.WARN, message, remedy)
    if is_written and not directory.is_writable:
        remedy = "Choose a directory that you can write to; in a container, bind it without :ro."
        return Check(name, Status.FAIL, f"{shown} cannot be written to", remedy)
    if is_kept and "scratch" in path.parts:
        remedy = "Keep artifacts in a project directory, such as /projects/<group>/periogt or /gpfs/.../proj-shared."
        return Check(name, Status.WARN, f"{shown} is on scratch storage, which clusters delete regularly", remedy)
    is_on_cluster = place.has_slurm or directory.mount.is_network
    if is_kept and is_on_cluster and place.home is not None and path.is_relative_to(place.home):
        remedy = "Move it to a project directory and set PERIOGT_BASE_DIR; setup needs 13 GB while it works."
        message = f"{shown} is in the home directory, whose quota is small (75 GB on Explorer, 50 GB on CADES)"
        return Check(name, Status.WARN, message, remedy)
    if is_written and directory.free_bytes < _LEAST_FREE_BYTES:
        return Check(name, Status.WARN, f"{shown}: nearly full", "Free some space, or choose another file system.")
    note = "" if directory.exists else "; does not exist yet"
    if "scratch" in path.parts:
        note += "; scratch storage is deleted regularly, so copy results to another place"
    return Check(name, Status.PASS, shown + note)


def check_memory(place: Surroundings, needed_bytes: int) -> Check | None:
    """Compare the memory of the job with what is needed; None outside of a job."""
    if place.memory_bytes is None:
        return None
    message = f"the job has {place.memory_bytes / 2**30:.1f} GiB; about {needed_bytes / 2**30:.1f} GiB are needed"
    if needed_bytes < place.memory_bytes:
        return Check("job memory", Status.PASS, message)
    return Check("job memory", Status.WARN, message, f"Submit with --mem={-(-needed_bytes // 2**30) + 2}G or more.")


def check_cpus(cpus: UsableCpus) -> Check:
    """Say how many CPUs the service and a batch take, and what gives this number."""
    if cpus.n == cpus.n_machine:
        return Check("cpus", Status.PASS, f"{cpus.n}, {cpus.bound}")
    return Check("cpus", Status.PASS, f"{cpus.n} of the machine's {cpus.n_machine}, by {cpus.bound}")


def check_shared_memory(free_bytes: int | None) -> Check | None:
    """Compare what is free in /dev/shm with the smallest object store of Ray; None where there is no /dev/shm."""
    if free_bytes is None:
        return None
    message = f"{free_bytes >> 20} MiB are free in /dev/shm; Ray's object store takes at least {_STORE_MIB} MiB"
    if free_bytes >= LEAST_STORE_BYTES:
        return Check("shared memory", Status.PASS, message)
    remedy = (
        "Give the container more (docker run --shm-size=1g; Apptainer uses that of the node), remove your files "
        "in /dev/shm, or ask the administrator for more. Until then Ray keeps its objects in /tmp, which is "
        "slower."
    )
    return Check("shared memory", Status.WARN, message, remedy)


def check_port(place: Surroundings, host: str, port: int) -> Check:
    """Say whether the service could listen."""
    if place.port_error is None:
        return Check("port", Status.PASS, f"{host}:{port} is free on {place.host}")
    return Check(
        "port",
        Status.WARN,
        f"{host}:{port} on {place.host}: {place.port_error}",
        "Set PERIOGT_PORT to a free port above 1023, and PERIOGT_HOST to an address of this node or 0.0.0.0; "
        "slurm/ray_serve.sbatch chooses a free port by itself.",
    )


def check_key(host: str, *, has_key: bool) -> Check:
    """Say who could use a service of this environment; without a key that is no fault on a machine of one's own."""
    if has_key:
        return Check("api key", Status.PASS, "PERIOGT_API_KEY is set: only requests with the key are answered")
    who = "every user of this machine" if is_loopback(host) else f"everybody who can reach {host}"
    message = (
        f"not set: a service at {host} answers {who}. On a node that you share: export "
        "PERIOGT_API_KEY=$(openssl rand -hex 24); slurm/ray_serve.sbatch makes a key by itself"
    )
    return Check("api key", Status.PASS, message)


def check_clock(place: Surroundings) -> Check:
    """Compare the clock with others that are known."""
    if place.is_clock_behind:
        remedy = "Ask the administrator to set the clock: certificates and Slurm's credentials fail with a wrong clock."
        message = "the clock is earlier than the installation date of this package"
        return Check("clock", Status.FAIL, message, remedy)
    offset = place.clock_offset_s
    if offset is not None and abs(offset) > _CLOCK_TOLERANCE_S:
        message = f"the clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the file server's"
        return Check("clock", Status.WARN, message, "Tell the administrator; Slurm refuses nodes that are 300 s off.")
    return Check("clock", Status.PASS, "agrees with the file system" if offset is not None else "not compared")


def check_ray(ray: RayFacts) -> Iterator[Check]:
    """Check Ray's address, token and directory."""
    token, mode = ray.token_file, ray.mode or "not set"
    if ray.mode == "token" and not ray.has_token_variable and (token is None or not token.exists):
        where = f"; RAY_AUTH_TOKEN_PATH names {token.path}, which does not exist" if token else ""
        remedy = "Set RAY_AUTH_TOKEN_PATH to the token that the cluster was started with, in a bound directory."
        yield Check("ray token", Status.FAIL, f"RAY_AUTH_MODE is token, but there is no token{where}", remedy)
    elif token is not None and token.exists and token.mode & 0o077:
        remedy = f"Run `chmod 600 {token.path}`, and make a new token: others may have read it."
        yield Check("ray token", Status.FAIL, f"{token.path} has mode {token.mode:04o}: others can read it", remedy)
    elif ray.has_token_variable:
        remedy = "Write it to a file of mode 0600 and set RAY_AUTH_TOKEN_PATH instead."
        yield Check("ray token", Status.WARN, "the token is in the environment, which every child inherits", remedy)
    elif ray.address is not None and ray.mode != "token":
        message = f"the Ray at {ray.address} is joined with RAY_AUTH_MODE {mode}: everyone who reaches it can run code"
        yield Check("ray token", Status.WARN, message, "Start it with RAY_AUTH_MODE=token, as slurm/ does.")
    else:
        own = "each run starts its own Ray, with its own token"
        yield Check("ray token", Status.PASS, own if ray.address is None else f"the Ray at {ray.address}, with a token")
    temp, remedy = ray.temp_dir, "Set RAY_TMPDIR to a short directory on this node's own disk, such as /tmp."
    if not temp.exists or not temp.is_writable:
        yield Check("ray temp dir", Status.WARN, f"{temp.path} does not exist or cannot be written to", remedy)
    elif len(str(temp.path)) > MAX_ROOT_LENGTH:
        long = f"{temp.path} is longer than {MAX_ROOT_LENGTH} characters, so Ray's socket paths would be too long"
        yield Check("ray temp dir", Status.WARN, f"{long}; /tmp is used instead", remedy)
    elif temp.mount.is_network:
        yield Check("ray temp dir", Status.WARN, f"{temp.path} is on {temp.mount.kind}; /tmp is used instead", remedy)
    else:
        yield Check("ray temp dir", Status.PASS, f"{temp.path} ({temp.mount.kind})")


def _is_of_image(directory: Directory) -> bool:
    """Whether a directory of a container is the image's, and not one that was bound.

    Where the image has no such place, Apptainer covers the nearest one it has with a tmpfs.
    """
    mount = directory.mount
    if mount.kind in _IMAGE_FILE_SYSTEMS or mount.point == Path("/"):
        return True
    return mount.kind == "tmpfs" and mount.point not in _SHARED_MEMORY_POINTS
