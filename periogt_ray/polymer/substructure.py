"""The first substructure match of RDKit, within a bounded number of steps.

Bonds of prompt graphs get their classes from one match among many: the first that RDKit's search (VF2)
comes upon. That search undoes its latest choice wherever it gets stuck, though that choice often has no
part in the failure: where a match of three repeat units was begun too near the end of a chain of
five, it goes through all permutations of fluorine atoms and flips of phenylene rings before it begins
elsewhere, in a time exponential in their number.

Here the same tree of choices is searched in the same order, but each failure is traced to the choices
that caused it (conflict-directed backjumping; P. Prosser, Computational Intelligence 9, 268, 1993), the
latest of them is undone, and the set is remembered, so that it is not tried again. As nothing is
left out that leads to a match, the first match is the same. Whether atoms and bonds fit is RDKit's own verdict.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.kernels import kernel, kernel_part
from periogt_ray.polymer.limits import MAX_MATCH_STEPS
from periogt_ray.polymer.molecule_table import bond_ends

__all__ = ["SubstructureSearch"]

_MAX_FAILURES = 65_536  # that are remembered
_MAX_CHOICES = 4  # in a remembered failure, besides its latest
_NONE = -1


class _Order(NamedTuple):
    """A query's atoms in the order of the search; an atom's depth is its place there.

    A link goes from an atom to one of smaller depth; of each atom's links the first is the one
    whose partner's neighbours are the candidates.
    """

    atoms: np.ndarray  # int32 [A], by depth
    degrees: np.ndarray  # int32 [A]
    link_start: np.ndarray  # int32 [A + 1]
    link_depth: np.ndarray  # int32 [L], of the other atom
    link_row: np.ndarray  # int32 [L], of the table of fitting arcs, from the other atom to this


class SubstructureSearch:
    """Searches a molecule for queries.

    An arc is a bond in one of its two directions.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        The molecule that is searched. It must not be changed later.
    ends : tuple of numpy.ndarray, optional
        First and second atom of each bond, if they are known.
    """

    def __init__(self, mol: Chem.Mol, ends: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        self._mol = mol
        pairs_of_ends = np.array(bond_ends(mol) if ends is None else ends, dtype=np.int32).T
        tails, heads = pairs_of_ends.ravel(), pairs_of_ends[:, ::-1].ravel()
        # RDKit visits an atom's neighbours in the order of its bonds, which is that of their indices.
        order = np.argsort(tails, kind="stable")
        self._start = np.searchsorted(tails[order], np.arange(mol.GetNumAtoms() + 1)).astype(np.int32)
        self._head = np.ascontiguousarray(heads[order])
        pairs = zip(tails[order].tolist(), self._head.tolist(), strict=True)
        self._arcs = {pair: arc for arc, pair in enumerate(pairs)}
        # Rows come in pairs: the arcs that fit a bond of a query from its begin to its end, and back.
        self._rows: dict[tuple[str, str, str], int] = {}
        self._fits: list[np.ndarray] = []

    def first_match(self, query: Chem.Mol) -> tuple[int, ...]:
        """Return the atoms that RDKit's ``GetSubstructMatch`` returns.

        Parameters
        ----------
        query : rdkit.Chem.Mol
            From SMARTS, in one fragment, with at least one bond; without recursive parts.

        Returns
        -------
        tuple of int
            For each atom of the query its partner, empty if there is no match.

        Raises
        ------
        ValidationError
            If the search takes more than ``MAX_MATCH_STEPS`` steps.
        """
        match = self._search(self._order(query))
        return () if match is None else tuple(match.tolist())

    def first_match_of_patterns(
        self, atoms: Sequence[str], begins: np.ndarray, ends: np.ndarray, bonds: Sequence[str]
    ) -> np.ndarray | None:
        """Return the atoms that RDKit's ``GetSubstructMatch`` returns for a query that is given in parts.

        Parameters
        ----------
        atoms : sequence of str
            SMARTS of each atom of the query.
        begins, ends : numpy.ndarray
            int32 [bonds], indices of the bonds' atoms.
        bonds : sequence of str
            SMARTS of each bond.

        Returns
        -------
        numpy.ndarray or None
            int32, for each atom of the query its partner; None if there is no match, or a pattern is not valid.

        Raises
        ------
        ValidationError
            If the search takes more than ``MAX_MATCH_STEPS`` steps.
        """
        rows = []
        for begin, end, bond in zip(begins.tolist(), ends.tolist(), bonds, strict=True):
            key = atoms[begin], bond, atoms[end]
            if (row := self._rows.get(key)) is None:
                pattern = _pattern("".join(key))
                if pattern is None:
                    return None
                row = self._rows[key] = self._new_rows(pattern)
            rows.append(row)
        return self._search(_Order(*_order_atoms(len(atoms), begins, ends, np.array(rows, dtype=np.int32))))

    def _search(self, order: _Order) -> np.ndarray | None:
        """Return each atom's partner, None if there is no match."""
        partners, n_steps = _search(
            (self._start, self._head),
            (order.degrees, order.link_start, order.link_depth, order.link_row, np.array(self._fits)),
            MAX_MATCH_STEPS,
        )
        if n_steps > MAX_MATCH_STEPS:
            raise ValidationError(
                f"A prompt graph of {len(order.atoms)} atoms is not found in a chain of the repeat unit within "
                f"{MAX_MATCH_STEPS} steps, as too many of its parts look alike. "
                "Give a smaller or less symmetric repeat unit."
            )
        if partners[0] == _NONE:
            return None
        match = np.empty_like(partners)
        match[order.atoms] = partners
        return match

    def _order(self, query: Chem.Mol) -> _Order:
        """Order the atoms: first 0, then always the smallest index among the neighbours of those before."""
        kinds = list(map(Chem.Atom.DescribeQuery, atoms_of(query)))
        bonds = bonds_of(query)
        begins, ends = list(map(Chem.Bond.GetBeginAtomIdx, bonds)), list(map(Chem.Bond.GetEndAtomIdx, bonds))
        rows = []
        for bond, begin, end, kind in zip(bonds, begins, ends, map(Chem.Bond.DescribeQuery, bonds), strict=True):
            key = kinds[begin], kind, kinds[end]
            if (row := self._rows.get(key)) is None:
                row = self._rows[key] = self._new_rows(_pattern_of(bond))
            rows.append(row)
        arrays = (np.array(values, dtype=np.int32) for values in (begins, ends, rows))
        return _Order(*_order_atoms(len(kinds), *arrays))

    def _new_rows(self, pattern: Chem.Mol) -> int:
        """Look up the arcs that fit a bond, a query of two atoms, and return the index of the first row."""
        fits = np.zeros((2, len(self._head)), dtype=np.bool_)
        for tail, head in self._mol.GetSubstructMatches(pattern, uniquify=False, maxMatches=len(self._head)):
            fits[0, self._arcs[tail, head]] = fits[1, self._arcs[head, tail]] = True
        self._fits.extend(fits)
        return len(self._fits) - 2


@functools.lru_cache(maxsize=1024)
def _pattern(smarts: str) -> Chem.Mol | None:
    """Parse a SMARTS; the few kinds of bonds come up in polymer after polymer."""
    return Chem.MolFromSmarts(smarts)


def _pattern_of(bond: Chem.Bond) -> Chem.Mol:
    """Return a query of a query's bond and its two atoms."""
    pattern = Chem.RWMol()
    pattern.AddAtom(bond.GetBeginAtom())
    pattern.AddAtom(bond.GetEndAtom())
    pattern.AddBond(0, 1, Chem.BondType.SINGLE)
    pattern.ReplaceBond(0, bond)
    return pattern


# What the kernels hand each other, in numba's notation; here A is the number of atoms of the query.
# Neighbours of the searched molecule's atoms, one after another: start, head.
_MOL = "Tuple((int32[::1], int32[::1]))"
# See _Order: degrees, link_start, link_depth, link_row; and the table of fitting arcs.
_QUERY = "Tuple((int32[::1], int32[::1], int32[::1], int32[::1], boolean[:,::1]))"
# By depth the partner, the next candidate's place and the depths whose choices made candidates fail [A, A];
# by atom of the molecule the depth that it is the partner of.
_STATE = "Tuple((int32[::1], int32[::1], boolean[:,::1], int32[::1]))"
# Remembered failures, in linked lists by their latest choice: heads [A, atoms], next ones, and the other choices
# [failures, 4, 2] as depth and partner. Then two counts: steps, failures.
_MEMORY = "Tuple((int32[:,::1], int32[::1], int32[:,:,::1], int64[::1]))"


@kernel(
    "Tuple((int32[::1], int32[::1], int32[::1], int32[::1], int32[::1]))(int64, int32[::1], int32[::1], int32[::1])"
)
def _order_atoms(n: int, begins: np.ndarray, ends: np.ndarray, rows: np.ndarray) -> Any:
    """Return the fields of an order from the atoms of a query's bonds and their first rows."""
    m = len(begins)
    start = np.zeros(n + 1, np.int32)
    for bond in range(m):
        start[begins[bond] + 1] += 1
        start[ends[bond] + 1] += 1
    for atom in range(n):
        start[atom + 1] += start[atom]
    other, row, filled = np.empty(2 * m, np.int32), np.empty(2 * m, np.int32), start.copy()
    for bond in range(m):
        begin, end = begins[bond], ends[bond]
        other[filled[end]], row[filled[end]] = begin, rows[bond]
        filled[end] += 1
        other[filled[begin]], row[filled[begin]] = end, rows[bond] + 1
        filled[begin] += 1
    atoms, degrees, link_start = np.empty(n, np.int32), np.empty(n, np.int32), np.zeros(n + 1, np.int32)
    link_depth, link_row = np.empty(m, np.int32), np.empty(m, np.int32)
    depths, is_queued = np.full(n, _NONE, np.int32), np.zeros(n, np.bool_)
    is_queued[0] = True
    n_links = 0
    for depth in range(n):
        atom = 0
        while not is_queued[atom] or depths[atom] != _NONE:
            atom += 1
        depths[atom], atoms[depth], degrees[depth] = depth, atom, start[atom + 1] - start[atom]
        for link in range(start[atom], start[atom + 1]):
            if depths[other[link]] != _NONE:
                link_depth[n_links], link_row[n_links] = depths[other[link]], row[link]
                n_links += 1
            is_queued[other[link]] = True
        link_start[depth + 1] = n_links
    return atoms, degrees, link_start, link_depth, link_row


@kernel_part(f"boolean(int64, int64, {_MOL}, {_QUERY}, {_STATE})")
def _is_linked(depth: int, atom: int, mol: Any, query: Any, state: Any) -> bool:
    """Whether bonds that close rings fit; if not, the partner at the other end is to blame."""
    start, head = mol
    _, link_start, link_depth, link_row, fits = query
    partner, _, blame, _ = state
    for link in range(link_start[depth] + 1, link_start[depth + 1]):
        other = partner[link_depth[link]]
        is_found = False
        for arc in range(start[other], start[other + 1]):
            if head[arc] == atom:
                is_found = fits[link_row[link], arc]
        if not is_found:
            blame[depth, link_depth[link]] = True
            return False
    return True


@kernel_part(f"boolean(int64, int64, {_STATE}, {_MEMORY})")
def _has_failed(depth: int, atom: int, state: Any, memory: Any) -> bool:
    """Whether a choice completes a remembered failure; if so, the failure's other choices are to blame."""
    partner, _, blame, _ = state
    latest, following, others, counts = memory
    failure = latest[depth, atom]
    while failure != _NONE:
        counts[0] += 1
        n_same = 0
        while n_same < _MAX_CHOICES and (
            others[failure, n_same, 0] == _NONE or partner[others[failure, n_same, 0]] == others[failure, n_same, 1]
        ):
            n_same += 1
        if n_same == _MAX_CHOICES:
            for index in range(_MAX_CHOICES):
                if others[failure, index, 0] != _NONE:
                    blame[depth, others[failure, index, 0]] = True
            return True
        failure = following[failure]
    return False


@kernel_part(f"void(int64, boolean[::1], int32[::1], {_MEMORY})")
def _remember(culprit: int, blame: np.ndarray, partner: np.ndarray, memory: Any) -> None:
    """Remember the choices that a failure is due to, unless they are too many."""
    latest, following, others, counts = memory
    failure = counts[1]
    if failure == _MAX_FAILURES:
        return
    n_others = 0
    for depth in range(culprit):
        if blame[depth]:
            if n_others == _MAX_CHOICES:
                return
            others[failure, n_others, 0], others[failure, n_others, 1] = depth, partner[depth]
            n_others += 1
    others[failure, n_others:, 0] = _NONE
    following[failure] = latest[culprit, partner[culprit]]
    latest[culprit, partner[culprit]] = failure
    counts[1] += 1


@kernel_part(f"int64(int64, {_MOL}, {_QUERY}, {_STATE}, {_MEMORY})")
def _next_choice(depth: int, mol: Any, query: Any, state: Any, memory: Any) -> int:
    """Return the next candidate that the choices so far allow, -1 if there is none."""
    start, head = mol
    degrees, link_start, link_depth, link_row, fits = query
    partner, cursor, blame, taken_by = state
    link = link_start[depth]
    stop = start[partner[link_depth[link]] + 1] if depth > 0 else len(start) - 1
    while cursor[depth] < stop:
        place = cursor[depth]
        cursor[depth] += 1
        memory[3][0] += 1
        atom = head[place] if depth > 0 else place
        if depth > 0 and not fits[link_row[link], place]:
            continue
        if start[atom + 1] - start[atom] < degrees[depth]:
            continue
        if taken_by[atom] != _NONE:
            blame[depth, taken_by[atom]] = True
        elif _is_linked(depth, atom, mol, query, state) and not _has_failed(depth, atom, state, memory):
            return atom
    return _NONE


@kernel(f"Tuple((int32[::1], int64))({_MOL}, {_QUERY}, int64)")
def _search(mol: Any, query: Any, max_steps: int) -> tuple[np.ndarray, int]:
    """Return the partners by depth, the first -1 where there is no match, and the number of steps."""
    n, n_atoms = len(query[0]), len(mol[0]) - 1
    start, link_start, link_depth = mol[0], query[1], query[2]
    partner, cursor = np.full(n, _NONE, np.int32), np.zeros(n, np.int32)
    blame = np.zeros((n, n), np.bool_)
    taken_by = np.full(n_atoms, _NONE, np.int32)
    state = partner, cursor, blame, taken_by
    others = np.empty((_MAX_FAILURES, _MAX_CHOICES, 2), np.int32)
    counts = np.zeros(2, np.int64)
    memory = np.full((n, n_atoms), _NONE, np.int32), np.empty(_MAX_FAILURES, np.int32), others, counts
    depth = 0
    while counts[0] <= max_steps:
        atom = _next_choice(depth, mol, query, state, memory)
        if atom != _NONE:
            partner[depth], taken_by[atom] = atom, depth
            depth += 1
            if depth == n:
                return partner, counts[0]
            parent = link_depth[link_start[depth]]
            cursor[depth] = start[partner[parent]]
            blame[depth, :] = False
            blame[depth, parent] = True
            continue
        culprit = depth - 1
        while culprit >= 0 and not blame[depth, culprit]:
            culprit -= 1
        if culprit < 0:
            break
        _remember(culprit, blame[depth], partner, memory)
        blame[culprit, :culprit] |= blame[depth, :culprit]
        for undone in range(culprit, depth):
            taken_by[partner[undone]] = _NONE
        depth = culprit
    partner[0] = _NONE
    return partner, counts[0]
