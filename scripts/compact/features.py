"""Graphs, fingerprints and descriptors of the training polymers, and the descriptor scaler."""

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.dimensions import N_DESCRIPTORS
from periogt_ray.polymer.features import prompt_graphs
from periogt_ray.polymer.fingerprint import fingerprint
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph, build_triplet_graph

__all__ = ["SCHEME", "Polymer", "fit_scaler", "load_polymers"]

SCHEME = PromptScheme.MIRROR_INVARIANT

_UNITS = 3  # repeat units of the oligomer that fingerprint and descriptors are computed from
_SAVE_EVERY = 200
# No standardised training value is further than this from 0: a column that is nearly constant, or
# has a heavy tail, would otherwise dominate the network's input for the polymers where it differs.
_LARGEST_SCALED = 8.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Polymer:
    """A polymer as the network sees it.

    Attributes
    ----------
    smiles : str
        Canonical SMILES of the repeat unit.
    graphs : tuple of TripletGraph
        Its prompt graphs, that of the repeat unit first.
    fingerprint : numpy.ndarray
        uint8 [1191] of the 3-mer.
    descriptors : numpy.ndarray
        float32 [1613] of the 3-mer, not scaled.
    """

    smiles: str
    graphs: tuple[TripletGraph, ...]
    fingerprint: np.ndarray
    descriptors: np.ndarray


def load_polymers(smiles: Sequence[str], *, cache: Path | None = None) -> dict[str, Polymer]:
    """Compute the features of polymers; what a cache file holds is taken from there.

    Parameters
    ----------
    smiles : sequence of str
        Canonical.
    cache : pathlib.Path, optional
        npz with arrays ``smiles`` [n], ``fp`` [n, 1191] and ``md`` [n, 1613], extended and
        written back as features are computed. Graphs are quick and not kept in it.

    Raises
    ------
    ValidationError
        A polymer has no graph or no oligomer.
    """
    oligomers = _oligomer_features(smiles, cache)
    _log.info("building the graphs of %d polymers", len(smiles))
    return {name: Polymer(name, _graphs(RepeatUnit(name)), *oligomers[name]) for name in smiles}


def fit_scaler(polymers: Sequence[Polymer]) -> Scaler:
    """Fit mean and scale of the descriptors.

    The scale is the standard deviation, but at least large enough that no value of these
    polymers lies more than ``8`` scales from the mean; 1 for a constant column.
    """
    values = np.stack([polymer.descriptors for polymer in polymers]).astype(np.float64)
    mean = values.mean(axis=0)
    farthest = np.abs(values - mean).max(axis=0)
    scale = np.maximum(values.std(axis=0), farthest / _LARGEST_SCALED)
    # A constant column's deviation is rounding alone.
    is_constant = farthest <= 1e-9 * np.maximum(np.abs(mean), 1.0)
    return Scaler(mean, np.where(is_constant, 1.0, scale))


def _graphs(unit: RepeatUnit) -> tuple[TripletGraph, ...]:
    classes = BondClasses(unit)
    graphs = (build_triplet_graph(smiles, classes) for smiles, _ in prompt_graphs(unit, SCHEME))
    return tuple(graph for graph in graphs if graph is not None)


def _oligomer_features(smiles: Sequence[str], cache: Path | None) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if cache is not None and cache.is_file():
        with np.load(cache, allow_pickle=False) as arrays:
            names, fingerprints, values = arrays["smiles"], arrays["fp"], arrays["md"]
        if values.shape[1:] != (N_DESCRIPTORS,):
            raise ValueError(f"{cache} holds descriptors of shape {values.shape}; expected [n, {N_DESCRIPTORS}].")
        known = {str(name): (bits, row) for name, bits, row in zip(names, fingerprints, values, strict=True)}
    missing = [name for name in smiles if name not in known]
    if missing:
        _log.info("computing the descriptors of %d polymers (%d are in the cache)", len(missing), len(known))
    for count, name in enumerate(missing, start=1):
        oligomer = RepeatUnit(name).oligomer(_UNITS)
        known[name] = fingerprint(oligomer), descriptors(oligomer)
        if cache is not None and (count % _SAVE_EVERY == 0 or count == len(missing)):
            _write_cache(cache, known)
            _log.info("descriptors: %d of %d", count, len(missing))
    return known


def _write_cache(path: Path, features: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Replace the cache file in one step, so that an interrupted run leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".npz", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        np.savez(
            file,
            smiles=np.array(list(features)),
            fp=np.stack([pair[0] for pair in features.values()]),
            md=np.stack([pair[1] for pair in features.values()]),
        )
    Path(temporary).replace(path)
