"""A Ray of our own on this node, or a connection to one that runs already.

Our own Ray has a short node-local directory, a token that only its owner can read, and stated
resources. At its end the processes that it started are ended: ``ray stop`` would end every Ray of the
user on the node.
"""

import importlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from periogt_ray.errors import InternalError, SettingsError
from periogt_ray.runtime.cpus import usable_cpus
from periogt_ray.runtime.network import can_connect
from periogt_ray.runtime.processes import descendants_of, still_alive
from periogt_ray.runtime.ray_environment import (
    LEAST_STORE_BYTES,
    environment_to_connect,
    environment_to_start,
    object_store_size,
    write_token,
)
from periogt_ray.runtime.signals import in_main_thread, signals_handled, signals_held
from periogt_ray.runtime.temp_dir import private_dir, sessions_dir

__all__ = ["LocalRay", "local_ray", "reach_nodes_directly"]

logger = logging.getLogger(__name__)

_EXIT_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 10.0
_CORE_LEVEL = "RAY_BACKEND_LOG_LEVEL"  # a process of Ray reads it when its core starts


@dataclass(frozen=True)
class LocalRay:
    """A Ray that this process is connected to.

    Attributes
    ----------
    address : str
        Of its control service, ``host:port``; for RAY_ADDRESS of further drivers.
    is_own : bool
        Whether it was started here and ends with the context.
    temp_dir : pathlib.Path or None
        Its sessions and logs, if it is our own.
    environment : Mapping
        What further drivers and ``ray`` commands need in their environment to be let in.
    """

    address: str
    is_own: bool
    temp_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def local_ray(
    *,
    address: str | None = None,
    n_cpus: int | None = None,
    n_gpus: int | None = None,
    object_store_bytes: int | None = None,
    include_dashboard: bool = False,
    log_to_driver: bool = False,
) -> Iterator[LocalRay]:
    """Connect to the Ray at an address, or start one that ends with the context.

    While the context lasts the variables of :attr:`LocalRay.environment` are set in this process,
    so that what it starts inherits them. A termination signal unwinds the context, unless the
    caller has a handler of its own; signals that come while Ray is being ended wait for that.

    Parameters
    ----------
    address : str, optional
        Of a running Ray, as in RAY_ADDRESS. The resources below are then what that Ray has.
    n_cpus, n_gpus : int, optional
        Resources of our own Ray. None: the CPUs that this process may use
        (:func:`~periogt_ray.runtime.cpus.usable_cpus`); the GPUs it can see.
    object_store_bytes : int, optional
        Size of the shared-memory store; None: a tenth of the free memory, from 256 MiB to 4 GiB.
    include_dashboard : bool
        Whether the dashboard (and with it ``ray job submit``) runs; it listens on 127.0.0.1.
    log_to_driver : bool
        Whether what workers print appears on standard error.

    Raises
    ------
    SettingsError
        If nothing answers at the address or refuses the token, or no directory is short enough.
    InternalError
        If our own Ray does not start.
    """
    common = {"log_to_driver": log_to_driver, "logging_level": logging.WARNING}
    termination = _Termination()
    if address is not None:
        changes = environment_to_connect(os.environ, default_token=Path.home() / ".ray" / "auth_token")
        with termination.handled(), _environment(changes) as environment:
            try:
                yield _connect(address, environment, termination, common)
            finally:
                _disconnect()
        return
    with (
        termination.handled(),
        private_dir(os.environ) as temp_dir,
        _environment(_started_environment(temp_dir)) as environment,
        _ending_processes(temp_dir),
    ):
        yield _start(
            environment,
            temp_dir,
            termination,
            num_cpus=n_cpus if n_cpus is not None else _own_cpus(),
            num_gpus=n_gpus,
            object_store_memory=object_store_bytes or _default_object_store_bytes(),
            include_dashboard=include_dashboard,
            **common,
        )


def reach_nodes_directly() -> None:
    """Let gRPC of this process pass by a proxy that the environment names, as Ray's core does.

    With ``http_proxy`` set, as on many clusters, calls between Serve's processes would go there and fail. A caller does
    not notice: Serve tries again without end.
    """
    os.environ["grpc_proxy"] = ""  # noqa: SIM112 - gRPC looks at it, so spelt, before http_proxy; empty is none


def _start(environment: Mapping[str, str], temp_dir: Path, termination: "_Termination", **options: Any) -> LocalRay:
    import ray

    _forget_token()
    began_s = time.monotonic()
    try:
        with termination.deferred(), _quiet_core():
            # "local": a bare init() would join whatever Ray the node's files speak of.
            ray.init(address="local", _temp_dir=str(sessions_dir(temp_dir)), configure_logging=True, **options)
    except Exception as error:  # Ray raises a bare Exception where its own time is over
        raise InternalError(
            f"Ray did not start within {time.monotonic() - began_s:.0f} s: {_reason(error)} The most likely reason is "
            f"that this node is overloaded or full. Look at its load (`uptime`), memory (`free -h`), the free space of "
            f"{temp_dir.parent} and /dev/shm (`df -h`), `ulimit -n` and `ulimit -u`; then run it again."
        ) from error
    return LocalRay(ray.get_runtime_context().gcs_address, is_own=True, temp_dir=temp_dir, environment=environment)


def _connect(
    address: str, environment: Mapping[str, str], termination: "_Termination", common: Mapping[str, Any]
) -> LocalRay:
    import ray

    _forget_token()
    try:
        _check_reachable(address)
        with termination.deferred(), _quiet_core():
            ray.init(address=address, **common)
    except (OSError, RuntimeError, ValueError) as error:
        mode = environment.get("RAY_AUTH_MODE", "not set")
        raise SettingsError(
            f"No connection to the Ray at {address!r} (RAY_AUTH_MODE is {mode}): {_reason(error)} Check that it "
            "runs there, and that RAY_AUTH_TOKEN_PATH names the token it was started with."
        ) from error
    return LocalRay(ray.get_runtime_context().gcs_address, is_own=False, environment=environment)


def _reason(error: Exception) -> str:
    """Return the first line of an error as a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ") + "."


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens; Ray itself would try for many minutes and ignore signals."""
    host, _, port = address.rpartition(":")
    is_host_and_port = port.isdecimal() and "/" not in host
    if is_host_and_port and not can_connect(host.strip("[]"), int(port), _CONNECT_TIMEOUT_S):
        raise ConnectionError(f"nothing accepts a connection there within {_CONNECT_TIMEOUT_S:g} s")


def _started_environment(temp_dir: Path) -> dict[str, str | None]:
    token = temp_dir / "token"
    write_token(token)
    return environment_to_start(token)


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Let the core of this process write to standard error only what ends it; a level that the user chose stays.

    The core calls it an error that Ray Data hands references to actors that may be restarted, which is how every
    pool of actors works, and complains while Ray ends. What fails for real reaches a driver as an exception. Ray's
    other processes have started before and keep their level, and their logs.
    """
    import ray._private.worker

    worker: Any = ray._private.worker
    connect = worker.connect

    def connected(*args: Any, **options: Any) -> None:
        _set_environment({_CORE_LEVEL: "fatal"})
        try:
            with _without_lines(f"Set ray log level from environment variable {_CORE_LEVEL}"):
                connect(*args, **options)
        finally:
            _set_environment({_CORE_LEVEL: None})

    if not os.environ.get(_CORE_LEVEL) and shutil.which("grep") is not None:
        worker.connect = connected
    try:
        yield
    finally:
        worker.connect = connect


@contextmanager
def _without_lines(text: str) -> Iterator[None]:
    """Keep lines with a text off standard error, also those that C++ writes; the core says that it has its level.

    A program of its own looks at them, so that what the core writes as it aborts this process is not lost.
    """
    stderr = os.dup(2)
    command = ["grep", "--line-buffered", "--invert-match", "--fixed-strings", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, start_new_session=True) as kept:
        assert kept.stdin is not None
        os.dup2(kept.stdin.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _forget_token() -> None:
    """Make Ray read mode and token again; it keeps those of an earlier cluster in this process."""
    core: Any = importlib.import_module("ray._raylet")  # as Ray's own commands do; it has no stubs
    core.Config.initialize("")
    core.AuthenticationTokenLoader.instance().reset_cache()


def _disconnect() -> None:
    ray = sys.modules.get("ray")
    if ray is not None:
        with signals_held():
            ray.shutdown()
            _reinstall_handler()


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[dict[str, str]]:
    """Set and remove variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield {name: value for name, value in changes.items() if value is not None}
    finally:
        _set_environment(before)
        # Threads of Ray that still end would look for the token, and abort the process without it.
        if "ray._raylet" in sys.modules:
            _forget_token()


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _ending_processes(temp_dir: Path) -> Iterator[None]:
    """End Ray at exit, and kill processes that did not end by themselves."""
    try:
        yield
    finally:
        with signals_held():
            started = descendants_of(os.getpid(), marked=str(temp_dir))
            _disconnect()
            deadline = time.monotonic() + _EXIT_TIMEOUT_S
            while (alive := still_alive(started)) and time.monotonic() < deadline:
                time.sleep(0.05)
            for pid in alive:
                logger.warning("ending process %d of Ray, which has not ended by itself", pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class _Termination:
    """Lets SIGTERM raise SystemExit where it would end the process without cleaning up.

    Not while Ray starts: an exception out of a signal handler may be raised, and lost, anywhere.
    """

    def __init__(self) -> None:
        self._is_deferred = False
        self._noted: int | None = None

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signal, if nothing else does."""
        is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with signals_handled(self._note, (signal.SIGTERM,) if is_free else ()):
            yield

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold back signals until the block has ended, and keep Ray from handling them."""
        import ray._private.utils

        # ray.init replaces the handler by one that raises SystemExit.
        utils: Any = ray._private.utils
        replaced, utils.set_sigterm_handler = utils.set_sigterm_handler, _leave_handler
        self._is_deferred = True
        try:
            yield
        finally:
            utils.set_sigterm_handler = replaced
            _reinstall_handler()
            self._is_deferred = False
        if self._noted is not None:
            raise SystemExit(128 + self._noted)

    def _note(self, received: signal.Signals) -> None:
        if not self._is_deferred:
            raise SystemExit(128 + received)
        self._noted = received


def _reinstall_handler() -> None:
    """Put Python's handler back: Ray's core puts one below it that aborts, and at the end the system's default."""
    handler = signal.getsignal(signal.SIGTERM)
    if in_main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _leave_handler(_handler: object) -> None:
    """Stand in for the function by which Ray replaces the handler."""


def _own_cpus() -> int:
    """Return the CPUs for a Ray of our own, and say why there are fewer than the machine has."""
    cpus = usable_cpus(os.environ)
    if cpus.n < cpus.n_machine:
        logger.info("Ray takes %d of %d CPUs (%s).", cpus.n, cpus.n_machine, cpus.bound)
    return cpus.n


def _default_object_store_bytes() -> int:
    """Return the store's size from the memory that is free now; other programs share this machine."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else available
    return object_store_size(available, shared_memory_bytes=shared, least_bytes=LEAST_STORE_BYTES)
