"""The fingerprint, what one of the two virtual nodes carries."""

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from periogt_ray.polymer.dimensions import N_FINGERPRINT_BITS

__all__ = ["fingerprint"]

_MORGAN_RADIUS = 4
_MORGAN_BITS = 1024


def fingerprint(mol: Chem.Mol) -> np.ndarray:
    """Return the MACCS keys (167 bits), then the Morgan fingerprint (radius 4, 1024 bits).

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
    keys = rdMolDescriptors.GetMACCSKeysFingerprint(mol)
    bits[list(keys.GetOnBits())] = 1
    bits[keys.GetNumBits() :] = morgan.GetFingerprintAsNumPy(mol)
    return bits
