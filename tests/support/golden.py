"""The golden vectors: outputs of the reference implementation with small seeded weights."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"
ARTIFACTS = GOLDEN / "artifacts"
UNITS = (3, 6, 9)


class GoldenPolymer(NamedTuple):
    """One polymer and what the reference computed for it."""

    smiles: str
    record: dict[str, Any]
    fingerprints: np.ndarray  # [3, 1191]
    descriptors: np.ndarray  # [3, 1613], NaN replaced
    embedding: np.ndarray
    prompt: np.ndarray | None  # [T, L, D]
    graphs: Any | None  # node and edge data of the prompt graphs

    def __repr__(self) -> str:
        return self.smiles


@cache
def golden_polymers() -> tuple[GoldenPolymer, ...]:
    return tuple(_load())


def rejected_by_reference() -> list[str]:
    names = ("polymers", "extra")
    return [entry["smiles"] for name in names for entry in _json(name)["rejected_by_reference"]]


def _json(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


def _load() -> Iterator[GoldenPolymer]:
    for name, features_file, outputs_file in (("polymers", "features", "outputs"), ("extra", "extra", "extra")):
        features = np.load(GOLDEN / f"{features_file}.npz")
        outputs = np.load(GOLDEN / f"{outputs_file}.npz")
        for index, record in enumerate(_json(name)["polymers"]):
            graphs = GOLDEN / "graphs" / f"{index:02d}.npz"
            yield GoldenPolymer(
                smiles=record["smiles"],
                record=record,
                fingerprints=features["fingerprints"][index],
                descriptors=np.minimum(np.nan_to_num(features["descriptors_raw"][index], nan=0.0), 1e12),
                embedding=outputs["embeddings"][index],
                prompt=outputs.get(f"prompt_{index}"),
                graphs=np.load(graphs) if name == "polymers" and graphs.is_file() else None,
            )
