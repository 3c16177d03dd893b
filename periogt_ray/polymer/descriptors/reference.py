"""Descriptors as the mordred library computes them: slow, and what our own are held against.

The checkpoints were trained on mordred 1.2.0 under numpy 1.21. On a current numpy that release
silently turns 16 columns into NaN; ``mordredcommunity`` 2.0.7 computes them, and differs from the
training data in the ``MDE*`` columns alone, which :func:`mordred_descriptors` puts right.
"""

import functools
import math
import sys
import warnings

import numpy as np
from rdkit import Chem

from periogt_ray.errors import SettingsError

__all__ = ["mordred_descriptors"]

# 1.2.0 multiplied the distances in float64; where the product overflows, training saw a zero.
_LOG_MAX_FLOAT = math.log(sys.float_info.max)


@functools.cache
def _calculator():  # type: ignore[no-untyped-def]
    try:
        from mordred import Calculator, descriptors
    except (ImportError, OSError) as error:
        raise SettingsError(
            f"PERIOGT_DESCRIPTORS is mordred, which does not load: {error}. Install mordredcommunity==2.0.7, or unset "
            "the variable: the native engine computes the same."
        ) from error
    return Calculator(descriptors, ignore_3D=True)


@functools.cache
def descriptor_names() -> tuple[str, ...]:
    """Return mordred's names of the 1613 columns, in order."""
    return tuple(map(str, _calculator().descriptors))


def mordred_descriptors(mol: Chem.Mol) -> np.ndarray:
    """Return mordred's 2D descriptors, NaN where mordred has no value.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, without explicit hydrogen.

    Returns
    -------
    numpy.ndarray
        float64 [1613], in mordred's order.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        values = _calculator()(mol).fill_missing(math.nan)
        row = np.array([float(value) for value in values], dtype=np.float64)
    for column, name in enumerate(descriptor_names()):
        if name.startswith("MDE") and _log_distance_product(mol, name) > _LOG_MAX_FLOAT:
            row[column] = 0.0
    return row


def _log_distance_product(mol: Chem.Mol, name: str) -> float:
    """Sum of ln(distance) over the pairs that column ``MDE<element>-<ij>`` counts."""
    element, degrees = name.removeprefix("MDE").split("-")
    first, second = int(degrees[0]), int(degrees[1])
    atoms = [atom for atom in mol.GetAtoms() if atom.GetSymbol() == element]
    left = [atom.GetIdx() for atom in atoms if atom.GetDegree() == first]
    right = [atom.GetIdx() for atom in atoms if atom.GetDegree() == second]
    if not left or not right:
        return 0.0
    distances = Chem.GetDistanceMatrix(mol)[np.ix_(left, right)]
    logs = float(np.log(distances[distances > 0]).sum())
    return logs / 2 if first == second else logs
