"""The step that indexes the artifacts and holds that they can be used."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from periogt_ray.artifacts.architecture import Architecture
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import DEFAULT_NAME, Index, index_document, read_index
from periogt_ray.artifacts.inventory import Inventory, is_sibling, take_inventory
from periogt_ray.artifacts.layout import INDEX_NAME, LABEL_STATS_NAME
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.errors import ModelLoadError
from periogt_ray.runtime.files import write_json_atomically
from periogt_ray.setup.state import SetupState

__all__ = ["verify"]

logger = logging.getLogger("periogt_ray.setup")


def verify(state: SetupState) -> None:
    """Index the artifacts, and load everything that predictions need.

    Raises
    ------
    CheckpointMissingError
        A file that predictions need is absent.
    ModelLoadError
        The encoder, the scaler or every property's network does not load.
    """
    inventory = _write_index(state, {})
    rejected = _load_once(state)
    if rejected:
        inventory = _write_index(state, rejected)
    opened = ArtifactDirectory.open(state.root)
    opened.scaler()
    for info in opened.properties.values():
        if not info.supported:
            logger.warning("%s is listed but not served: %s", info.id, info.reason)
    state.weights = [opened.encoder, *(path for info in opened.properties.values() for path in info.weight_paths)]
    state.unused = [path for path in inventory.unused if not is_sibling(path, state.weights)]
    for path in state.unused:
        logger.warning("%s is not used: another file holds the same property", path)


def _write_index(state: SetupState, rejected: Mapping[str, str]) -> Inventory:
    """Write index.json; keep the name and the prompt schemes of an index that setup wrote before."""
    found = take_inventory(state.root)
    refused = {
        key: found.properties[key]._replace(architecture=Architecture("unknown", reason=reason))
        for key, reason in rejected.items()
    }
    inventory = replace(found, properties={**found.properties, **refused})
    earlier = read_index(state.root) or Index(DEFAULT_NAME, inventory, {})
    infos = inventory.infos(read_label_stats(state.root / LABEL_STATS_NAME), schemes=earlier.schemes)
    write_json_atomically(state.root / INDEX_NAME, index_document(inventory, infos, name=earlier.name))
    return inventory


def _load_once(state: SetupState) -> Mapping[str, str]:
    """Load everything; returns reasons by property id for what does not load."""
    if state.options.check is None:
        return {}
    logger.info("loading every network once")
    supported = ArtifactDirectory.open(state.root).supported
    rejected = state.options.check(state.root)
    if rejected and set(rejected) >= set(supported):
        reasons = "; ".join(rejected.values())
        raise ModelLoadError(f"{state.root}: no property's network loads: {reasons}", {"rejected": dict(rejected)})
    return rejected
