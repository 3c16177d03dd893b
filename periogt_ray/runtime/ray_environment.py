"""The environment variables that Ray gets, with the reasons, and the size of its object store.

Ray's processes inherit the environment of what starts them. A value of None removes a variable.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from periogt_ray.runtime.files import PRIVATE_MODE, write_bytes_atomically

__all__ = [
    "LEAST_STORE_BYTES",
    "LOG_ENVIRONMENT",
    "environment_of_cluster",
    "environment_to_connect",
    "environment_to_start",
    "object_store_size",
    "write_token",
]

_MIB = 1 << 20
_MOST_STORE_BYTES = 4096 * _MIB
LEAST_STORE_BYTES = 256 * _MIB  # of a Ray of our own on this machine
_TOKEN_BYTES = 32

_COMMON: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Actors without a GPU keep seeing what Slurm gave the job; says so, and silences a warning.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The cores are there for this work: by default workers give way to everything else (niceness 15).
    "RAY_worker_niceness": "0",
}
_OF_DRIVER: Mapping[str, str] = {
    **_COMMON,
    # A call after the end is an error; by default it would start another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
_OF_CLUSTER: Mapping[str, str] = {
    **_COMMON,
    # Workers beyond the number of CPUs, as beside a service, would be ended after every task (1 s), and a new one
    # takes longer to start than a part of a batch.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    # It would kill workers because of what other users' jobs take; Slurm guards the job's memory.
    "RAY_memory_monitor_refresh_ms": "0",
    # The token does not guard figures, and they are served on every address of the node.
    "RAY_enable_metrics_collection": "0",
    "DASHBOARD_METRIC_PORT": "-1",  # has no switch; a port that cannot be is not served
    # Logs are files.
    "NO_COLOR": "1",
    "TERM": "dumb",
}
# Every line of the access log reaches the terminal, and without colours: it comes from a replica through Ray.
LOG_ENVIRONMENT: Mapping[str, str] = {"RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}


def write_token(path: Path) -> None:
    """Write a new token, which every process of a Ray shows to the others; only this user can read it."""
    write_bytes_atomically(path, secrets.token_hex(_TOKEN_BYTES).encode(), mode=PRIVATE_MODE)


def environment_to_start(token_file: Path) -> dict[str, str | None]:
    """Return the variables that change for a Ray of our own on this machine.

    Parameters
    ----------
    token_file : pathlib.Path
        See :func:`write_token`.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_AUTH_TOKEN": None,  # would take precedence over the file
        "RAY_ADDRESS": None,
        **_OF_DRIVER,
    }


def environment_to_connect(env: Mapping[str, str], *, default_token: Path) -> dict[str, str | None]:
    """Return the variables that change for a connection to a Ray that runs.

    With an address Ray never turns authentication on by itself, whatever tokens there are.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    default_token : pathlib.Path
        Where Ray looks for a token that no variable names.
    """
    mode = env.get("RAY_AUTH_MODE")
    if mode is None and ({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(env) or default_token.is_file()):
        mode = "token"
    return {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN_PATH": env.get("RAY_AUTH_TOKEN_PATH"), **_OF_DRIVER}


def environment_of_cluster(env: Mapping[str, str], *, token_file: Path, scratch_dir: Path) -> dict[str, str]:
    """Return the whole environment of every process of a Ray over several nodes, and of what connects to it.

    Parameters
    ----------
    env : Mapping
        Of this process.
    token_file : pathlib.Path
        See :func:`write_token`.
    scratch_dir : pathlib.Path
        On this node, for temporary files; it goes with the cluster.
    """
    dropped = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_TMPDIR")  # of another Ray; a token there would go first
    return {
        **{name: value for name, value in env.items() if name not in dropped},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        **_OF_CLUSTER,
        "TMPDIR": str(scratch_dir),
    }


def object_store_size(memory_bytes: int, *, shared_memory_bytes: int, least_bytes: int) -> int:
    """Return the size of the object store: a tenth of the memory, at most half of /dev/shm and 4 GiB.

    Parameters
    ----------
    memory_bytes : int
        That Ray may use.
    shared_memory_bytes : int
        Free in /dev/shm, where the store is.
    least_bytes : int
        Never less; Ray refuses less than 75 MiB.
    """
    return max(least_bytes, min(_MOST_STORE_BYTES, memory_bytes // 10, shared_memory_bytes // 2))
