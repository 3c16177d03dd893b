"""What the two virtual nodes see: the fingerprint (1191 bits) and the descriptors (1613 values)."""

from typing import Literal, NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator

__all__ = ["N_DESCRIPTORS", "N_FINGERPRINT_BITS", "DescriptorEngine", "Scaler", "descriptors", "fingerprint"]

DescriptorEngine = Literal["native", "mordred"]

N_FINGERPRINT_BITS = 1191
N_DESCRIPTORS = 1613

_MORGAN_RADIUS = 4
_MORGAN_BITS = 1024
_LARGEST_VALUE = 1e12


class Scaler(NamedTuple):
    """Mean and scale of each descriptor over the molecules a model was pretrained on."""

    mean: np.ndarray  # float64 [1613]
    scale: np.ndarray  # float64 [1613]

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Standardise descriptors [..., 1613]; returns float32."""
        return ((values - self.mean) / self.scale).astype(np.float32)


def fingerprint(mol: Chem.Mol) -> np.ndarray:
    """Return the MACCS keys (167 bits), then the Morgan fingerprint (radius 4, 1024 bits).

    Returns
    -------
    numpy.ndarray
        uint8 [1191] of 0 and 1.
    """
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=_MORGAN_RADIUS, fpSize=_MORGAN_BITS)
    bits = np.zeros(N_FINGERPRINT_BITS, dtype=np.uint8)
    keys = MACCSkeys.GenMACCSKeys(mol)
    bits[list(keys.GetOnBits())] = 1
    bits[keys.GetNumBits() :] = morgan.GetFingerprintAsNumPy(mol)
    return bits


def descriptors(mol: Chem.Mol, *, engine: DescriptorEngine = "native") -> np.ndarray:
    """Return the descriptors of a molecule as training saw them, before scaling.

    Missing values are 0 and none is above 1e12. The first call in a process loads the machine code
    of the native engine (about a second), or compiles it if ``python -m periogt_ray.descriptors``
    never did.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, without explicit hydrogen.
    engine : {"native", "mordred"}
        Our own, or the much slower library that it is held against.

    Returns
    -------
    numpy.ndarray
        float32 [1613].

    Raises
    ------
    ValidationError
        If the molecule is too large for the native engine.
    """
    if engine == "mordred":
        from periogt_ray.descriptors.reference import mordred_descriptors as compute
    else:
        from periogt_ray.descriptors.native import native_descriptors as compute
    with np.errstate(over="ignore"):
        values = compute(mol).astype(np.float32)
    values[np.isnan(values)] = 0.0
    return np.minimum(values, np.float32(_LARGEST_VALUE))
