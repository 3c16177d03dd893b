"""The atoms and bonds of an RDKit molecule as numbers, read all at once.

Each call of RDKit from Python costs a quarter of a microsecond, so asking every atom and bond for each property takes
most of the time that a small molecule takes. RDKit's own binary form (``MolPickler.cpp``) holds them all, and is
made in one call. Its layout may change with RDKit: what does not have the version that is known here, or holds
what is not expected, is read property by property.

::

    header      byte order, 0, version (3), atoms, bonds: int32 each; flags; 1
    an atom     atomic number, flags, int32 of which values follow: a byte each, of the isotope an int32
    11, bonds   begin, end, flags; then, as these say, type, direction, stereo and its atoms
    66, rings   number, int32; of each the size and the atoms

Indices and sizes are bytes in a molecule of up to 255 atoms, int32 in a larger one.
"""

import functools
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase

from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["MoleculeTable", "bond_ends", "bond_orders", "bonds_in_rings", "masses", "read_table"]

_HEADER = np.array([0xDEADBEEF, 0, 16, 4, 0], dtype="<u4")


class MoleculeTable(NamedTuple):
    """Numbers of the A atoms, M bonds and R rings of a molecule; kinds are RDKit's numbers."""

    number: np.ndarray  # int64 [A], atomic number
    charge: np.ndarray  # int64 [A], formal
    hybridization: np.ndarray  # int64 [A]
    n_hydrogens: np.ndarray  # int64 [A], that are not atoms of the molecule
    valence: np.ndarray  # int64 [A], total
    n_radicals: np.ndarray  # int64 [A], unpaired electrons
    is_aromatic: np.ndarray  # int64 [A], 0 or 1
    is_bracketed: np.ndarray  # int64 [A], the hydrogens were given and not inferred
    isotope: np.ndarray  # int64 [A]
    begin: np.ndarray  # int64 [M], atom
    end: np.ndarray  # int64 [M]
    bond_type: np.ndarray  # int64 [M]
    bond_is_aromatic: np.ndarray  # int64 [M]
    is_conjugated: np.ndarray  # int64 [M]
    stereo: np.ndarray  # int64 [M]
    ring_sizes: np.ndarray  # int64 [R]
    ring_atoms: np.ndarray  # int64, of one ring after another

    @property
    def rings(self) -> tuple[tuple[int, ...], ...]:
        """Atoms of each ring."""
        atoms, ends = self.ring_atoms.tolist(), np.cumsum(self.ring_sizes).tolist()
        return tuple(tuple(atoms[end - size : end]) for size, end in zip(self.ring_sizes.tolist(), ends, strict=True))


def read_table(mol: Chem.Mol) -> MoleculeTable:
    """Read a sanitized molecule.

    Examples
    --------
    >>> table = read_table(Chem.MolFromSmiles("CC=O"))
    >>> table.number.tolist(), table.n_hydrogens.tolist(), table.bond_type.tolist()
    ([6, 6, 8], [3, 1, 0], [1, 2])
    """
    atoms, bonds, rings = _read_all(mol)
    return _read_one_by_one(mol) if rings is None else MoleculeTable._make([*atoms, *bonds, *rings])


def bond_ends(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second atom of each bond, int64 [M] each, also of a molecule that is not sanitized.

    Examples
    --------
    >>> [ends.tolist() for ends in bond_ends(Chem.MolFromSmiles("CC=O"))]
    [[0, 1], [1, 2]]
    """
    _, found, rings = _read_all(mol)
    if rings is not None:
        return found[0], found[1]
    bonds = bonds_of(mol)
    begin, end = (
        np.array(list(map(read, bonds)), dtype=np.int64)
        for read in (Chem.Bond.GetBeginAtomIdx, Chem.Bond.GetEndAtomIdx)
    )
    return begin, end


def _read_all(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Read atoms, int64 [9, A], bonds [6, M], sizes and atoms of rings; the last is None where nothing can be read."""
    data = np.frombuffer(
        bytearray(mol.ToBinary(int(Chem.PropertyPickleOptions.NoProps))), dtype=np.uint8
    )  # writable, as kernels want
    atoms = np.zeros((9, mol.GetNumAtoms()), dtype=np.int64)
    bonds = np.zeros((6, mol.GetNumBonds()), dtype=np.int64)
    if (data[: _HEADER.nbytes].view("<u4") == _HEADER).all():
        is_read, sizes, members = _read(data, atoms, bonds)
        if is_read:
            return atoms, bonds, (sizes, members)
    return atoms, bonds, None


def bonds_in_rings(table: MoleculeTable) -> np.ndarray:
    """Tell which bonds are in a ring, bool [M].

    Examples
    --------
    >>> bonds_in_rings(read_table(Chem.MolFromSmiles("CC1CC1"))).tolist()
    [False, True, True, True]
    """
    is_in_ring: np.ndarray = _mark_rings(len(table.number), table.begin, table.end, table.ring_sizes, table.ring_atoms)
    return is_in_ring


def masses(mol: Chem.Mol, table: MoleculeTable) -> np.ndarray:
    """Return the masses of the atoms, of the isotope if one is given, float64 [A]."""
    values: np.ndarray = _element_masses()[table.number]
    for atom in np.flatnonzero(table.isotope).tolist():
        values[atom] = mol.GetAtomWithIdx(atom).GetMass()
    return values


def bond_orders(table: MoleculeTable) -> np.ndarray:
    """Return the orders of the bonds, 1.5 where aromatic, float64 [M]."""
    orders: np.ndarray = _orders_of_types()[table.bond_type]
    return orders


@functools.cache
def _element_masses() -> np.ndarray:
    """Return the masses of the elements by atomic number, float64 [119]."""
    return np.array([Chem.GetPeriodicTable().GetAtomicWeight(number) for number in range(119)])


@functools.cache
def _orders_of_types() -> np.ndarray:
    """Return the orders of bonds by RDKit's number of their type, NaN where there is none."""
    orders = np.full(max(Chem.BondType.values) + 1, np.nan)
    for number, kind in Chem.BondType.values.items():
        mol = Chem.RWMol()
        mol.AddBond(mol.AddAtom(Chem.Atom(6)), mol.AddAtom(Chem.Atom(6)), kind)
        with suppress(RuntimeError), rdBase.BlockLogs():
            orders[number] = mol.GetBondWithIdx(0).GetBondTypeAsDouble()
    return orders


def _read_one_by_one(mol: Chem.Mol) -> MoleculeTable:
    """Read a molecule property by property."""
    atoms, bonds, rings = atoms_of(mol), bonds_of(mol), mol.GetRingInfo().AtomRings()
    columns: tuple[Iterable[int], ...] = (
        map(Chem.Atom.GetAtomicNum, atoms),
        map(Chem.Atom.GetFormalCharge, atoms),
        map(int, map(Chem.Atom.GetHybridization, atoms)),
        map(Chem.Atom.GetTotalNumHs, atoms),
        map(Chem.Atom.GetTotalValence, atoms),
        map(Chem.Atom.GetNumRadicalElectrons, atoms),
        map(Chem.Atom.GetIsAromatic, atoms),
        map(Chem.Atom.GetNoImplicit, atoms),
        map(Chem.Atom.GetIsotope, atoms),
        map(Chem.Bond.GetBeginAtomIdx, bonds),
        map(Chem.Bond.GetEndAtomIdx, bonds),
        map(int, map(Chem.Bond.GetBondType, bonds)),
        map(Chem.Bond.GetIsAromatic, bonds),
        map(Chem.Bond.GetIsConjugated, bonds),
        map(int, map(Chem.Bond.GetStereo, bonds)),
        map(len, rings),
        (atom for ring in rings for atom in ring),
    )
    return MoleculeTable._make(np.array(list(column), dtype=np.int64) for column in columns)


@kernel("int64(uint8[::1], int64, boolean)")
def _number(data: np.ndarray, at: int, is_wide: bool) -> Any:
    """Return an index or size, which may take four bytes."""
    if not is_wide:
        return np.int64(data[at])
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24


@kernel_part("int64(uint8[::1], int64[:,::1])")
def _read_atoms(data: np.ndarray, atoms: np.ndarray) -> int:
    """Fill in the atoms; return the position behind them, -1 where there is something that is not expected."""
    at = 30
    for atom in range(atoms.shape[1]):
        number, flags, present = data[at], data[at + 1], _number(data, at + 2, True)
        if flags & ~0x64 or present & ~0x1FE:
            return -1
        at += 6
        atoms[0, atom], atoms[6, atom], atoms[7, atom] = number, flags >> 6 & 1, flags >> 5 & 1
        atoms[2, atom] = 4  # SP3, which is left out
        for value in range(1, 8):
            if not present >> value & 1:
                continue
            if value == 1:
                atoms[1, atom] = _number(data, at, False) - (256 if data[at] > 127 else 0)
            elif value == 3:
                atoms[2, atom] = data[at]
            elif value == 7:
                atoms[5, atom] = data[at]
            elif value == 4:  # hydrogens that were given; the explicit valence counts them
                atoms[3, atom] += data[at]
            elif value == 5:
                atoms[4, atom] += data[at]
            elif value == 6:  # others
                atoms[3, atom] += data[at]
                atoms[4, atom] += data[at]
            at += 1
        if present >> 8 & 1:
            atoms[8, atom] = _number(data, at, True)
            at += 4
        if flags & 4:  # the label of a connection point
            at += 5 + _number(data, at + 1, True)
    return at


@kernel_part("int64(uint8[::1], int64, boolean, int64[:,::1])")
def _read_bonds(data: np.ndarray, at: int, is_wide: bool, bonds: np.ndarray) -> int:
    """Fill in the bonds; return the position behind them, -1 where there is something that is not expected."""
    width = 4 if is_wide else 1
    for bond in range(bonds.shape[1]):
        bonds[0, bond], bonds[1, bond] = _number(data, at, is_wide), _number(data, at + width, is_wide)
        at += 2 * width
        flags = data[at]
        if flags & ~0x6E:
            return -1
        at += 1
        bonds[3, bond], bonds[4, bond] = flags >> 6 & 1, flags >> 5 & 1
        bonds[2, bond] = 1  # a single bond, which is left out
        if flags & 8:
            bonds[2, bond] = data[at]
            at += 1
        if flags & 4:  # direction
            at += 1
        if flags & 2:
            bonds[5, bond] = data[at]
            at += 2 + width * _number(data, at + 1, False)
    return at


@kernel("Tuple((boolean, int64[::1], int64[::1]))(uint8[::1], int64[:,::1], int64[:,::1])")
def _read(data: np.ndarray, atoms: np.ndarray, bonds: np.ndarray) -> tuple[bool, np.ndarray, np.ndarray]:
    """Fill in atoms and bonds; return whether all was as expected, and the sizes and the atoms of rings."""
    nothing = np.empty(0, np.int64)
    is_wide = atoms.shape[1] > 255
    at = _read_atoms(data, atoms)
    if at < 0 or data[at] != 11:
        return False, nothing, nothing
    at = _read_bonds(data, at + 1, is_wide, bonds)
    if at < 0 or data[at] != 66:
        return False, nothing, nothing
    sizes = np.empty(_number(data, at + 1, True), np.int64)
    at += 5
    members = np.empty(len(data) - at, np.int64)
    width, n_members = 4 if is_wide else 1, 0
    for ring in range(len(sizes)):
        sizes[ring] = _number(data, at, is_wide)
        at += width
        for _ in range(sizes[ring]):
            members[n_members] = _number(data, at, is_wide)
            n_members += 1
            at += width
    return True, sizes, members[:n_members].copy()


@kernel("boolean[::1](int64, int64[::1], int64[::1], int64[::1], int64[::1])")
def _mark_rings(n_atoms: int, begin: np.ndarray, end: np.ndarray, sizes: np.ndarray, members: np.ndarray) -> np.ndarray:
    m = len(begin)
    is_in_ring = np.zeros(m, np.bool_)
    # Bonds of each atom as linked lists: a bond and its end are one number.
    first, following = np.full(n_atoms, -1, np.int64), np.empty(2 * m, np.int64)
    for bond in range(m):
        following[2 * bond], first[begin[bond]] = first[begin[bond]], 2 * bond
        following[2 * bond + 1], first[end[bond]] = first[end[bond]], 2 * bond + 1
    start = 0
    for ring in range(len(sizes)):
        for k in range(sizes[ring]):
            atom = members[start + k]
            other = members[start + (k + 1) % sizes[ring]]
            link = first[atom]
            while link >= 0:
                bond = link // 2
                if (end[bond] if link % 2 == 0 else begin[bond]) == other:
                    is_in_ring[bond] = True
                link = following[link]
        start += sizes[ring]
    return is_in_ring
