"""Longest simple paths between atoms (detours), and sums over all simple paths (molecular id).

Neither has a polynomial algorithm within a ring system, so all simple paths of each biconnected
component are walked once; the work is bounded by a count of steps for a component. As repeat units
are joined by single bonds to neighbours, no component is larger than a repeat unit, and the verdict is
the same for all oligomers of a polymer. Between components both quantities follow in linear time.
"""

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.descriptors.distances import Components
from periogt_ray.polymer.descriptors.molecule import Graph, MoleculeArrays
from periogt_ray.polymer.kernels import kernel
from periogt_ray.polymer.limits import MAX_PATH_STEPS

__all__ = ["SimplePaths", "molecular_ids"]

_HALOGENS = (9, 17, 35, 53, 85, 117)


class SimplePaths:
    """What is known of the simple paths within each biconnected component.

    Attributes
    ----------
    longest : numpy.ndarray
        float64, for each component a square matrix of the lengths of longest paths, one after another.
    sums : numpy.ndarray
        float64, likewise the sums over all paths of the product of (d_a d_b)^-1/2 over their bonds,
        where d are the numbers of neighbours.

    Raises
    ------
    ValidationError
        If a component takes more than 20 million steps.
    """

    __slots__ = ("longest", "parts", "sums")

    def __init__(self, graph: Graph, parts: Components) -> None:
        self.parts = parts
        self.longest, self.sums, n_steps = _search(
            graph.start, graph.neighbor, parts.start, parts.atoms, MAX_PATH_STEPS
        )
        if n_steps > MAX_PATH_STEPS:
            raise ValidationError(
                f"A ring system of the repeat unit has too many paths (the largest has "
                f"{int(np.diff(parts.start).max())} atoms): its longest ones are not found within "
                f"{MAX_PATH_STEPS} steps. Give a repeat unit with fewer rings fused to each other."
            )


def molecular_ids(arrays: MoleculeArrays, paths: SimplePaths) -> np.ndarray:
    """Return the molecular id and its mean; then those of hetero atoms, C, N, O and halogens, float64 [12].

    mordred leaves out whatever follows a path of weight 1e-10; that is below a millionth of the sum.
    """
    number = arrays.number
    ids = 1.0 + 0.5 * _totals(paths.parts.start, paths.parts.atoms, paths.sums, arrays.n_atoms)
    groups = (
        np.ones(arrays.n_atoms, dtype=bool), (number != 1) & (number != 6), number == 6, number == 7, number == 8,
        np.isin(number, _HALOGENS),
    )  # fmt: skip
    sums = np.array([ids[group].sum() for group in groups])
    return np.stack([sums, sums / arrays.n_atoms], axis=1).ravel()


@kernel("Tuple((float64[::1], float64[::1], int64))(int32[::1], int32[::1], int32[::1], int32[::1], int64)")
def _search(
    start: np.ndarray, neighbor: np.ndarray, part_start: np.ndarray, part_atoms: np.ndarray, max_steps: int
) -> tuple[np.ndarray, np.ndarray, int]:
    # Depth-first from every atom of a component, with an explicit stack.
    n = len(start) - 1
    n_cells, max_degree = 0, 0
    for part in range(len(part_start) - 1):
        n_cells += (part_start[part + 1] - part_start[part]) ** 2
    root = np.empty(n)
    for atom in range(n):
        degree = start[atom + 1] - start[atom]
        max_degree = max(max_degree, degree)
        root[atom] = 1.0 / np.sqrt(degree) if degree > 0 else 1.0
    longest = np.zeros(n_cells)
    sums = np.zeros(n_cells)
    local = np.full(n, -1, np.int32)
    near = np.empty((n, max_degree), np.int32)
    n_near = np.empty(n, np.int32)
    weight = np.empty(n)
    cursor = np.empty(n, np.int32)
    trail = np.empty(n, np.int32)
    product = np.empty(n)
    is_visited = np.zeros(n, np.bool_)
    cell, n_steps = 0, 0
    for part in range(len(part_start) - 1):
        atoms = part_atoms[part_start[part] : part_start[part + 1]]
        size = len(atoms)
        for a in range(size):
            local[atoms[a]] = a
            weight[a] = root[atoms[a]]
        for a in range(size):
            n_near[a] = 0
            for k in range(start[atoms[a]], start[atoms[a] + 1]):
                if local[neighbor[k]] >= 0:
                    near[a, n_near[a]] = local[neighbor[k]]
                    n_near[a] += 1
        n_steps = 0
        for source in range(size):
            row = cell + source * size
            trail[0] = source
            cursor[0] = 0
            product[0] = 1.0
            is_visited[source] = True
            depth = 0
            while depth >= 0:
                here = trail[depth]
                if cursor[depth] == n_near[here]:
                    is_visited[here] = False
                    depth -= 1
                    continue
                there = near[here, cursor[depth]]
                cursor[depth] += 1
                n_steps += 1
                if is_visited[there]:
                    continue
                depth += 1
                product[depth] = product[depth - 1] * weight[here] * weight[there]
                sums[row + there] += product[depth]
                if depth > longest[row + there]:
                    longest[row + there] = depth
                is_visited[there] = True
                trail[depth] = there
                cursor[depth] = 0
                if n_steps > max_steps:
                    return longest, sums, n_steps
        for a in range(size):
            local[atoms[a]] = -1
        cell += size * size
    return longest, sums, n_steps


@kernel("float64[::1](int32[::1], int32[::1], float64[::1], int64)")
def _totals(part_start: np.ndarray, part_atoms: np.ndarray, sums: np.ndarray, n: int) -> np.ndarray:
    # A path from v into a component ends at one of its atoms or goes on from there into another component:
    # sum over y of sums(v, y) * (1 + what goes on at y). First towards the leaves of the tree of components,
    # then with what lies on the side of the root.
    n_parts = len(part_start) - 1
    total = np.zeros(n)  # at first: into the components that hang on an atom
    into = np.zeros(n_parts)  # from its joint into a component
    cell = len(sums)
    for part in range(n_parts - 1, -1, -1):
        atoms = part_atoms[part_start[part] : part_start[part + 1]]
        size = len(atoms)
        cell -= size * size
        for a in range(1, size):
            into[part] += sums[cell + a] * (1.0 + total[atoms[a]])
        total[atoms[0]] += into[part]
    onward = np.empty(n)
    for part in range(n_parts):
        atoms = part_atoms[part_start[part] : part_start[part + 1]]
        size = len(atoms)
        for a in range(1, size):
            onward[a] = 1.0 + total[atoms[a]]
        onward[0] = 1.0 + total[atoms[0]] - into[part]
        for a in range(1, size):
            for b in range(size):
                if b != a:
                    total[atoms[a]] += sums[cell + a * size + b] * onward[b]
        cell += size * size
    return total
