"""The fingerprint, what one of the two virtual nodes carries."""

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from periogt_ray.polymer.dimensions import N_FINGERPRINT_BITS

__all__ = ["fingerprint", "have_same_keys"]

_MORGAN_RADIUS = 4
_MORGAN_BITS = 1024
_N_KEYS = N_FINGERPRINT_BITS - _MORGAN_BITS

# Where a longer chain has no other MACCS keys; see have_same_keys.
_LEAST_UNITS, _LEAST_BACKBONE = 6, 2


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
        bits[list(rdMolDescriptors.GetMACCSKeysFingerprint(mol).GetOnBits())] = 1
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
