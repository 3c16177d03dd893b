"""The triplets of known polymers, of which the stand-in for a left-out bond is the mean."""

import csv
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from periogt_ray.polymer.prompt_molecule import parse_prompt
from periogt_ray.polymer.triplet_graph import triplet_features
from periogt_ray.settings import EXAMPLES

__all__ = ["ReferenceTriplets", "reference_triplets"]

# 120 repeat units of one size order: side groups on vinyl chains, polyesters, polyamides, aromatic chains.
_POLYMERS = EXAMPLES.with_name("polymers_120.csv")


class ReferenceTriplets(NamedTuple):
    """Distinct triplets and how frequent they are; not to be modified.

    Attributes
    ----------
    atom_features : numpy.ndarray
        float32 [A, 138].
    triplet_atoms : numpy.ndarray
        int64 [T, 2].
    bond_features : numpy.ndarray
        float32 [T, 14].
    shares : numpy.ndarray
        float32 [T], sum 1.
    """

    atom_features: np.ndarray
    triplet_atoms: np.ndarray
    bond_features: np.ndarray
    shares: np.ndarray


@cache
def reference_triplets() -> ReferenceTriplets:
    """Return the triplets of the 120 example polymers.

    Examples
    --------
    >>> reference_triplets().bond_features.shape[1]
    14
    """
    with _POLYMERS.open(encoding="utf-8", newline="") as file:
        prompts = [parse_prompt(row["smiles"]) for row in csv.DictReader(file)]
    atoms, bonds = triplet_features(prompts)
    atoms, atom_kinds = np.unique(atoms, axis=0, return_inverse=True)
    bonds, bond_kinds = np.unique(bonds, axis=0, return_inverse=True)
    starts = accumulate([0, *(len(prompt.order) for prompt in prompts[:-1])])
    places = np.concatenate(
        [start + np.stack([prompt.begin, prompt.end], axis=1) for start, prompt in zip(starts, prompts, strict=True)]
    )
    pairs = np.sort(atom_kinds.reshape(-1)[places], axis=1)
    kinds, counts = np.unique(np.concatenate([pairs, bond_kinds.reshape(-1, 1)], axis=1), axis=0, return_counts=True)
    return ReferenceTriplets(atoms, kinds[:, :2], bonds[kinds[:, 2]], (counts / counts.sum()).astype(np.float32))
