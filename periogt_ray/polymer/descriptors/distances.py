"""Distances between atoms, and the biconnected components of the graph.

A path between two biconnected components must pass the atoms that join them. So each component is
solved alone and a matrix put together from them: ``d(u, v) = d(u, c) + d(c, v)``, where c is the
atom by which v's component hangs on what is already there. Outside of rings this costs one addition
for a pair of atoms.
"""

import numpy as np

from periogt_ray.polymer.descriptors.molecule import Graph
from periogt_ray.polymer.kernels import kernel

__all__ = ["Components", "component_distances", "components", "compose", "topological_distances"]


class Components:
    """Biconnected components, each after the one that it hangs on.

    Attributes
    ----------
    start : numpy.ndarray
        int32 [k + 1]; component i has the atoms ``atoms[start[i]:start[i + 1]]``.
    atoms : numpy.ndarray
        int32; the first atom of a component is the one that joins it to the earlier ones.
    """

    __slots__ = ("atoms", "start")

    def __init__(self, graph: Graph) -> None:
        self.start, self.atoms = _biconnected(graph.start, graph.neighbor)


def components(graph: Graph) -> Components:
    """Split a connected graph into biconnected components."""
    return Components(graph)


def topological_distances(graph: Graph) -> np.ndarray:
    """Return the numbers of bonds between atoms, int32 [n, n]."""
    distances: np.ndarray = _breadth_first(graph.start, graph.neighbor)
    return distances


def component_distances(graph: Graph, parts: Components, weights: np.ndarray) -> np.ndarray:
    """Return the lengths of shortest paths within each component.

    Parameters
    ----------
    graph : Graph
        Connected.
    parts : Components
        Its components.
    weights : numpy.ndarray
        float64 [k, m], non-negative lengths of the bonds, k sets of them.

    Returns
    -------
    numpy.ndarray
        float64 [k, cells]: for each component a square matrix, one after another.
    """
    distances: np.ndarray = _shortest(graph.start, graph.neighbor, graph.bond, parts.start, parts.atoms, weights)
    return distances


def compose(parts: Components, cells: np.ndarray) -> np.ndarray:
    """Return a matrix of path lengths between all atoms.

    Parameters
    ----------
    parts : Components
        Of a connected graph of n atoms.
    cells : numpy.ndarray
        float64 [cells], the lengths within each component.

    Returns
    -------
    numpy.ndarray
        float64 [n, n].
    """
    matrix: np.ndarray = _compose(parts.start, parts.atoms, cells)
    return matrix


@kernel("int32[:,::1](int32[::1], int32[::1])")
def _breadth_first(start: np.ndarray, neighbor: np.ndarray) -> np.ndarray:
    n = len(start) - 1
    distance = np.full((n, n), -1, np.int32)
    queue = np.empty(n, np.int32)
    for source in range(n):
        row = distance[source]
        row[source] = 0
        queue[0] = source
        head, tail = 0, 1
        while head < tail:
            atom = queue[head]
            head += 1
            for k in range(start[atom], start[atom + 1]):
                other = neighbor[k]
                if row[other] < 0:
                    row[other] = row[atom] + 1
                    queue[tail] = other
                    tail += 1
    return distance


@kernel("Tuple((int32[::1], int32[::1]))(int32[::1], int32[::1])")
def _biconnected(start: np.ndarray, neighbor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Tarjan's algorithm with an explicit stack. A component is complete when its top atom is left;
    # the order of completion reversed puts each component behind the one that it hangs on.
    n = len(start) - 1
    depth = np.full(n, -1, np.int32)
    low = np.zeros(n, np.int32)
    parent = np.full(n, -1, np.int32)
    cursor = start[:-1].copy()
    trail = np.empty(n, np.int32)  # path from the root
    pending = np.empty(n, np.int32)  # atoms of no component yet, but for its top
    atoms = np.empty(2 * n, np.int32)
    ends = np.empty(n + 1, np.int32)
    n_trail, n_pending, n_atoms, n_parts = 1, 0, 0, 0
    trail[0] = 0
    depth[0] = 0
    while n_trail > 0:
        atom = trail[n_trail - 1]
        if cursor[atom] < start[atom + 1]:
            other = neighbor[cursor[atom]]
            cursor[atom] += 1
            if depth[other] < 0:
                depth[other] = depth[atom] + 1
                low[other] = depth[other]
                parent[other] = atom
                trail[n_trail] = other
                n_trail += 1
                pending[n_pending] = other
                n_pending += 1
            elif other != parent[atom]:
                low[atom] = min(low[atom], depth[other])
            continue
        n_trail -= 1
        top = parent[atom]
        if top < 0:
            continue
        low[top] = min(low[top], low[atom])
        if low[atom] >= depth[top]:
            # In reverse, so that the joining atom comes first when all is turned round.
            while True:
                n_pending -= 1
                atoms[n_atoms] = pending[n_pending]
                n_atoms += 1
                if pending[n_pending] == atom:
                    break
            atoms[n_atoms] = top
            n_atoms += 1
            ends[n_parts] = n_atoms
            n_parts += 1
    starts = np.zeros(n_parts + 1, np.int32)
    for part in range(n_parts):
        starts[part] = n_atoms - ends[n_parts - 1 - part]
    starts[n_parts] = n_atoms
    return starts, atoms[:n_atoms][::-1].copy()


@kernel("float64[:,::1](int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], float64[:,::1])")
def _shortest(
    start: np.ndarray,
    neighbor: np.ndarray,
    bond: np.ndarray,
    part_start: np.ndarray,
    part_atoms: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    n = len(start) - 1
    n_sets = len(weights)
    n_cells = 0
    for part in range(len(part_start) - 1):
        n_cells += (part_start[part + 1] - part_start[part]) ** 2
    result = np.zeros((n_sets, n_cells))
    local = np.full(n, -1, np.int32)  # index within the component
    queue = np.empty(n + 1, np.int32)
    is_queued = np.zeros(n, np.bool_)
    cell = 0
    for part in range(len(part_start) - 1):
        atoms = part_atoms[part_start[part] : part_start[part + 1]]
        size = len(atoms)
        for a in range(size):
            local[atoms[a]] = a
        for which in range(n_sets):
            weight = weights[which]
            for source in range(size):
                # Label correcting: in a ring system of near equal lengths an atom is corrected
                # once or twice.
                length = result[which, cell + source * size : cell + (source + 1) * size]
                length[:] = np.inf
                length[source] = 0.0
                queue[0] = source
                head, n_queued = 0, 1
                while n_queued > 0:
                    here = queue[head]
                    head = head + 1 if head < n else 0
                    n_queued -= 1
                    is_queued[here] = False
                    atom = atoms[here]
                    for k in range(start[atom], start[atom + 1]):
                        there = local[neighbor[k]]
                        if there < 0:
                            continue
                        reach = length[here] + weight[bond[k]]
                        if reach < length[there]:
                            length[there] = reach
                            if not is_queued[there]:
                                is_queued[there] = True
                                tail = head + n_queued
                                queue[tail if tail <= n else tail - n - 1] = there
                                n_queued += 1
            for a in range(size):
                for b in range(a):
                    # The two directions sum in different orders: one of them holds for both.
                    result[which, cell + b * size + a] = result[which, cell + a * size + b]
        for a in range(size):
            local[atoms[a]] = -1
        cell += size * size
    return result


@kernel("float64[:,::1](int32[::1], int32[::1], float64[::1])")
def _compose(part_start: np.ndarray, part_atoms: np.ndarray, cells: np.ndarray) -> np.ndarray:
    n = 1
    for part in range(len(part_start) - 1):
        n += part_start[part + 1] - part_start[part] - 1
    matrix = np.zeros((n, n))
    placed = np.zeros(n, np.int32)
    n_placed, cell = 1, 0
    for part in range(len(part_start) - 1):
        atoms = part_atoms[part_start[part] : part_start[part + 1]]
        size = len(atoms)
        joint = atoms[0]
        if part == 0:
            placed[0] = joint
        for a in range(size):
            for b in range(size):
                matrix[atoms[a], atoms[b]] = cells[cell + a * size + b]
        for a in range(1, size):
            step = matrix[joint, atoms[a]]
            for p in range(n_placed):
                other = placed[p]
                if other != joint:
                    matrix[other, atoms[a]] = matrix[atoms[a], other] = matrix[other, joint] + step
        for a in range(1, size):
            placed[n_placed] = atoms[a]
            n_placed += 1
        cell += size * size
    return matrix
