"""Descriptors that sum over short paths and small connected subgraphs: chi, kappa, path counts.

Bonds to hydrogen atoms are left out.
"""

import math
from typing import NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.descriptors.molecule import Graph, MoleculeArrays
from periogt_ray.polymer.kernels import kernel
from periogt_ray.polymer.limits import MAX_FRAGMENT_STEPS

__all__ = ["fragment_descriptors"]


class _Paths(NamedTuple):
    """Sums over all simple paths of k = 0..10 bonds, each path once."""

    counts: np.ndarray  # float64 [11]
    order_products: np.ndarray  # float64 [11], products of the bond orders
    chi: np.ndarray  # float64 [2, 8], products of the deltas to the power -1/2
    is_undefined: np.ndarray  # bool [2, 8], a product is not positive


def fragment_descriptors(arrays: MoleculeArrays, deltas: np.ndarray) -> dict[str, np.ndarray]:
    """Return the blocks ``chi``, ``kappa`` and ``path_count``.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    deltas : numpy.ndarray
        float64 [2, n], the atoms' sigma and valence electrons.

    Raises
    ------
    ValidationError
        If an enumeration needs more than 100 million steps.
    """
    is_heavy = (arrays.number[arrays.begin] != 1) & (arrays.number[arrays.end] != 1)
    begin, end = arrays.begin[is_heavy], arrays.end[is_heavy]
    graph = arrays.graph if is_heavy.all() else Graph.from_bonds(arrays.n_atoms, begin, end)
    *sums, n_steps = _walk_paths(
        graph.start, graph.neighbor, graph.bond, arrays.bond_order[is_heavy], deltas, MAX_FRAGMENT_STEPS
    )
    _check(n_steps, "paths of up to 10 bonds")
    paths = _Paths(*sums)
    return {
        "chi": _chi(graph, np.stack([begin, end]), deltas, paths),
        "kappa": _kappa(arrays.n_atoms, paths.counts),
        "path_count": _path_count(arrays.n_atoms, paths),
    }


def _check(n_steps: int, what: str) -> None:
    if n_steps > MAX_FRAGMENT_STEPS:
        raise ValidationError(
            f"The oligomer has too many {what}: more than {MAX_FRAGMENT_STEPS} steps. "
            "Give a repeat unit that is smaller or less branched."
        )


def _chi(graph: Graph, bonds: np.ndarray, deltas: np.ndarray, paths: _Paths) -> np.ndarray:
    sums, undefined, n_steps = _walk_subgraphs(
        graph.start, graph.bond, np.ascontiguousarray(bonds), deltas, MAX_FRAGMENT_STEPS
    )
    _check(n_steps, "connected subgraphs of up to 7 bonds")
    sums[undefined] = np.nan
    chain, cluster, path_cluster = sums
    path = np.where(paths.is_undefined, np.nan, paths.chi)
    with np.errstate(divide="ignore", invalid="ignore"):
        average = path / paths.counts[:8]
    return np.concatenate(
        [
            chain[:, 3:8].ravel(), cluster[:, 3:7].ravel(), path_cluster[:, 4:7].ravel(),
            path[0], average[0], path[1], average[1],
        ]
    )  # fmt: skip


def _kappa(n_atoms: int, counts: np.ndarray) -> np.ndarray:
    largest = (
        0.5 * n_atoms * (n_atoms - 1),
        0.5 * (n_atoms - 1) * (n_atoms - 2),
        0.25 * (n_atoms - 2) ** 2 if n_atoms % 2 == 0 else 0.25 * (n_atoms - 1) * (n_atoms - 3),
    )
    factors = (2, 2, 4)
    return np.array(
        [
            factors[k] * largest[k] * (n_atoms - k - 1) / counts[k + 1] ** 2 if counts[k + 1] else np.nan
            for k in range(3)
        ]
    )


def _path_count(n_atoms: int, paths: _Paths) -> np.ndarray:
    counts, products = paths.counts[1:], paths.order_products[1:]
    return np.concatenate(
        [counts[1:], [n_atoms + counts.sum()], np.log(products + 1.0), [math.log(n_atoms + products.sum() + 1.0)]]
    )


@kernel(
    "Tuple((float64[::1], float64[::1], float64[:,::1], boolean[:,::1], int64))"
    "(int32[::1], int32[::1], int32[::1], float64[::1], float64[:,::1], int64)"
)
def _walk_paths(
    start: np.ndarray, neighbor: np.ndarray, bond: np.ndarray, order: np.ndarray, deltas: np.ndarray, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    # Depth-first from every atom; a path is met from both ends and counted from the lower one.
    n = len(start) - 1
    counts = np.zeros(11)
    order_products = np.zeros(11)
    chi = np.zeros((2, 8))
    is_undefined = np.zeros((2, 8), np.bool_)
    trail = np.empty(11, np.int32)
    cursor = np.empty(11, np.int32)
    product = np.empty((3, 11))
    is_visited = np.zeros(n, np.bool_)
    n_steps = 0
    for source in range(n):
        counts[0] += 1.0
        order_products[0] += 1.0
        for which in range(2):
            delta = deltas[which, source]
            product[which, 0] = delta
            if delta > 0.0:
                chi[which, 0] += 1.0 / np.sqrt(delta)
            else:
                is_undefined[which, 0] = True
        product[2, 0] = 1.0
        trail[0] = source
        cursor[0] = start[source]
        is_visited[source] = True
        depth = 0
        while depth >= 0:
            here = trail[depth]
            k = cursor[depth]
            if k == start[here + 1] or depth == 10:
                is_visited[here] = False
                depth -= 1
                continue
            cursor[depth] += 1
            there = neighbor[k]
            if is_visited[there]:
                continue
            n_steps += 1
            depth += 1
            product[2, depth] = product[2, depth - 1] * order[bond[k]]
            if depth < 8:
                product[0, depth] = product[0, depth - 1] * deltas[0, there]
                product[1, depth] = product[1, depth - 1] * deltas[1, there]
            if source < there:
                counts[depth] += 1.0
                order_products[depth] += product[2, depth]
                if depth < 8:
                    for which in range(2):
                        if product[which, depth] > 0.0:
                            chi[which, depth] += 1.0 / np.sqrt(product[which, depth])
                        else:
                            is_undefined[which, depth] = True
            trail[depth] = there
            cursor[depth] = start[there]
            is_visited[there] = True
        if n_steps > max_steps:
            break
    return counts, order_products, chi, is_undefined, n_steps


@kernel(
    "Tuple((float64[:,:,::1], boolean[:,:,::1], int64))(int32[::1], int32[::1], int32[:,::1], float64[:,::1], int64)"
)
def _walk_subgraphs(
    start: np.ndarray, bond: np.ndarray, bonds: np.ndarray, deltas: np.ndarray, max_steps: int
) -> tuple[np.ndarray, np.ndarray, int]:
    # Every connected set of 1..7 bonds once: grown from its lowest bond by candidates, adjacent bonds
    # in order of discovery; a candidate passed over stays out of all that is grown later.
    # Sorted into with a cycle (0), clusters without (1) and with (2) an atom of two bonds; paths are left out,
    # and of the largest only those with a cycle are looked for.
    n = len(start) - 1
    m = bonds.shape[1]
    sums = np.zeros((3, 2, 8))
    undefined = np.zeros((3, 2, 8), np.bool_)
    candidate = np.empty(m + 1, np.int32)
    is_known = np.zeros(m, np.bool_)
    degree = np.zeros(n, np.int32)
    first = np.zeros(9, np.int32)  # next candidate, by level
    last = np.zeros(9, np.int32)  # end of the candidates, by level
    chosen = np.zeros(9, np.int32)
    product = np.ones((2, 9))
    n_cycles = np.zeros(9, np.int32)
    n_two = np.zeros(9, np.int32)  # atoms of two bonds
    n_more = np.zeros(9, np.int32)  # atoms of three and more
    n_steps = 0
    for root in range(m):
        is_known[root] = True
        candidate[0] = root
        first[0], last[0] = 0, 1
        product[0, 0] = product[1, 0] = 1.0
        n_cycles[0] = n_two[0] = n_more[0] = 0
        level = 0  # bonds chosen
        while level >= 0:
            if first[level] == last[level]:
                if level == 0:
                    break
                # Leave this level: forget the candidates it found, take its bond out.
                for k in range(last[level - 1], last[level]):
                    is_known[candidate[k]] = False
                edge = chosen[level]
                degree[bonds[0, edge]] -= 1
                degree[bonds[1, edge]] -= 1
                level -= 1
                continue
            edge = candidate[first[level]]
            first[level] += 1
            n_steps += 1
            a, b = bonds[0, edge], bonds[1, edge]
            is_closing = degree[a] > 0 and degree[b] > 0
            if level == 6 and not is_closing and n_cycles[level] == 0:
                continue
            level += 1
            n_cycles[level] = n_cycles[level - 1] + is_closing
            n_two[level] = n_two[level - 1]
            n_more[level] = n_more[level - 1]
            product[0, level] = product[0, level - 1]
            product[1, level] = product[1, level - 1]
            for side in range(2):
                atom = bonds[side, edge]
                degree[atom] += 1
                if degree[atom] == 1:
                    product[0, level] *= deltas[0, atom]
                    product[1, level] *= deltas[1, atom]
                elif degree[atom] == 2:
                    n_two[level] += 1
                elif degree[atom] == 3:
                    n_two[level] -= 1
                    n_more[level] += 1
            kind = -1
            if n_cycles[level] > 0:
                kind = 0
            elif n_more[level] > 0:
                kind = 2 if n_two[level] > 0 else 1
            if kind >= 0:
                for which in range(2):
                    if product[which, level] > 0.0:
                        sums[kind, which, level] += 1.0 / np.sqrt(product[which, level])
                    else:
                        undefined[kind, which, level] = True
            chosen[level] = edge
            first[level] = first[level - 1]
            last[level] = last[level - 1]
            if level == 7:
                first[level] = last[level]
                continue
            for side in range(2):
                atom = bonds[side, edge]
                for k in range(start[atom], start[atom + 1]):
                    other = bond[k]
                    if not is_known[other]:
                        is_known[other] = True
                        candidate[last[level]] = other
                        last[level] += 1
        if n_steps > max_steps:
            break
    return sums, undefined, n_steps
