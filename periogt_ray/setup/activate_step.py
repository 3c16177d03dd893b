"""The steps at both ends: withdraw the ready marker before anything changes, write it when everything is there."""

import logging

from periogt_ray.artifacts.layout import DATASETS_FOLDER, INDEX_NAME, LABEL_STATS_NAME, SCALER_NPZ_NAME, WEIGHT_FOLDERS
from periogt_ray.artifacts.manifest import remove_manifest, write_manifest, write_ready
from periogt_ray.runtime.files import FILE_MODE
from periogt_ray.setup.staging import remove_tree, trash_of
from periogt_ray.setup.state import SetupState

__all__ = ["activate", "deactivate"]

logger = logging.getLogger("periogt_ray.setup")


def deactivate(state: SetupState) -> None:
    """Withdraw the ready marker; remove what an atomic write, or a removal, had begun when its process was killed."""
    remove_manifest(state.root)
    remove_tree(trash_of(state.staging))
    leftovers = list(state.root.glob(".*.part"))
    for name in (*WEIGHT_FOLDERS, DATASETS_FOLDER):
        leftovers += (state.root / name).rglob(".*.part")
    for path in leftovers:
        path.unlink(missing_ok=True)


def activate(state: SetupState) -> None:
    """Record what there is, tidy up, and say ready."""
    logger.info("recording SHA-256 of %d files", len(state.weights) + 3)
    files = [*state.weights, INDEX_NAME, LABEL_STATS_NAME, SCALER_NPZ_NAME]
    write_manifest(state.root, files, unused=state.unused)
    if state.options.keep_archives:
        for file in state.of_role("encoder", "heads"):
            fetched = state.downloads / file.flat_name
            if fetched.is_file():
                fetched.chmod(FILE_MODE)
                fetched.replace(state.root / file.flat_name)
    remove_tree(state.staging)
    write_ready(state.root)
