"""The step that finds the published files that are still needed: in the directory, beside it, or on the network."""

import logging
from collections.abc import Sequence
from pathlib import Path

import httpx

from periogt_ray.artifacts.inventory import Inventory, take_inventory
from periogt_ray.artifacts.layout import (
    ENCODER_EXPECTED,
    HEADS_EXPECTED,
    LABEL_STATS_NAME,
    SCALER_EXPECTED,
    scaler_path,
)
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.errors import CheckpointMissingError, ChecksumMismatchError, SettingsError
from periogt_ray.setup.downloads import DownloadPolicy, download, human_bytes, make_client, require_network, verify_file
from periogt_ray.setup.published import PublishedFile, Role
from periogt_ray.setup.staging import require_space
from periogt_ray.setup.state import SetupState

__all__ = ["fetch"]

logger = logging.getLogger("periogt_ray.setup")

# Where a directory of brought-in files, or a clone of the authors' repository, may have them.
_SOURCE_FOLDERS = (
    "",
    "datasets",
    "PerioGT_common/datasets",
    "PerioGT_copolym/datasets",
    "PerioGT_with_cond/datasets",
)
_EXPECTED = {
    "encoder": ENCODER_EXPECTED,
    "heads": HEADS_EXPECTED,
    "scaler": SCALER_EXPECTED,
    "labels": LABEL_STATS_NAME,
}


def fetch(state: SetupState) -> None:
    """Find the needed files here, in the source directory, or on the network.

    Raises
    ------
    CheckpointMissingError
        Files are absent and cannot be fetched; all of them are named.
    ChecksumMismatchError
        A file is not the published one.
    SettingsError
        The source directory does not exist, the disk is full, or the proxy settings cannot be used.
    """
    from_dir = state.options.from_dir
    needed = _needed(state)
    if from_dir is not None and not from_dir.is_dir():
        raise SettingsError(f"--from-dir {from_dir} is not a directory.")
    found = {file: _locate(state, file) for file in needed}
    absent = [file for file, path in found.items() if path is None]
    if absent and from_dir is not None:
        raise _missing(
            [str(from_dir / file.name) for file in absent],
            "`periogt setup --list` prints the published address of each.",
        )
    if absent and state.options.skip_download:
        raise _missing_artifacts(state, [file.role for file in absent])
    located = {file: path for file, path in found.items() if path is not None}
    for file, path in located.items():
        if path.parent != state.downloads:
            logger.info("%s: using %s", file.name, path)
            verify_file(file, path)
    state.sources = located | (_download(state, absent) if absent else {})


def _needed(state: SetupState) -> list[PublishedFile]:
    """Return the published files that are not there yet in the form that they end up in."""
    begun = {stage.file.role for stage in state.stages if stage.is_begun}
    stale = {stage.file.role for stage in state.stages if stage.is_stale}
    inventory = take_inventory(state.root)
    has_labels = (state.root / LABEL_STATS_NAME).is_file()
    has: dict[Role, bool] = {
        "encoder": (inventory.encoder is not None and "encoder" not in stale) or "encoder" in begun,
        "heads": (bool(inventory.properties) and "heads" not in stale) or "heads" in begun,
        "scaler": scaler_path(state.root) is not None,
        "labels": has_labels,
        "split": has_labels,
    }
    unpublished = [role for role, is_there in has.items() if not is_there and not state.of_role(role)]
    if unpublished:
        raise _missing_artifacts(state, unpublished)
    lacking = _without_statistics(state, inventory) if has_labels else frozenset()
    return [file for file in state.files if not has[file.role] or file.property_id in lacking]


def _without_statistics(state: SetupState, inventory: Inventory) -> frozenset[str]:
    """Return the properties whose weights an earlier setup left without label statistics; without a network, none."""
    if state.options.skip_download or state.options.from_dir is not None:
        return frozenset()
    return frozenset(inventory.properties) - frozenset(read_label_stats(state.root / LABEL_STATS_NAME))


def _locate(state: SetupState, file: PublishedFile) -> Path | None:
    """Return where a file lies already."""
    staged = _staged(state, file)
    if staged is not None:
        return staged
    names = dict.fromkeys((file.name, file.flat_name, *([f"pretrain/{file.name}"] if file.role == "scaler" else [])))
    places = [state.root / name for name in names]
    if state.options.from_dir is not None:
        places += [state.options.from_dir / folder / name for folder in _SOURCE_FOLDERS for name in names]
    return next((path for path in places if path.is_file()), None)


def _staged(state: SetupState, file: PublishedFile) -> Path | None:
    """Return what an earlier run fetched, if it is still what the catalogue asks for."""
    path = state.downloads / file.flat_name
    if not path.is_file():
        return None
    try:
        verify_file(file, path)
    except ChecksumMismatchError:
        path.unlink()
        return None
    return path


def _download(state: SetupState, files: Sequence[PublishedFile]) -> dict[PublishedFile, Path]:
    """Fetch files, after checking that there is room for them and what becomes of them."""
    policy, mirror = state.options.policy, state.options.mirror
    state.downloads.mkdir(parents=True, exist_ok=True)
    here = sum(path.stat().st_size for path in state.downloads.glob("*.part"))
    total = sum(file.planned_bytes for file in files)
    unpacked = sum(file.planned_bytes for file in files if file.role in ("encoder", "heads"))
    logger.info("%d files to fetch, %s", len(files), human_bytes(total))
    needed = max(total + unpacked - here, 0)
    require_space(state.root, needed, purpose="fetching and unpacking the published files")
    require_network(files[0], policy=policy, mirror=mirror)
    with _client(policy) as client:
        return {file: download(file, state.downloads, client=client, policy=policy, mirror=mirror) for file in files}


def _client(policy: DownloadPolicy) -> httpx.Client:
    """Return an HTTP client."""
    try:
        return make_client(policy)
    except (ValueError, httpx.InvalidURL, OSError) as error:
        raise SettingsError(
            f"the proxy or certificate settings of this environment cannot be used ({error}); check HTTPS_PROXY, "
            "HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE."
        ) from error


def _missing_artifacts(state: SetupState, roles: Sequence[Role]) -> CheckpointMissingError:
    """Name every artifact that is absent, with the place it was expected at."""
    archives = {file.role: f", or the archive {state.root / file.name}" for file in state.of_role("encoder", "heads")}
    distinct: dict[Role, None] = dict.fromkeys("labels" if role == "split" else role for role in roles)
    missing = [f"{state.root / _EXPECTED[role]}{archives.get(role, '')}" for role in distinct]
    return _missing(missing, "Put them there, or run `periogt setup` with network access or with --from-dir DIR.")


def _missing(missing: list[str], advice: str) -> CheckpointMissingError:
    """Make the error for absent files, with one line for each."""
    lines = "".join(f"\n  {name}" for name in missing)
    return CheckpointMissingError(f"{len(missing)} missing, expected at:{lines}\n{advice}", {"missing": missing})
