"""The step that turns published files, and files placed by hand, into artifacts."""

import logging

from periogt_ray.artifacts.inventory import is_outdated, is_sibling, take_inventory, weight_paths
from periogt_ray.artifacts.layout import LABEL_STATS_NAME, SCALER_NPZ_NAME, dataset_path
from periogt_ray.artifacts.safe_pickle import load_scaler_arrays
from periogt_ray.artifacts.scaler import Scaler, read_scaler, scaler_bytes
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.artifacts.weight_files import read_shapes
from periogt_ray.runtime.files import write_bytes_atomically, write_json_atomically
from periogt_ray.setup.convert import Conversion
from periogt_ray.setup.label_statistics import label_statistics
from periogt_ray.setup.staging import require_space
from periogt_ray.setup.state import SetupState

__all__ = ["convert"]

logger = logging.getLogger("periogt_ray.setup")


def convert(state: SetupState) -> None:
    """Make the scaler, the label statistics and the weights.

    Raises
    ------
    ModelLoadError
        An archive, a checkpoint or a pickle is damaged or refused.
    SettingsError
        The disk is full.
    """
    state.staging.mkdir(exist_ok=True)
    _make_scaler(state)
    # First, because with label statistics in place labels are not fetched again.
    _keep_datasets(state)
    _make_label_stats(state)
    keep_pth = state.options.keep_pth
    for stage in state.stages:
        if stage.file in state.sources:
            stage.extract(state.sources[stage.file], keep_pth=keep_pth)
        if stage.is_begun:
            stage.convert(state.options.convert, keep_pth=keep_pth)
            stage.place(state.root)
    _convert_in_place(state)


def _make_scaler(state: SetupState) -> None:
    """Keep the descriptor scaler as plain arrays."""
    path = state.root / SCALER_NPZ_NAME
    if path.is_file():
        return
    fetched = [source for file, source in state.sources.items() if file.role == "scaler"]
    scaler = Scaler(*load_scaler_arrays(fetched[0])) if fetched else read_scaler(state.root)
    write_bytes_atomically(path, scaler_bytes(scaler))
    read_scaler(state.root)
    logger.info("%s: mean and scale of %d descriptors", SCALER_NPZ_NAME, len(scaler.mean))


def _keep_datasets(state: SetupState) -> None:
    """Keep the labels and the split of each property, from whose test rows `periogt calibrate` makes intervals."""
    names = {"labels": "{}.csv", "split": "split.pkl"}
    for file, source in state.sources.items():
        if file.role in names and file.property_id is not None:
            path = state.root / dataset_path(file.property_id, names[file.role].format(file.property_id))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(path, source.read_bytes())


def _make_label_stats(state: SetupState) -> None:
    """Compute label statistics from the training rows of each property; the catalogue has those of unpublished rows.

    Those that the directory has stay.
    """
    path = state.root / LABEL_STATS_NAME
    known = {key: one.document() for key, one in read_label_stats(path).items()} if path.is_file() else None
    splits = {file.property_id: source for file, source in state.sources.items() if file.role == "split"}
    computed = {
        file.property_id: label_statistics(
            source, splits[file.property_id], column=file.column, is_float32=file.is_float32
        ).document()
        for file, source in state.sources.items()
        if file.role == "labels" and file.property_id is not None
    }
    if known is None:
        stats = {property_id: one.document() for property_id, one in state.statistics.items()} | computed
    elif computed:
        stats = computed | known
    else:
        return
    write_json_atomically(path, stats)
    logger.info("%s: %s", LABEL_STATS_NAME, ", ".join(sorted(stats)))


def _convert_in_place(state: SetupState) -> None:
    """Convert ``.pth`` files that were put into the directory by hand."""
    root, keep_pth = state.root, state.options.keep_pth
    inventory = take_inventory(root)
    files = [file for file in (inventory.encoder, *inventory.properties.values()) if file is not None]
    chosen = [path for file in files for path in file.paths]
    conversions = [
        Conversion(root / path, (root / path).with_suffix(".safetensors"))
        for path in [*(path for path in chosen if not path.endswith(".safetensors")), *_outdated(state)]
    ]

    def retire(conversion: Conversion) -> None:
        """Let the conversion of a hand-placed file take its place."""
        logger.info("converted %s", conversion.destination.relative_to(root))
        if not keep_pth:
            conversion.source.unlink()

    if conversions:
        sizes = [conversion.source.stat().st_size for conversion in conversions]
        require_space(root, sum(sizes) if keep_pth else max(sizes), purpose="converting the weights")
        logger.info("converting %d files to safetensors", len(conversions))
        state.options.convert(conversions, done=retire)
    if not keep_pth:
        for path in _siblings(state):
            (root / path).unlink()


def _siblings(state: SetupState) -> list[str]:
    """Return the ``.pth`` files that lie beside a safetensors file of the same name."""
    weights = set(weight_paths(state.root))
    return sorted(path for path in weights if is_sibling(path, weights))


def _outdated(state: SetupState) -> list[str]:
    """Return ``.pth`` files that are newer than, or other than, the safetensors file beside them."""
    outdated = []
    for path in _siblings(state):
        source = state.root / path
        is_other = read_shapes(source) != read_shapes(source.with_suffix(".safetensors"))
        if is_other or is_outdated(state.root, path):
            outdated.append(path)
    return outdated
