"""Shortest paths between triplets, compiled."""

import numpy as np

from periogt_ray.polymer.dimensions import PATH_LENGTH
from periogt_ray.polymer.kernels import kernel

__all__ = ["triplet_paths"]

_MIN_BONDS = 3  # a path of 2 bonds is one of the pairs around an atom
_PAD = -1


def triplet_paths(atoms: np.ndarray, n_atoms: int) -> np.ndarray:
    """Return every path between two triplets that share an atom, or that end a shortest path of 3 to 5 bonds.

    Shortest paths are searched from each atom breadth first with neighbours in ascending order, so
    that among equally short ones always the same is taken; from the other end it may be another.

    Parameters
    ----------
    atoms : numpy.ndarray
        int32 [number of bonds, 2], the atoms of each bond.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    numpy.ndarray
        int32 [E, 5]: source, triplets in between, -1 where the path is shorter, destination.
    """
    n_bonds = len(atoms)
    ends = np.concatenate([atoms, atoms[:, ::-1]])
    bonds = np.concatenate([np.arange(n_bonds), np.arange(n_bonds)])
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    starts = np.searchsorted(ends[order, 0], np.arange(n_atoms + 1)).astype(np.int32)
    neighbours, bonds = ends[order, 1].astype(np.int32), bonds[order].astype(np.int32)
    nothing = np.empty((0, PATH_LENGTH), dtype=np.int32)
    n_paths = _fill_paths(starts, neighbours, bonds, nothing)
    paths = np.full((n_paths, PATH_LENGTH), _PAD, dtype=np.int32)
    _fill_paths(starts, neighbours, bonds, paths)
    return paths


@kernel("int64(int32[::1], int32[::1], int32[::1], int32[:,::1])")
def _fill_paths(starts, neighbours, bonds, paths):  # type: ignore[no-untyped-def]
    """Write the paths, or with an empty array only count them; returns their number."""
    n_atoms, row = len(starts) - 1, 0
    is_filling = len(paths) > 0
    for atom in range(n_atoms):
        for one in range(starts[atom], starts[atom + 1]):
            for other in range(starts[atom], starts[atom + 1]):
                if one != other:
                    if is_filling:
                        paths[row, 0], paths[row, -1] = bonds[one], bonds[other]
                    row += 1
    depth = np.full(n_atoms, -1, dtype=np.int32)
    trail = np.empty((n_atoms, PATH_LENGTH), dtype=np.int32)
    queue = np.empty(n_atoms, dtype=np.int32)
    for start in range(n_atoms):
        queue[0], depth[start] = start, 0
        head, tail = 0, 1
        while head < tail:
            atom = queue[head]
            head += 1
            if depth[atom] == PATH_LENGTH:
                continue
            for edge in range(starts[atom], starts[atom + 1]):
                reached = neighbours[edge]
                if depth[reached] >= 0:
                    continue
                n_bonds = depth[atom] + 1
                depth[reached] = n_bonds
                trail[reached, : n_bonds - 1] = trail[atom, : n_bonds - 1]
                trail[reached, n_bonds - 1] = bonds[edge]
                queue[tail] = reached
                tail += 1
                if n_bonds >= _MIN_BONDS:
                    if is_filling:
                        paths[row, : n_bonds - 1] = trail[reached, : n_bonds - 1]
                        paths[row, -1] = bonds[edge]
                    row += 1
        for index in range(tail):
            depth[queue[index]] = -1
    return row
