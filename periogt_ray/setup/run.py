"""``periogt setup``: turn a directory into a complete artifact directory.

Setup is a list of steps over one state object. Every step looks at what is there and does what is
missing, so a run that was killed at any moment is finished by the next one, and a run on a finished
directory changes nothing. The ready marker is written last, when everything that predictions need
has been loaded or identified.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.manifest import is_ready
from periogt_ray.artifacts.verification import location_warnings, permission_warnings
from periogt_ray.errors import SettingsError
from periogt_ray.runtime.files import make_directory
from periogt_ray.setup.activate_step import activate, deactivate
from periogt_ray.setup.convert_step import convert
from periogt_ray.setup.fetch_step import fetch
from periogt_ray.setup.lock import hold_lock
from periogt_ray.setup.state import SetupOptions, SetupState
from periogt_ray.setup.verify_step import verify

__all__ = ["SetupReport", "run_setup"]

logger = logging.getLogger("periogt_ray.setup")

_STEPS = (deactivate, fetch, convert, verify, activate)


@dataclass(frozen=True)
class SetupReport:
    """What a directory holds after setup.

    Attributes
    ----------
    directory : pathlib.Path
        The artifact directory.
    is_changed : bool
        False if there was nothing to do.
    supported : tuple of str
        Property ids that are served.
    unsupported : dict
        Id -> reason for the others.
    warnings : tuple of str
        Permissions and location that the user should know of.
    elapsed_s : float
        Wall time.
    """

    directory: Path
    is_changed: bool
    supported: tuple[str, ...]
    unsupported: dict[str, str]
    warnings: tuple[str, ...]
    elapsed_s: float


def run_setup(options: SetupOptions) -> SetupReport:
    """Complete an artifact directory.

    Raises
    ------
    CheckpointMissingError
        Files are absent and cannot be fetched; all of them are named.
    ChecksumMismatchError
        A file is not the published one.
    ModelLoadError
        An archive, a checkpoint or a pickle is damaged, refused or of another network.
    SettingsError
        The directory cannot be used: not writable, full, or locked for too long.
    """
    started = time.monotonic()
    root = Path(options.directory).absolute()
    with _as_settings_error(root):
        make_directory(root)
        with hold_lock(root, timeout_s=options.lock_timeout_s):
            is_changed = not is_ready(root, keep_pth=options.keep_pth)
            if is_changed:
                _complete(SetupState(options, root))
        opened = ArtifactDirectory.open(root)
        warnings = tuple(location_warnings(root) + permission_warnings(root))
    unsupported = {key: str(info.reason) for key, info in opened.properties.items() if not info.supported}
    elapsed_s = time.monotonic() - started
    for text in warnings:
        logger.warning("%s", text)
    state = "is ready" if is_changed else "was set up before; nothing to do"
    logger.info("%s %s: %s (%.1f s)", root, state, ", ".join(opened.supported) or "no property", elapsed_s)
    return SetupReport(root, is_changed, tuple(opened.supported), unsupported, warnings, elapsed_s)


def _complete(state: SetupState) -> None:
    """Do what is missing."""
    for step in _STEPS:
        step(state)


@contextlib.contextmanager
def _as_settings_error(root: Path) -> Iterator[None]:
    """Say what to do when the file system refuses."""
    try:
        yield
    except OSError as error:
        place = error.filename or root
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SettingsError(
                f"{root}: the disk is full, or the quota used up ({place}). Finished work is kept: free some space and "
                "run `periogt setup` again, or choose another directory with PERIOGT_CHECKPOINT_DIR.",
                {"directory": str(root)},
            ) from error
        raise SettingsError(
            f"{root}: {error.strerror or error} ({place}). setup needs a directory that it can write to; choose one "
            "with PERIOGT_CHECKPOINT_DIR, then run `periogt setup` again.",
            {"directory": str(root)},
        ) from error
