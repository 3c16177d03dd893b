"""The MACCS keys of a molecule of common elements, without the searches that cannot find anything.

RDKit searches a molecule for some 150 patterns, whatever its elements. A third of the time goes into one key: a
ring of 8 to 14 atoms, for which it follows all paths from each ring atom. Here patterns are RDKit's own
(``MACCSkeys.smartsPatts``), and each is looked for only where what it holds is there: a nitrogen, a ring. What
cycles there are mostly follows from the smallest rings.
"""

import functools
from itertools import combinations
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import MACCSkeys, rdMolDescriptors

__all__ = ["maccs_keys"]

_N_KEYS = 167
_MOST_MATCHES = 1000  # RDKit's default

# Isotopes and elements besides C, N, O, F, Si, P, S, Cl, Br and I: for these RDKit is asked.
_UNCOMMON = "[!0,!#6&!#7&!#8&!#9&!#14&!#15&!#16&!#17&!#35&!#53]"
_KEYS_OF_UNCOMMON = frozenset((2, 3, 4, 5, 6, 7, 9, 10, 12, 18, 35, 44))

# What a pattern needs, by what its SMARTS then holds; a bond in a ring is "@", but not "!@".
_PARTS = (
    ("[#7]", ("[#7]", "[#7;", "[#7R")), ("[#8]", ("[#8]", "[#8R", "[O;")), ("[#16]", ("[#16]", "[#16R")),
    ("[F,Cl,Br,I]", ("[F,Cl,Br,I]",)), ("[!#6;!#1]", ("[!#6;",)), ("[R]", ("*@", "*(@", ";@", "R]", "1~")),
    ("a", (":", "c:n")), ("[CH2]", ("[CH2]",)), ("[CH3]", ("[CH3]",)), ("[#6]=[#6]", ("[#6]=[#6]",)),
)  # fmt: skip

# Sizes of the cycles that set a key.
_RINGS = {22: (3, 3), 11: (4, 4), 96: (5, 5), 163: (6, 6), 145: (6, 6), 19: (7, 7), 101: (8, 14)}
_MOST_FUSED, _LEAST_FUSED = 4, 5  # rings of a system, atoms of each of them

_AROMATIC_RINGS, _AROMATIC = 125, 162  # more than one; any aromatic atom


class _Key(NamedTuple):
    key: int
    pattern: Chem.Mol
    n_most: int  # matches that do not yet set the key
    needs: tuple[int, ...]  # indices of the parts


def maccs_keys(mol: Chem.Mol) -> np.ndarray:
    """Return the MACCS keys that RDKit's ``GetMACCSKeysFingerprint`` returns.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, in one fragment.

    Returns
    -------
    numpy.ndarray
        uint8 [167] of 0 and 1.

    Examples
    --------
    >>> np.flatnonzero(maccs_keys(Chem.MolFromSmiles("CCO"))).tolist()
    [82, 109, 114, 139, 153, 155, 157, 160, 164]
    """
    keys = np.zeros(_N_KEYS, dtype=np.uint8)
    uncommon, parts, searched = _patterns()
    if mol.HasSubstructMatch(uncommon):
        keys[list(rdMolDescriptors.GetMACCSKeysFingerprint(mol).GetOnBits())] = 1
        return keys
    is_there = [mol.HasSubstructMatch(part) for part in parts]
    cycles = _cycles(mol)
    for key, pattern, n_most, needs in searched:
        if not all(is_there[part] for part in needs):
            continue
        if cycles is not None and key in _RINGS:
            smallest, largest = _RINGS[key]
            keys[key] = sum(smallest <= size <= largest for size in cycles) > n_most
        elif n_most:
            keys[key] = len(mol.GetSubstructMatches(pattern, maxMatches=_MOST_MATCHES)) > n_most
        else:
            keys[key] = mol.HasSubstructMatch(pattern)
    if keys[_AROMATIC]:
        keys[_AROMATIC_RINGS] = _n_aromatic_rings(mol) > 1
    return keys


def _cycles(mol: Chem.Mol) -> list[int] | None:
    """Return the sizes of all cycles of up to 7 atoms, and some of the larger ones; None where they do not follow.

    The smallest rings are all cycles but for sums of rings that share bonds. Sums of k rings of 5 atoms or more, any
    two of which share one bond at most, have at least 5 k - k (k - 1) atoms: 8 or more for up to four rings. If there
    is any sum, that of two rings is among what is returned, and one of 8 to 14 atoms.
    """
    rings = [frozenset(ring) for ring in mol.GetRingInfo().AtomRings()]
    sizes = [len(ring) for ring in rings]
    systems: list[list[frozenset[int]]] = []
    for ring in rings:
        joined = [system for system in systems if not all(map(ring.isdisjoint, system))]
        systems = [system for system in systems if system not in joined]
        systems.append([ring, *(one for system in joined for one in system)])
    for system in systems:
        if len(system) > 1 and (len(system) > _MOST_FUSED or min(map(len, system)) < _LEAST_FUSED):
            return None
        for one, other in combinations(system, 2):
            shared = one & other
            if len(shared) > 1:
                size = len(one) + len(other) - 2
                if len(shared) > 2 or not 8 <= size <= 14 or mol.GetBondBetweenAtoms(*shared) is None:
                    return None
                sizes.append(size)
    return sizes


def _n_aromatic_rings(mol: Chem.Mol) -> int:
    """Count the rings of aromatic bonds only."""
    return sum(all(mol.GetBondWithIdx(bond).GetIsAromatic() for bond in ring) for ring in mol.GetRingInfo().BondRings())


@functools.cache
def _patterns() -> tuple[Chem.Mol, tuple[Chem.Mol, ...], tuple[_Key, ...]]:
    """Return the pattern of what is uncommon, those of the parts, and the keys that common elements can set."""
    keys = []
    for key, (smarts, n_most) in sorted(MACCSkeys.smartsPatts.items()):
        if smarts == "?" or key in _KEYS_OF_UNCOMMON:
            continue
        alternatives = smarts.replace("!@", "-").split("),$(")
        needs = tuple(
            index
            for index, (_, signs) in enumerate(_PARTS)
            if all(any(sign in alternative for sign in signs) for alternative in alternatives)
        )
        keys.append(_Key(key, Chem.MolFromSmarts(smarts), n_most, needs))
    parts = tuple(Chem.MolFromSmarts(part) for part, _ in _PARTS)
    return Chem.MolFromSmarts(_UNCOMMON), parts, tuple(keys)
