"""Settings from ``PERIOGT_*`` environment variables; no other module reads the environment."""

import difflib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from periogt_ray.errors import SettingsError

__all__ = [
    "BATCH_ON_CPU",
    "BATCH_ON_GPU",
    "EMBEDDED_DIR",
    "EXAMPLES",
    "PORTS",
    "RENAMED",
    "VARIABLES",
    "ServiceSettings",
    "Settings",
    "check_mirror",
    "older_variables",
    "under_new_names",
    "unknown_variables",
]

logger = logging.getLogger(__name__)

EMBEDDED_DIR = Path(__file__).parent / "embedded"
EXAMPLES = Path(__file__).parent / "examples" / "polymers.csv"

PORTS = 1, 65535  # at which a service may listen
# Requests in a pass. On a GPU most of a small one is the start of its kernels, and 64 have 1.2 times those of 16.
BATCH_ON_CPU, BATCH_ON_GPU = 16, 64

# Every variable that the package or its scripts know, with what it means.
VARIABLES: Mapping[str, str] = {
    "PERIOGT_BASE_DIR": "root of everything below (default: ~/periogt)",
    "PERIOGT_CHECKPOINT_DIR": "artifacts (default: BASE_DIR/checkpoints if it has any, else the embedded model)",
    "PERIOGT_MODELS": "your finetuned properties (default: BASE_DIR/models)",
    "PERIOGT_RESULTS_DIR": "outputs (default: BASE_DIR/results)",
    "PERIOGT_DEVICE": "cpu or cuda (default: detect)",
    "PERIOGT_HOST": "address that HTTP is bound to (default: 0.0.0.0)",
    "PERIOGT_PORT": "port that HTTP is bound to (default: 8000)",
    "PERIOGT_API_KEY": "when set, every request needs it as X-Api-Key",
    "PERIOGT_MAX_BATCH": "most requests that share a forward pass (default: 64 on a GPU, else 16)",
    "PERIOGT_BATCH_WAIT_MS": "how long to wait for more requests beside a forward pass, in ms (default: 2)",
    "PERIOGT_MAX_QUEUE": "most polymers that are computed or wait; more are refused as overloaded (default: 256)",
    "PERIOGT_TIMEOUT_S": "deadline of a request, seconds (default: 120)",
    "PERIOGT_PREDICTORS": "number of predictors (default: as many as the GPUs hold; else one for two cores, at most 8)",
    "PERIOGT_GPU_SHARE": "part of a GPU that a predictor takes (default: 0.51)",
    "PERIOGT_FEATURIZERS": "number of featurizers (default: one for each core)",
    "PERIOGT_CACHE_MB": "memory for features of polymers already seen (default: 256)",
    "PERIOGT_FEATURE_STORE": "private directory that keeps features for later runs",
    "PERIOGT_FEATURE_STORE_GB": "its maximum size in GB; the least recently used features are evicted (default: 10)",
    "PERIOGT_MAX_BODY_KB": "largest request body (default: 2048)",
    "PERIOGT_DESCRIPTORS": "descriptor engine, native or mordred (default: native)",
    "PERIOGT_MIN_DRIVER": "oldest NVIDIA driver that is accepted (default: 560.28)",
    "PERIOGT_PRECISION": "arithmetic on a GPU: exact, float32 or tf32 (default: exact)",
    "PERIOGT_WEIGHTS_GB": "memory for finetuned weights; the least recently used are evicted (default: 8)",
    "PERIOGT_MIRROR": "address that replaces the hosts of published files",
    "PERIOGT_LOGIN": "login node that the tunnel goes through (default: the host that submitted the job)",
    "PERIOGT_CONTAINER": "image that the Slurm scripts run",
    "PERIOGT_BIND": "further directories that the container sees, separated by colons",
    "PERIOGT_RUNTIME": "apptainer or venv, how the Slurm scripts run (default: apptainer)",
    "PERIOGT_SITE_ENV": "file with a cluster's values for the Slurm scripts (default: slurm/site.env, if it exists)",
    "PERIOGT_VENV": "environment of the Slurm scripts with PERIOGT_RUNTIME=venv (default: the active one or .venv)",
}
# Old names and the new ones. Old names work until the next minor release.
RENAMED: Mapping[str, str] = {
    "PERIOGT_REPLICAS": "PERIOGT_PREDICTORS",
    "PERIOGT_CACHE_DIR": "PERIOGT_FEATURE_STORE",
    "PERIOGT_CACHE_DIR_GB": "PERIOGT_FEATURE_STORE_GB",
}
# Variables of an older layout, which took its code from other directories.
_OLDER_LAYOUT = ("PERIOGT_RUNTIME_PACKAGE_DIR", "PERIOGT_SRC_DIR")
_DRAIN_S = 60.0

_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True)
class ServiceSettings:
    """What bounds the HTTP service.

    Attributes
    ----------
    max_batch : int or None
        Most requests that share a forward pass; None is 64 on a GPU and 16 without.
    batch_wait_s : float
        How long to wait for more requests before a forward pass, seconds.
    max_queue : int
        Most polymers in work or waiting, of all requests together.
    timeout_s : float
        Deadline of a request, after which its work is dropped.
    n_predictors : int or None
        Number of predictors, the maximum where they are scaled; None is as many as the GPUs hold, without
        GPUs one for every two cores and at most eight.
    gpu_share : float
        Part of a GPU that a predictor takes; by default a little more than half, so that one is
        on each GPU and leaves room for a batch.
    n_featurizers : int or None
        Number of featurizers, the maximum where they are scaled; None is one a core.
    cache_bytes : int
        Memory for features.
    max_body_bytes : int
        Largest request body.
    """

    max_batch: int | None = None
    batch_wait_s: float = 0.002
    max_queue: int = 256
    timeout_s: float = 120.0
    n_predictors: int | None = None
    gpu_share: float = 0.51
    n_featurizers: int | None = None
    cache_bytes: int = 256 << 20
    max_body_bytes: int = 2048 << 10

    @property
    def calls_per_pass(self) -> int:
        """``max_batch``, as resolved for the predictors' device; without it, for a CPU."""
        return self.max_batch or BATCH_ON_CPU

    @property
    def drain_s(self) -> float:
        """How long open requests are waited for when what answers them is to end, seconds."""
        return min(_DRAIN_S, self.timeout_s)

    @classmethod
    def from_given(cls, given: Mapping[str, str]) -> "ServiceSettings":
        """Resolve the settings of the service from variables that are set.

        Raises
        ------
        SettingsError
            If a value is not a number within its bounds.
        """
        # A queue takes at least one full /v1/predict/batch request.
        return cls(
            max_batch=(
                _whole(given, "PERIOGT_MAX_BATCH", BATCH_ON_CPU, (1, 1024)) if "PERIOGT_MAX_BATCH" in given else None
            ),
            batch_wait_s=_number(given, "PERIOGT_BATCH_WAIT_MS", cls.batch_wait_s * 1000, (0, 10_000)) / 1000,
            max_queue=_whole(given, "PERIOGT_MAX_QUEUE", cls.max_queue, (100, 100_000)),
            timeout_s=_number(given, "PERIOGT_TIMEOUT_S", cls.timeout_s, (0.1, 86_400)),
            n_predictors=_whole(given, "PERIOGT_PREDICTORS", 0, (0, 1024)) or None,
            gpu_share=_number(given, "PERIOGT_GPU_SHARE", cls.gpu_share, (0.01, 1)),
            n_featurizers=_whole(given, "PERIOGT_FEATURIZERS", 0, (0, 4096)) or None,
            cache_bytes=int(_number(given, "PERIOGT_CACHE_MB", cls.cache_bytes >> 20, (0, 1 << 20)) * (1 << 20)),
            max_body_bytes=int(
                _number(given, "PERIOGT_MAX_BODY_KB", cls.max_body_bytes >> 10, (1, 1 << 20)) * (1 << 10)
            ),
        )


@dataclass(frozen=True)
class Settings:
    """Resolved settings; built once, passed as an argument.

    Attributes
    ----------
    base_dir, checkpoint_dir, results_dir : pathlib.Path
        Absolute. ``checkpoint_dir`` exists; ``results_dir`` is made when something is written.
    device : str or None
        ``cpu``, ``cuda``, or None to detect.
    host : str
        Address that HTTP is bound to.
    port : int
        Port that HTTP is bound to.
    api_key : str or None
        Never shown or logged.
    descriptor_engine : str
        ``native`` or ``mordred``.
    min_driver : str
        Oldest NVIDIA driver that is accepted.
    precision : str
        Arithmetic of linear layers on a GPU: ``exact``, ``float32`` or ``tf32``.
    weights_bytes : int
        Memory for finetuned weights, bytes.
    mirror : str or None
        Address that replaces the hosts of published files.
    feature_store : pathlib.Path or None
        Directory that keeps features for later runs; nobody else can write to it.
    feature_store_bytes : int
        Its maximum size, bytes.
    models_dir : pathlib.Path or None
        The user's finetuned properties; need not exist. None: there are none.
    service : ServiceSettings
        What bounds the HTTP service.
    """

    base_dir: Path
    checkpoint_dir: Path
    results_dir: Path
    device: Literal["cpu", "cuda"] | None = None
    host: str = "0.0.0.0"
    port: int = 8000
    api_key: str | None = None
    descriptor_engine: Literal["native", "mordred"] = "native"
    min_driver: str = "560.28"  # NVIDIA's release notes for CUDA 12.6
    precision: Literal["exact", "float32", "tf32"] = "exact"
    weights_bytes: int = 8 << 30
    mirror: str | None = None
    feature_store: Path | None = None
    feature_store_bytes: int = 10 << 30
    models_dir: Path | None = None
    service: ServiceSettings = ServiceSettings()

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, makes_checkpoints: bool = False) -> "Settings":
        """Resolve the settings.

        Parameters
        ----------
        env : Mapping
            Usually ``os.environ``. An empty value counts as unset; old names count as the new ones.
        makes_checkpoints : bool
            For ``setup``: the artifact directory need not exist, and is never the embedded model's.

        Raises
        ------
        SettingsError
            If a directory that is set does not exist, others can write to PERIOGT_FEATURE_STORE, or a value is not
            one of those accepted.
        """
        given = {name: value for name, value in under_new_names(env).items() if name in VARIABLES and value}
        base_dir = _directory(given, "PERIOGT_BASE_DIR", must_exist=not makes_checkpoints)
        if base_dir is None:
            base_dir = _home(env) / "periogt"
        checkpoint_dir = _directory(given, "PERIOGT_CHECKPOINT_DIR", must_exist=not makes_checkpoints)
        if checkpoint_dir is None:
            checkpoint_dir = base_dir / "checkpoints"
            if not makes_checkpoints and not _holds_artifacts(checkpoint_dir):
                checkpoint_dir = EMBEDDED_DIR
        return cls(
            base_dir=base_dir,
            checkpoint_dir=checkpoint_dir,
            results_dir=_directory(given, "PERIOGT_RESULTS_DIR", must_exist=True) or base_dir / "results",
            models_dir=_directory(given, "PERIOGT_MODELS", must_exist=False) or base_dir / "models",
            device=_choice(given, "PERIOGT_DEVICE", ("cpu", "cuda")),
            host=given.get("PERIOGT_HOST", cls.host),
            port=_port(given, cls.port),
            api_key=_key(given),
            descriptor_engine=_choice(given, "PERIOGT_DESCRIPTORS", ("native", "mordred")) or cls.descriptor_engine,
            min_driver=_version(given, "PERIOGT_MIN_DRIVER", cls.min_driver),
            precision=_choice(given, "PERIOGT_PRECISION", ("exact", "float32", "tf32")) or cls.precision,
            weights_bytes=int(_number(given, "PERIOGT_WEIGHTS_GB", cls.weights_bytes >> 30, (0, 4096)) * (1 << 30)),
            mirror=check_mirror(given.get("PERIOGT_MIRROR")),
            feature_store=_private(_directory(given, "PERIOGT_FEATURE_STORE", must_exist=True)),
            feature_store_bytes=int(
                _number(given, "PERIOGT_FEATURE_STORE_GB", cls.feature_store_bytes >> 30, (0, 1 << 20)) * (1 << 30)
            ),
            service=ServiceSettings.from_given(given),
        )

    @classmethod
    def of_process(cls, *, checkpoint_dir: str | Path | None = None, device: str | None = None) -> "Settings":
        """Read the settings of this process's environment; what is given wins over its variable.

        Raises
        ------
        SettingsError
            As :meth:`from_env`.
        """
        given = {"PERIOGT_CHECKPOINT_DIR": checkpoint_dir, "PERIOGT_DEVICE": device}
        return cls.from_env({**os.environ, **{name: str(value) for name, value in given.items() if value is not None}})

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded model is used."""
        return self.checkpoint_dir == EMBEDDED_DIR

    def __repr__(self) -> str:
        shown = (f"{field.name}={self._shown(field.name)}" for field in fields(self))
        return f"Settings({', '.join(shown)})"

    def log(self) -> None:
        """Log paths, device and what differs from its default in one line, everything at DEBUG; the key is masked."""
        logger.info("Settings: %s", ", ".join(self._notable()))
        logger.debug("%r", self)
        if self.is_embedded:
            logger.info(
                "No published checkpoints found at %s: the embedded compact model answers, not the published weights "
                "(`periogt setup` fetches those).",
                self.base_dir / "checkpoints",
            )

    def _notable(self) -> Iterator[str]:
        for field in fields(self):
            default = self.base_dir / "models" if field.name == "models_dir" else field.default
            is_notable = field.name == "device" or getattr(self, field.name) != default
            if is_notable and field.name != "service":
                yield f"{field.name}={self._shown(field.name)}"
        for field in fields(self.service):
            if getattr(self.service, field.name) != field.default:
                yield f"{field.name}={getattr(self.service, field.name)}"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name == "api_key" and value is not None:
            return "***"
        if name == "device" and value is None:
            return "to be detected"
        return "not set" if value is None else str(value)


def under_new_names(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment, old names replaced by the new ones; if both are set, the new one wins."""
    found = {name: value for name, value in env.items() if name not in RENAMED}
    for old, new in RENAMED.items():
        if env.get(old) and not env.get(new):
            found[new] = env[old]
    return found


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """Return a warning for every ``PERIOGT_*`` variable that nothing reads, and for every old name."""
    warnings = []
    for name in sorted(env):
        if not name.startswith("PERIOGT_") or name in VARIABLES or name in _OLDER_LAYOUT:
            continue
        if name in RENAMED:
            new = RENAMED[name]
            is_read = bool(env[name]) and not env.get(new)
            effect = "still works until the next minor release" if is_read else "is not used"
            warnings.append(f"{name} {effect}; its new name is {new}.")
            continue
        nearest = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.0)[0]
        warnings.append(f"{name} is set, but there is no such variable; did you mean {nearest}?")
    return warnings


def older_variables(env: Mapping[str, str]) -> str | None:
    """Return a note on variables that an older layout needed and nothing reads now; None if none is set."""
    names = [name for name in _OLDER_LAYOUT if name in env]
    if not names:
        return None
    return f"{' and '.join(names)}: set, but not needed; the package contains all of its code."


def _home(env: Mapping[str, str]) -> Path:
    """Return the user's home; without one, as in some containers, a path that does not exist."""
    try:
        return Path(env.get("HOME") or Path.home()).absolute()
    except RuntimeError:  # neither HOME nor an entry in the system's list of users
        return Path("/nonexistent")


def _holds_artifacts(directory: Path) -> bool:
    """Whether artifacts were placed there, complete or not; an empty directory holds none."""
    return directory.is_dir() and any(
        (directory / name).exists() for name in ("index.json", "pretrained_ckpt", "finetuned_ckpt", "label_stats.json")
    )


def _directory(given: Mapping[str, str], name: str, *, must_exist: bool) -> Path | None:
    if name not in given:
        return None
    try:
        path = Path(given[name]).expanduser().absolute()
    except RuntimeError as error:  # ~user of a user who does not exist
        raise SettingsError(f"{name} is set to {given[name]!r}: {error} Give an absolute path.") from error
    if must_exist and not path.is_dir():
        found = "it is a file" if path.exists() else "it does not exist"
        raise SettingsError(
            f"{name} is set to {given[name]!r}, looked for at {path}: {found}. "
            "Create the directory, correct the variable or unset it; inside a container, check --bind."
        )
    return path


def _private(directory: Path | None) -> Path | None:
    """Refuse a directory of features that others can write to: with it they could change predictions."""
    if directory is None:
        return None
    status = directory.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise SettingsError(
            f"PERIOGT_FEATURE_STORE is {directory}. Others can write to it (owner {status.st_uid}, mode "
            f"{status.st_mode & 0o7777:o}) and so change predictions. Give a directory of your own: mkdir -m 700 DIR."
        )
    return directory


def _choice(given: Mapping[str, str], name: str, choices: tuple[_Choice, ...]) -> _Choice | None:
    value = given.get(name)
    if value is None:
        return None
    for choice in choices:
        if value.lower() == choice:
            return choice
    raise SettingsError(f"{name} is {value!r}; expected {' or '.join(choices)}.")


def check_mirror(address: str | None) -> str | None:
    """Return a mirror's address if it can be used.

    Raises
    ------
    SettingsError
        If it is not an http or https address, or carries a password, which would show in logs.
    """
    if not address:
        return None
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_usable = None, False
    if parts is not None and "@" in parts.netloc:
        raise SettingsError("PERIOGT_MIRROR contains a user name or a password; put them into ~/.netrc instead.")
    if not is_usable:
        raise SettingsError(f"PERIOGT_MIRROR is {address!r}; expected an address such as https://host/path.")
    return address


def _port(given: Mapping[str, str], default: int) -> int:
    value = given.get("PERIOGT_PORT", str(default))
    if not re.fullmatch(r"[0-9]{1,5}", value) or not PORTS[0] <= int(value) <= PORTS[1]:
        raise SettingsError(f"PERIOGT_PORT is {value!r}; expected a number from {PORTS[0]} to {PORTS[1]}.")
    return int(value)


def _key(given: Mapping[str, str]) -> str | None:
    """Return the key; refuse a key that no client could send in a header."""
    value = given.get("PERIOGT_API_KEY")
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise SettingsError(
            "PERIOGT_API_KEY contains a blank, a line end or a character beyond ASCII, which a header cannot carry; "
            "expected only visible ASCII characters, for example from: openssl rand -hex 24"
        )
    return value


def _version(given: Mapping[str, str], name: str, default: str) -> str:
    value = given.get(name, default)
    if not re.fullmatch(r"\d+(\.\d+)*", value):
        raise SettingsError(f"{name} is {value!r}; expected a version such as {default}.")
    return value


def _number(given: Mapping[str, str], name: str, default: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name} is {given[name]!r}; expected a number from {low} to {high}.")
    return value


def _whole(given: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]) -> int:
    value = _number(given, name, default, bounds)
    if value != int(value):
        raise SettingsError(f"{name} is {given[name]!r}; expected a whole number from {bounds[0]} to {bounds[1]}.")
    return int(value)
