"""How alike polymers are: Tanimoto similarity of packed Morgan bits, and distance in the embedding."""

import numpy as np

from periogt_ray.artifacts.calibration import FINGERPRINT_BYTES

__all__ = ["Bits", "distances", "mean_of_nearest", "morgan_bits", "nearest"]

_N_MORGAN_BITS = 8 * FINGERPRINT_BYTES
_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def morgan_bits(fingerprints: np.ndarray) -> np.ndarray:
    """Pack the Morgan bits of fingerprints, which come after the MACCS keys.

    Parameters
    ----------
    fingerprints : numpy.ndarray
        uint8 [..., 1191] of 0 and 1.

    Returns
    -------
    numpy.ndarray
        uint8 [..., 128].
    """
    return np.packbits(fingerprints[..., -_N_MORGAN_BITS:], axis=-1)


class Bits:
    """Packed fingerprints, to which others are compared.

    Parameters
    ----------
    known : numpy.ndarray
        uint8 [N, 128].
    """

    def __init__(self, known: np.ndarray) -> None:
        self._words = np.ascontiguousarray(known).view(np.uint64)
        self._n_bits = _n_bits(self._words)

    def similarities(self, polymer: np.ndarray) -> np.ndarray:
        """Return the Tanimoto similarity of a polymer, uint8 [128], to the others.

        Returns
        -------
        numpy.ndarray
            float32 [N]; 1 for two polymers without a bit.

        Examples
        --------
        >>> bits = np.packbits(np.eye(2, 1024, dtype=np.uint8), axis=-1)
        >>> Bits(bits).similarities(bits[0]).tolist()
        [1.0, 0.0]
        """
        word = np.ascontiguousarray(polymer).view(np.uint64)
        common = _n_bits(self._words & word)
        total = self._n_bits + _n_bits(word) - common
        return np.where(total == 0, np.float32(1), common / np.maximum(total, np.float32(1)))


def _n_bits(words: np.ndarray) -> np.ndarray:
    """Count the bits of uint64 [..., 16], float32 [...]."""
    # bitwise_count is in numpy since 2.0.
    counts = np.bitwise_count(words) if hasattr(np, "bitwise_count") else _POPCOUNT[words.view(np.uint8)]
    return counts.sum(axis=-1, dtype=np.float32)


def distances(known: np.ndarray, polymer: np.ndarray) -> np.ndarray:
    """Return the distance of coordinates [K] to others [N, K], float32 [N]."""
    difference = known - polymer
    return np.sqrt(np.einsum("ij,ij->i", difference, difference))


def nearest(closeness: np.ndarray, n_nearest: int) -> np.ndarray:
    """Return the positions of the largest entries, of equal ones the first; at most ``n_nearest``."""
    if len(closeness) <= n_nearest:
        return np.arange(len(closeness))
    least = np.partition(closeness, len(closeness) - n_nearest)[len(closeness) - n_nearest]
    above = np.flatnonzero(closeness > least)
    equal = np.flatnonzero(closeness == least)
    return np.concatenate([above, equal[: n_nearest - len(above)]])


def mean_of_nearest(values: np.ndarray, closeness: np.ndarray, n_nearest: int) -> float:
    """Return the mean of ``values`` [N] over the nearest of N polymers."""
    return float(values[nearest(closeness, n_nearest)].mean(dtype=np.float64))
