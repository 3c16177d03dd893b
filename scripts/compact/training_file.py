"""Everything that training needs in one file, so that it runs where RDKit is not installed."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from compact.dataset import Dataset, Dropped, Row
from compact.features import Polymer
from periogt_ray.polymer.triplet_graph import TripletGraph
from periogt_ray.runtime.files import atomic_file

__all__ = ["TrainingFile", "read_training_file", "write_training_file"]

_FIELDS = TripletGraph._fields


class TrainingFile(NamedTuple):
    """What the file holds."""

    dataset: Dataset
    polymers: dict[str, Polymer]


def write_training_file(path: Path, dataset: Dataset, polymers: Mapping[str, Polymer]) -> None:
    """Write labels and features; graphs are laid end to end."""
    names = sorted(polymers)
    graphs = [graph for name in names for graph in polymers[name].graphs]
    arrays = {f"graph_{field}": _end_to_end([getattr(graph, field) for graph in graphs], field) for field in _FIELDS}
    lengths = {
        "n_atoms": [len(graph.atom_features) for graph in graphs],
        "n_nodes": [len(graph.node_kind) for graph in graphs],
        "n_edges": [len(graph.edge_kind) for graph in graphs],
        "n_graphs": [len(polymers[name].graphs) for name in names],
    }
    document = {
        "rows": {key: [list(row) for row in rows] for key, rows in dataset.rows.items()},
        "dropped": [list(row) for row in dataset.dropped],
        "names": names,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            document=np.frombuffer(json.dumps(document).encode(), np.uint8),
            fingerprints=np.stack([polymers[name].fingerprint for name in names]),
            descriptors=np.stack([polymers[name].descriptors for name in names]),
            **arrays,
            **{key: np.array(value, np.int32) for key, value in lengths.items()},
        )


def read_training_file(path: Path) -> TrainingFile:
    """Read what :func:`write_training_file` wrote."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads(arrays["document"].tobytes())
    graphs = iter(_graphs(arrays))
    polymers = {
        name: Polymer(name, tuple(next(graphs) for _ in range(n_graphs)), fingerprint, descriptors)
        for name, n_graphs, fingerprint, descriptors in zip(
            document["names"], arrays["n_graphs"], arrays["fingerprints"], arrays["descriptors"], strict=True
        )
    }
    rows = {key: tuple(Row(*row) for row in found) for key, found in document["rows"].items()}
    return TrainingFile(Dataset(rows, tuple(Dropped(*row) for row in document["dropped"])), polymers)


def _end_to_end(parts: Sequence[np.ndarray], field: str) -> np.ndarray:
    return np.concatenate(parts, axis=1 if field == "edges" else 0)


def _graphs(arrays: Mapping[str, np.ndarray]) -> list[TripletGraph]:
    kinds = {"atom_features": "n_atoms", "edges": "n_edges", "edge_kind": "n_edges", "paths": "n_edges"}
    split = {}
    for field in _FIELDS:
        ends = np.cumsum(arrays[kinds.get(field, "n_nodes")])
        split[field] = np.split(arrays[f"graph_{field}"], ends[:-1], axis=1 if field == "edges" else 0)
    return [TripletGraph(*parts) for parts in zip(*(split[field] for field in _FIELDS), strict=True)]
