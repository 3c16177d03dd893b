"""Information contents of the atoms' neighbourhoods, and Bertz's complexity."""

import numpy as np

from periogt_ray.polymer.descriptors.molecule import MoleculeArrays
from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["bertz_complexity", "information_contents"]

N_ORDERS = 6

# Bertz's index tells atoms apart by the distances to so many nearest atoms; bond lengths are 1 / order, here times 12.
_NEAREST = 100
_LENGTH_UNIT = 12.0

_HYDROGEN_MASS = 1.008  # RDKit's


def information_contents(arrays: MoleculeArrays) -> np.ndarray:
    """Return IC, TIC, SIC, BIC, CIC, MIC and ZMIC of orders 0 to 5.

    Atoms are equivalent in order r if the paths of up to r bonds from them spell the same elements,
    degrees and bond types. Bond types are those of one Kekule form, with all hydrogens.

    Returns
    -------
    numpy.ndarray
        float64 [42], NaN where a logarithm or quotient does not exist.
    """
    n_atoms, graph = arrays.n_all_atoms, arrays.full_graph
    n_hydrogens = n_atoms - arrays.n_atoms
    labels = arrays.full_number * 1024 + graph.degree
    types = np.concatenate([arrays.kekule_type, np.ones(n_hydrogens, dtype=np.int64)])
    codes = _neighborhood_codes(graph.start, graph.neighbor, graph.bond, labels, types)
    codes[:, 0] = arrays.full_number
    masses = np.concatenate([arrays.mass, np.full(n_hydrogens, _HYDROGEN_MASS)])
    total_order = arrays.kekule_order.sum() + n_hydrogens
    # Runs of equal codes: where each ends, its length, and its last atom, which stands for it, as isotopes may differ.
    by_order = np.ascontiguousarray(codes.T)
    order = np.argsort(by_order, axis=1, kind="stable")
    ordered = by_order[np.arange(N_ORDERS)[:, None], order]
    is_end = np.ones((N_ORDERS, n_atoms), dtype=bool)
    is_end[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    which, ends = np.nonzero(is_end)
    counts = np.diff(ends, prepend=-1)
    counts[counts <= 0] += n_atoms
    last = order[which, ends]
    shares = counts / n_atoms
    terms = shares * np.log2(shares)
    sums = [
        np.bincount(which, weights, N_ORDERS)
        for weights in (terms, masses[last] * terms, counts * arrays.full_number[last] * terms)
    ]
    content = -sums[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        size, bonding = np.log2(n_atoms), np.log2(total_order)
        result = np.stack(
            [content, n_atoms * content, content / size, content / bonding, size - content, -sums[1], -sums[2]]
        )
    if size == 0.0:
        result[2] = np.nan
    if not bonding or not np.isfinite(bonding):
        result[3] = np.nan
    return result.ravel()


def bertz_complexity(arrays: MoleculeArrays) -> float:
    """Return Bertz's complexity: information in the kinds of connections and in the elements."""
    if arrays.n_atoms < 2:
        return 0.0
    order = np.where(arrays.bond_is_aromatic, 1.5, arrays.bond_order)
    graph = arrays.graph
    with np.errstate(divide="ignore"):
        lengths = np.rint(_LENGTH_UNIT / arrays.bond_order).astype(np.int64)
    nearest = _nearest_lengths(graph.start, graph.neighbor, graph.bond, lengths, min(_NEAREST, arrays.n_atoms))
    symmetry = np.unique(nearest, return_inverse=True)[1]
    keys, shares = _connections(
        graph.start, graph.neighbor, graph.bond, arrays.begin, arrays.end, order, symmetry.astype(np.int64)
    )
    amounts = np.bincount(np.unique(keys, return_inverse=True)[1], shares) if len(keys) else np.ones(1)
    total = amounts.sum()
    elements = np.bincount(arrays.number)
    elements = elements[elements > 0].astype(np.float64)
    return float(total * (_entropy(amounts) + np.log2(total)) + arrays.n_atoms * _entropy(elements))


def _entropy(amounts: np.ndarray) -> float:
    shares = amounts / amounts.sum()
    return float(-(shares * np.log2(shares)).sum())


@kernel(
    "Tuple((int64[::1], float64[::1]))"
    "(int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], float64[::1], int64[::1])"
)
def _connections(
    start: np.ndarray,
    neighbor: np.ndarray,
    bond: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    order: np.ndarray,
    symmetry: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    # Pairs of bonds on an atom, of three classes of atoms, and pairs within a multiple bond, of two.
    n, m = len(start) - 1, len(begin)
    n_pairs = m
    for atom in range(n):
        degree = start[atom + 1] - start[atom]
        n_pairs += degree * (degree - 1) // 2
    keys = np.empty(n_pairs, np.int64)
    amounts = np.empty(n_pairs)
    base, count = n + 1, 0
    for k in range(m):
        if order[k] > 1.0:
            a, b = symmetry[begin[k]], symmetry[end[k]]
            keys[count] = (min(a, b) * base + n) * base + max(a, b)
            amounts[count] = order[k] * (order[k] - 1.0) / 2.0
            count += 1
    for atom in range(n):
        for i in range(start[atom], start[atom + 1]):
            for j in range(i + 1, start[atom + 1]):
                a, b = symmetry[neighbor[i]], symmetry[neighbor[j]]
                keys[count] = (min(a, b) * base + symmetry[atom]) * base + max(a, b)
                amounts[count] = order[bond[i]] * order[bond[j]]
                count += 1
    return keys[:count].copy(), amounts[:count].copy()


@kernel_part("uint64(uint64)")
def _mix(value: np.uint64) -> np.uint64:
    # SplitMix64's finaliser: every bit of the input moves half of the output's.
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel("uint64[:,::1](int32[::1], int32[::1], int32[::1], int64[::1], int64[::1])")
def _neighborhood_codes(
    start: np.ndarray, neighbor: np.ndarray, bond: np.ndarray, labels: np.ndarray, types: np.ndarray
) -> np.ndarray:
    # A code of 64 bits for the multiset of paths that lead from an atom to the leaves of a tree. The tree
    # grows level by level; an atom becomes a leaf once for each atom of the level before that has not
    # seen it, and atoms count as seen when they are expanded. So rings of even size end in two leaves.
    n = len(start) - 1
    codes = np.zeros((n, 6), np.uint64)
    seen = np.full(n, -1, np.int32)
    capacity = 1024
    leaf = np.empty((2, capacity), np.int32)
    spelled = np.empty((2, capacity), np.uint64)
    for root in range(n):
        leaf[0, 0] = root
        spelled[0, 0] = _mix(np.uint64(labels[root]) + np.uint64(0x9E3779B97F4A7C15))
        n_leaves, now = 1, 0
        for order in range(1, 6):
            n_grown, code = 0, np.uint64(0)
            following = 1 - now
            for index in range(n_leaves):
                atom, path = leaf[now, index], spelled[now, index]
                seen[atom] = root
                is_end = True
                if n_grown + start[atom + 1] - start[atom] + 1 >= capacity:
                    larger_leaf = np.empty((2, 2 * capacity), np.int32)
                    larger_spelled = np.empty((2, 2 * capacity), np.uint64)
                    larger_leaf[:, :capacity] = leaf
                    larger_spelled[:, :capacity] = spelled
                    leaf, spelled, capacity = larger_leaf, larger_spelled, 2 * capacity
                for k in range(start[atom], start[atom + 1]):
                    other = neighbor[k]
                    if seen[other] == root:
                        continue
                    is_end = False
                    step = np.uint64(types[bond[k]]) * np.uint64(0x632BE59BD9B4E019) + np.uint64(labels[other])
                    grown = _mix(path * np.uint64(0xD1342543DE82EF95) + _mix(step))
                    leaf[following, n_grown] = other
                    spelled[following, n_grown] = grown
                    code += _mix(grown)
                    n_grown += 1
                if is_end:
                    leaf[following, n_grown] = atom
                    spelled[following, n_grown] = path
                    code += _mix(path)
                    n_grown += 1
            codes[root, order] = code
            n_leaves, now = n_grown, following
    return codes


@kernel("uint64[::1](int32[::1], int32[::1], int32[::1], int64[::1], int64)")
def _nearest_lengths(
    start: np.ndarray, neighbor: np.ndarray, bond: np.ndarray, lengths: np.ndarray, n_nearest: int
) -> np.ndarray:
    # Dijkstra's algorithm from every atom until the n nearest are final; lengths ascend as they become so. A code of
    # 64 bits stands for an atom's sequence of them.
    n = len(start) - 1
    codes = np.zeros(n, np.uint64)
    heap = np.empty(4 * len(neighbor) + 4, np.int64)  # length * n + atom
    final = np.full(n, -1, np.int32)
    for source in range(n):
        heap[0] = source
        n_heap, n_final = 1, 0
        while n_final < n_nearest and n_heap > 0:
            top = heap[0]
            n_heap -= 1
            value = heap[n_heap]
            hole = 0
            while True:
                child = 2 * hole + 1
                if child >= n_heap:
                    break
                if child + 1 < n_heap and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[hole] = heap[child]
                hole = child
            heap[hole] = value
            length, atom = top // n, top % n
            if final[atom] == source:
                continue
            final[atom] = source
            codes[source] = _mix(codes[source] * np.uint64(0xD1342543DE82EF95) + np.uint64(length))
            n_final += 1
            for k in range(start[atom], start[atom + 1]):
                other = neighbor[k]
                if final[other] == source:
                    continue
                value = (length + lengths[bond[k]]) * n + other
                hole = n_heap
                n_heap += 1
                while hole > 0 and heap[(hole - 1) // 2] > value:
                    heap[hole] = heap[(hole - 1) // 2]
                    hole = (hole - 1) // 2
                heap[hole] = value
    return codes
