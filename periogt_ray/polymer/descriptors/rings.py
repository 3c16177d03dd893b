"""Counts of rings and fused ring systems, and the share of the molecular framework."""

import numpy as np

from periogt_ray.polymer.descriptors.molecule import MoleculeArrays

__all__ = ["ring_descriptors"]

_LARGEST = 12  # rings of 12 and more share a column besides their own


def ring_descriptors(arrays: MoleculeArrays) -> dict[str, list[float]]:
    """Return the blocks ``ring_count`` and ``framework``."""
    rings = [frozenset(ring) for ring in arrays.rings]
    counts = _counts(arrays, rings, 3) + _counts(arrays, _fused(rings), 4)
    return {"ring_count": counts, "framework": [_framework(arrays, rings)]}


def aromatic_rings(arrays: MoleculeArrays) -> int:
    """Return the number of rings whose atoms are all aromatic."""
    return sum(bool(arrays.is_aromatic[list(ring)].all()) for ring in arrays.rings)


def _counts(arrays: MoleculeArrays, rings: list[frozenset[int]], smallest: int) -> list[float]:
    """Count any, aromatic and other rings; of each all and those with a hetero atom; by size."""
    width = _LARGEST - smallest + 3
    table = np.zeros((3, 2, width))
    hetero_atoms = frozenset(np.flatnonzero(arrays.number != 6).tolist())
    aromatic_atoms = frozenset(np.flatnonzero(arrays.is_aromatic).tolist())
    for ring in rings:
        has_hetero, is_aromatic = not ring.isdisjoint(hetero_atoms), ring <= aromatic_atoms
        columns = [0]
        if smallest <= len(ring) <= _LARGEST:
            columns.append(1 + len(ring) - smallest)
        if len(ring) >= _LARGEST:
            columns.append(width - 1)
        for kind in (0, 1 if is_aromatic else 2):
            for hetero in range(1 + has_hetero):
                for column in columns:
                    table[kind, hetero, column] += 1.0
    counts: list[float] = table.ravel().tolist()
    return counts


def _fused(rings: list[frozenset[int]]) -> list[frozenset[int]]:
    """Join rings that share two atoms or more; single rings are left out."""
    holders: dict[int, list[int]] = {}
    for index, ring in enumerate(rings):
        for atom in ring:
            holders.setdefault(atom, []).append(index)
    system = list(range(len(rings)))

    def find(index: int) -> int:
        while system[index] != index:
            index = system[index]
        return index

    for index, ring in enumerate(rings):
        for other in {j for atom in ring for j in holders[atom] if j < index}:
            if len(ring & rings[other]) >= 2:
                system[find(index)] = find(other)
    members: dict[int, list[int]] = {}
    for index in range(len(rings)):
        members.setdefault(find(index), []).append(index)
    return [frozenset().union(*(rings[i] for i in group)) for group in members.values() if len(group) > 1]


def _framework(arrays: MoleculeArrays, rings: list[frozenset[int]]) -> float:
    """Share of ring atoms, and of the chain atoms that link rings, among all atoms.

    What is left when chain ends are taken away until there are none; without rings that is nothing.
    """
    ring_atoms = frozenset().union(*rings)
    if not ring_atoms:
        return 0.0
    graph = arrays.graph
    degree = graph.degree.tolist()
    start, neighbor = graph.start.tolist(), graph.neighbor.tolist()
    n_kept = arrays.n_atoms
    ends = [atom for atom in range(arrays.n_atoms) if degree[atom] == 1]
    while ends:
        atom = ends.pop()
        n_kept -= 1
        degree[atom] = 0
        for other in neighbor[start[atom] : start[atom + 1]]:
            if degree[other] > 0:
                degree[other] -= 1
                if degree[other] == 1:
                    ends.append(other)
    return n_kept / arrays.n_all_atoms
