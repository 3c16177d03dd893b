"""Labelled copolymers, what the network sees of them, and which of them are held out."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from compact.dataset import SPLITS
from compact.features import SCHEME, Polymer
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.errors import ValidationError
from periogt_ray.model.collate import GraphBatch
from periogt_ray.model.composite_network import CopolymerRegressor
from periogt_ray.model.composite_passes import (
    MonomerInput,
    MonomerPrompts,
    collate_composites,
    composite_input,
    monomer_input,
)
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer, OligomerFeatures, computed_unit
from periogt_ray.polymer.input_features import FeaturizedCopolymer, featurized_input
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph
from periogt_ray.runtime.files import write_bytes_atomically

__all__ = [
    "COPOLYMER_PROPERTIES",
    "CopolymerDataset",
    "CopolymerRow",
    "CopolymerStore",
    "read_copolymer_file",
    "read_copolymers",
    "write_copolymer_file",
]

COPOLYMER_PROPERTIES = ("ea", "ip")
_COLUMNS = ("smiles_A", "smiles_B", "rA", "rB", "type", "split")
_MONOMERS_AT_ONCE = 64


class CopolymerRow(NamedTuple):
    """One labelled copolymer; A and B are in the order of the data set."""

    a: str  # canonical
    b: str
    ratio_a: float
    architecture: str
    values: tuple[float, ...]  # in the order of COPOLYMER_PROPERTIES, eV
    split: str

    @property
    def copolymer(self) -> Copolymer:
        """The row's input."""
        return Copolymer.of(
            RepeatUnit(self.a), RepeatUnit(self.b), ratio_a=self.ratio_a, architecture=self.architecture
        )


@dataclass(frozen=True)
class CopolymerDataset:
    """The copolymers of all properties, which share their rows and split.

    Attributes
    ----------
    rows : tuple of CopolymerRow
        In the order of the file.
    n_dropped : int
        Rows left out because the same copolymer, with A and B swapped, is in a held-out split or occurs before.
    """

    rows: tuple[CopolymerRow, ...]
    n_dropped: int = 0

    def split(self, split: str) -> list[CopolymerRow]:
        """Return the rows of one split."""
        return [row for row in self.rows if row.split == split]

    def monomers(self) -> list[str]:
        """Return every monomer once, sorted."""
        return sorted({smiles for row in self.rows for smiles in (row.a, row.b)})

    def label_stats(self, rows: Sequence[CopolymerRow] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and population standard deviation of each property, float64 [2]; of the train rows by default."""
        values = np.array([row.values for row in (self.split("train") if rows is None else rows)])
        return values.mean(axis=0), values.std(axis=0)


def read_copolymers(directory: Path) -> CopolymerDataset:
    """Read ``ea.csv`` and ``ip.csv``: smiles_A, smiles_B, rA, rB, type, value, split.

    Raises
    ------
    ValidationError
        A row is no copolymer, has no number or an unknown split, or the files differ in their rows; the message names
        the line.
    FileNotFoundError
        A file is missing.
    """
    tables = []
    for property_id in COPOLYMER_PROPERTIES:
        with (directory / f"{property_id}.csv").open(encoding="utf-8-sig", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    units: dict[str, str] = {}
    rows = []
    for number, records in enumerate(zip(*tables, strict=True), start=2):
        if len({tuple(record[name] for name in _COLUMNS) for record in records}) > 1:
            raise ValidationError(f"Line {number}: {' and '.join(COPOLYMER_PROPERTIES)} hold different copolymers.")
        try:
            rows.append(_row(records, units))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise ValidationError(f"{COPOLYMER_PROPERTIES[0]}.csv, line {number}: {error}") from error
    kept = _without_duplicates(rows)
    return CopolymerDataset(tuple(kept), len(rows) - len(kept))


def _row(records: Sequence[Mapping[str, str]], units: dict[str, str]) -> CopolymerRow:
    record = records[0]
    names = [record["smiles_A"], record["smiles_B"]]
    for name in names:
        if name not in units:
            units[name] = computed_unit(RepeatUnit.parse(name), SCHEME).smiles
    if record["split"] not in SPLITS:
        raise ValidationError(f"split {record['split']!r}; expected one of {', '.join(SPLITS)}.")
    a, b = (units[name] for name in names)
    values = tuple(float(one["value"]) for one in records)
    row = CopolymerRow(a, b, float(record["rA"]), record["type"], values, record["split"])
    if row.copolymer.ratio_b != float(record["rB"]):
        raise ValidationError(f"the ratios are {record['rA']} and {record['rB']}; expected a sum of 1.")
    return row


def _without_duplicates(rows: Sequence[CopolymerRow]) -> list[CopolymerRow]:
    """Keep of each copolymer in several rows a test row, else a val row, else the first train row."""
    chosen: dict[str, int] = {}
    keys = [row.copolymer.key for row in rows]
    for index, (key, row) in enumerate(zip(keys, rows, strict=True)):
        if key not in chosen or SPLITS.index(row.split) > SPLITS.index(rows[chosen[key]].split):
            chosen[key] = index
    return [rows[index] for index in sorted(chosen.values())]


def write_copolymer_file(path: Path, dataset: CopolymerDataset) -> None:
    """Write rows as JSON, so that training reads them where RDKit is not installed."""
    monomers = dataset.monomers()
    place = {name: index for index, name in enumerate(monomers)}
    rows = [[place[row.a], place[row.b], *row[2:]] for row in dataset.rows]
    document = {"monomers": monomers, "rows": rows, "n_dropped": dataset.n_dropped}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, json.dumps(document).encode())


def read_copolymer_file(path: Path) -> CopolymerDataset:
    """Read what :func:`write_copolymer_file` wrote."""
    document = json.loads(path.read_bytes())
    names = document["monomers"]
    rows = tuple(
        CopolymerRow(names[a], names[b], ratio_a, architecture, tuple(values), split)
        for a, b, ratio_a, architecture, values, split in document["rows"]
    )
    return CopolymerDataset(rows, document["n_dropped"])


@dataclass(frozen=True)
class _Composed(FeaturizedCopolymer):
    """A copolymer whose graph is known."""

    composed: TripletGraph

    @property
    def graph(self) -> TripletGraph:
        return self.composed


class CopolymerStore:
    """Lays out batches of copolymers as a prediction does; the prompts of a monomer are computed once.

    Parameters
    ----------
    monomers : Mapping of str to Polymer
        By the SMILES that rows name.
    encoder : PerioGTEncoder
        The frozen encoder that makes the prompts.
    scaler : Scaler
        For the descriptors.
    max_padding : float
        As in :func:`~periogt_ray.model.collate.collate`.
    """

    def __init__(
        self, monomers: Mapping[str, Polymer], encoder: PerioGTEncoder, scaler: Scaler, *, max_padding: float
    ) -> None:
        self._monomers = {name: _featurized(polymer) for name, polymer in monomers.items()}
        self._scaler = scaler
        self._max_padding = max_padding
        self._graphs: dict[tuple[str, ...], TripletGraph] = {}
        self._prompts = MonomerPrompts(encoder.eval(), self._passes, device=torch.device("cpu"))

    def shifts(self, network: CopolymerRegressor) -> dict[str, torch.Tensor]:
        """Return by how much prompts shift the states of each monomer's nodes, float32 [bonds + 3, D].

        They do not depend on the states, so with a constant ``node_attn`` they are computed once. The last row is that
        of nodes without prompts.
        """
        found: dict[str, torch.Tensor] = {}
        names = sorted(self._monomers)
        for start in range(0, len(names), _MONOMERS_AT_ONCE):
            some = names[start : start + _MONOMERS_AT_ONCE]
            pairs = [self._polymer(CopolymerRow(name, name, 0.5, "block", (), "")) for name in some]
            tasks = [Task(pair, COPOLYMER_PROPERTIES[0]) for pair in pairs]
            given = composite_input(pairs, tasks, self._scaler, max_padding=self._max_padding)
            [head] = given.heads.values()
            with torch.inference_mode():
                nothing = torch.zeros(len(head.batch.bond_features), network.sizes.width)
                changed = network.node_attn(nothing, self._prompts.states(given), head.prompts)
            for name, first in zip(some, head.batch.first_nodes, strict=True):
                n_nodes = self._monomers[name].graphs[0].n_triplets + 1  # and that of the ratio
                found[name] = changed[first : first + n_nodes].clone()
        return found

    def shifted_batch(
        self, rows: Sequence[CopolymerRow], shifts: Mapping[str, torch.Tensor]
    ) -> tuple[GraphBatch, torch.Tensor]:
        """Collate the graphs of copolymers; returns them, and the shift of each node by its prompts [T, D]."""
        polymers = [self._polymer(row) for row in rows]
        batch = collate_composites(polymers, self._scaler, max_padding=self._max_padding)
        shift = torch.zeros(len(batch.bond_features), next(iter(shifts.values())).shape[1])
        for polymer, first in zip(polymers, batch.first_nodes, strict=True):
            a, b = (shifts[monomer.smiles] for monomer in polymer.monomers)
            own = torch.cat([a, b, a[-1:]])
            shift[first : first + len(own)] = own
        return batch, shift

    def fingerprint(self, smiles: str) -> np.ndarray:
        """Return the fingerprint of a monomer, uint8 [1191]."""
        return self._monomers[smiles].oligomers[1].fingerprint

    def _polymer(self, row: CopolymerRow) -> FeaturizedCopolymer:
        made = featurized_input(row.copolymer, lambda unit: self._monomers[unit.smiles])
        if not isinstance(made, FeaturizedCopolymer):
            raise TypeError("a row holds a copolymer")
        # Ratio and architecture do not enter the graph, so it is composed once a pair.
        pair = tuple(monomer.smiles for monomer in made.monomers)
        if pair not in self._graphs:
            self._graphs[pair] = made.graph
        return _Composed(made.monomers, made.ratios, made.architecture, self._graphs[pair])

    def _passes(self, monomers: Sequence[FeaturizedPolymer]) -> Iterable[MonomerInput]:
        for start in range(0, len(monomers), _MONOMERS_AT_ONCE):
            yield monomer_input(
                monomers[start : start + _MONOMERS_AT_ONCE], self._scaler, max_padding=self._max_padding
            )


def _featurized(polymer: Polymer) -> FeaturizedPolymer:
    return FeaturizedPolymer(
        smiles=polymer.smiles,
        scheme=SCHEME,
        graphs=polymer.graphs,
        n_units=(1,) * len(polymer.graphs),
        oligomers={1: OligomerFeatures(polymer.fingerprint, polymer.descriptors)},
    )
