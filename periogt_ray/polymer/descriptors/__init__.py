"""The 1613 descriptors of a molecule, what one of the two virtual nodes carries.

``native`` computes them, block by block in the order of ``columns``; ``reference`` asks the mordred library.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from rdkit import Chem

from periogt_ray.errors import SettingsError

if TYPE_CHECKING:
    from periogt_ray.polymer.descriptors.pattern_sums import PatternSums

__all__ = ["DescriptorEngine", "descriptors"]

DescriptorEngine = Literal["native", "mordred"]

_LARGEST_VALUE = 1e12


def descriptors(mol: Chem.Mol, *, engine: DescriptorEngine = "native", sums: "PatternSums | None" = None) -> np.ndarray:
    """Return the descriptors of a molecule as training saw them, before scaling.

    Missing values are 0 and none is above 1e12. The first call in a process loads the machine code
    of the native engine (about a second); ``python -m periogt_ray.polymer.descriptors`` compiles it once.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, without explicit hydrogen.
    engine : str
        ``native``, or ``mordred`` for the library that the native engine is held against: the same
        values, some fifty times slower, without bounds on the size.
    sums : PatternSums, optional
        Sums over the molecule's patterns, if they are known; only the native engine takes them.

    Returns
    -------
    numpy.ndarray
        float32 [1613].

    Raises
    ------
    ValidationError
        If the molecule is over one of the native engine's bounds on size.
    SettingsError
        If there is no such engine.
    """
    with np.errstate(over="ignore"):
        values = _raw(mol, engine, sums).astype(np.float32)
    values[np.isnan(values)] = 0.0
    return np.minimum(values, np.float32(_LARGEST_VALUE))


def _raw(mol: Chem.Mol, engine: str, sums: "PatternSums | None") -> np.ndarray:
    # Imported at first use: numba and mordred take a second, and only one of them is needed.
    if engine == "native":
        from periogt_ray.polymer.descriptors.native import native_descriptors

        return native_descriptors(mol, sums=sums)
    if engine == "mordred":
        from periogt_ray.polymer.descriptors.reference import mordred_descriptors

        return mordred_descriptors(mol)
    raise SettingsError(
        f"There is no descriptor engine {engine!r}; expected one of {', '.join(get_args(DescriptorEngine))}."
    )
