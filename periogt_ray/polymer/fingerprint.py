"""The fingerprint, which one of the two virtual nodes carries."""

import functools

import numpy as np
from rdkit import Chem
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator

from periogt_ray.polymer.dimensions import N_FINGERPRINT_BITS
from periogt_ray.polymer.interrupts import undisturbed
from periogt_ray.polymer.maccs import maccs_keys

__all__ = ["fingerprint", "have_same_fingerprint", "have_same_keys", "have_same_patterns", "keys_of_longer"]

_MORGAN_RADIUS = 4
_MORGAN_BITS = 1024
_N_KEYS = N_FINGERPRINT_BITS - _MORGAN_BITS

# Where a longer chain has no other MACCS keys; see have_same_keys.
_LEAST_UNITS, _LEAST_BACKBONE = 6, 2

# Where the Morgan bits do not change either, and where the patterns of the keys do not.
_LEAST_BACKBONE_OF_BITS, _LEAST_BACKBONE_OF_PATTERNS = 3, 4
_LEAST_UNITS_OF_PATTERNS = 3

_MOST_MATCHES = 1000  # RDKit's default


@undisturbed
def fingerprint(mol: Chem.Mol, *, same_keys: np.ndarray | None = None) -> np.ndarray:
    """Return the MACCS keys (167 bits), then the Morgan fingerprint (radius 4, 1024 bits).

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized.
    same_keys : numpy.ndarray, optional
        Fingerprint of a molecule that is known to have the same MACCS keys: they cost several times as much as
        the rest. See :func:`have_same_keys`.

    Returns
    -------
    numpy.ndarray
        uint8 [1191] of 0 and 1.

    Examples
    --------
    >>> int(fingerprint(Chem.MolFromSmiles("CCO")).sum())
    15
    """
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=_MORGAN_RADIUS, fpSize=_MORGAN_BITS)
    bits = np.zeros(N_FINGERPRINT_BITS, dtype=np.uint8)
    if same_keys is None:
        bits[:_N_KEYS] = maccs_keys(mol)
    else:
        bits[:_N_KEYS] = same_keys[:_N_KEYS]
    bits[_N_KEYS:] = morgan.GetFingerprintAsNumPy(mol)
    return bits


def have_same_keys(n_units: int, n_others: int, n_backbone: int) -> bool:
    """Tell whether two oligomers of a polymer have the same MACCS keys, whatever the repeat unit.

    A key asks whether a pattern occurs more often than some number. Rings lie within a repeat unit, and no pattern is
    longer than a path of 7 atoms, so it reaches over at most 4 units of 2 or more backbone atoms. In six units each
    such stretch occurs as it does in more, at either end and in the middle. Patterns that have to occur twice
    are paths of at most 4 atoms, hence of 3 units, which lie twice within the middle four; those that
    have to occur more often, up to four times, are single atoms.

    Parameters
    ----------
    n_units, n_others : int
        Numbers of repeat units.
    n_backbone : int
        Atoms of the repeat unit on the shortest path from one connection point to the other.
    """
    return n_backbone >= _LEAST_BACKBONE and min(n_units, n_others) >= _LEAST_UNITS


def have_same_fingerprint(n_units: int, n_others: int, n_backbone: int, connection_bond: Chem.BondType) -> bool:
    """Tell whether two oligomers of a polymer have the same fingerprint, whatever the repeat unit.

    A bit of the Morgan fingerprint stands for what lies within 4 bonds of an atom, with the neighbours of that
    counted. Where a unit's backbone has 3 or more atoms, no such part of a chain of six or more sees both the end and
    the unit beyond the third, and the third sees no end: all parts of a longer chain are there.

    Parameters
    ----------
    n_units, n_others : int
        Numbers of repeat units.
    n_backbone : int
        Atoms of the repeat unit on the shortest path from one connection point to the other.
    connection_bond : rdkit.Chem.BondType
        Between repeat units; only single ones are known not to change what is aromatic.
    """
    return (
        have_same_keys(n_units, n_others, n_backbone)
        and n_backbone >= _LEAST_BACKBONE_OF_BITS
        and connection_bond == Chem.BondType.SINGLE
    )


def have_same_patterns(n_units: int, n_others: int, n_backbone: int, connection_bond: Chem.BondType) -> bool:
    """Tell whether the same patterns of MACCS keys occur in two oligomers, though not equally often.

    No pattern is longer than a path of 7 atoms, and asks for the neighbours of these. Where a unit's backbone has 4 or
    more atoms, that is within 3 units, so every pattern of a longer chain occurs in three units: at either
    end, or with its three units for all of them.

    Parameters
    ----------
    n_units, n_others : int
        Numbers of repeat units.
    n_backbone : int
        Atoms of the repeat unit on the shortest path from one connection point to the other.
    connection_bond : rdkit.Chem.BondType
        Between repeat units; only single ones are known not to change what is aromatic.
    """
    return (
        n_backbone >= _LEAST_BACKBONE_OF_PATTERNS
        and min(n_units, n_others) >= _LEAST_UNITS_OF_PATTERNS
        and connection_bond == Chem.BondType.SINGLE
    )


def keys_of_longer(mol: Chem.Mol, shorter: np.ndarray) -> np.ndarray:
    """Return the MACCS keys of an oligomer from those of a shorter one with the same patterns.

    What occurs in the shorter one occurs in the longer one as often or more often. So only keys are looked at whose
    pattern has to occur more than once and does not do so often enough in the shorter one.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        The longer oligomer.
    shorter : numpy.ndarray
        uint8, fingerprint of the shorter one.

    Returns
    -------
    numpy.ndarray
        uint8 [167].
    """
    keys = shorter[:_N_KEYS].copy()
    for key, pattern, n_most in _repeated_patterns():
        if not keys[key]:
            keys[key] = len(mol.GetSubstructMatches(pattern, maxMatches=_MOST_MATCHES)) > n_most
    return keys


@functools.cache
def _repeated_patterns() -> tuple[tuple[int, Chem.Mol, int], ...]:
    """Return key, pattern and the number of matches that does not yet set the key, where that is above 0.

    Key 125, more than one aromatic ring, has no pattern: a ring in one of three units is in all.
    """
    return tuple(
        (key, Chem.MolFromSmarts(smarts), n_most)
        for key, (smarts, n_most) in sorted(MACCSkeys.smartsPatts.items())
        if n_most > 0 and smarts != "?"
    )
