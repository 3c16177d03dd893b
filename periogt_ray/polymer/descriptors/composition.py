"""Counts and sums over atoms and bonds, and the descriptors that RDKit computes itself."""

import functools
import math

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from periogt_ray.polymer.descriptors.elements import BONDI_VOLUMES, element_table
from periogt_ray.polymer.descriptors.molecule import BondType, MoleculeArrays
from periogt_ray.polymer.descriptors.pattern_sums import PatternSums
from periogt_ray.polymer.descriptors.rings import aromatic_rings

__all__ = ["composition_descriptors", "surface_areas"]

_N_NUMBERS = 119  # atomic numbers, 0 included
_HALOGENS = np.array([9, 17, 35, 53, 85, 117])
_ELEMENTS = np.array([5, 6, 7, 8, 16, 15, 9, 17, 35, 53])

# Of carbons by hybridisation: sp, sp2, then sp3 with what RDKit gives atoms of more neighbours; -1: none of them.
_GROUPS = np.full(max(map(int, Chem.HybridizationType.values)) + 1, -1)
_GROUPS[[int(Chem.HybridizationType.SP), int(Chem.HybridizationType.SP2)]] = 0, 1
_GROUPS[[int(getattr(Chem.HybridizationType, name)) for name in ("SP3", "SP3D", "SP3D2")]] = 2
_MOST_NEIGHBORS = 16  # of a carbon, and one more

_MCGOWAN_BOND = 6.56

# Upper ends of the bins that surface areas are sorted into by partial charge (RDKit's MolSurf.cpp).
_CHARGE_BINS = np.array([-0.3, -0.25, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])

# RDKit's search for a pattern ends after so many matches; so it was in training.
_MOST_MATCHES = 1000

# van der Waals volume (Zhao et al., J. Org. Chem. 68, 7368, 2003): per bond, aromatic and other ring.
_VOLUME_BOND, _VOLUME_AROMATIC, _VOLUME_OTHER = 5.92, 14.7, 3.8

_SULFUR = {
    (False, 1, (2, 0, 0)): 38.80, (False, 0, (2, 0, 0)): 25.30, (False, 0, (0, 1, 0)): 32.09,
    (False, 0, (2, 1, 0)): 19.21, (False, 0, (2, 2, 0)): 8.38, (True, 0, (0, 0, 2)): 28.24, (True, 0, (0, 1, 2)): 21.70,
}  # fmt: skip
_PHOSPHORUS = {
    (False, 1, (3, 1, 0)): 23.47, (False, 0, (3, 0, 0)): 13.59, (False, 0, (1, 1, 0)): 34.14,
    (False, 0, (3, 1, 0)): 9.81,
}  # fmt: skip


def composition_descriptors(
    arrays: MoleculeArrays, charges: np.ndarray, sums: PatternSums
) -> dict[str, list[float] | np.ndarray]:
    """Return the blocks of counts, sums and RDKit's own descriptors.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    charges : numpy.ndarray
        float64 [N], partial charges of all atoms.
    sums : PatternSums
        Sums over the patterns of the molecule.
    """
    mol, number = arrays.mol, arrays.number
    n_bonds = len(arrays.begin)
    n_acids, n_bases, acceptors, donors, n_rotatable = sums.counts.tolist()
    log_p, refractivity = sums.crippen.tolist()
    weight = rdMolDescriptors.CalcExactMolWt(mol)
    n_heavy_bonds = np.count_nonzero((number[arrays.begin] != 1) & (number[arrays.end] != 1))
    return {
        "acid_base": [n_acids, n_bases],
        "aromatic": [float(np.count_nonzero(arrays.is_aromatic)), float(np.count_nonzero(arrays.bond_is_aromatic))],
        "atom_count": _atom_counts(arrays),
        "bond_count": _bond_counts(arrays),
        "relative_charge": _relative_charges(charges),
        "carbon_type": _carbon_types(arrays),
        "fragment_complexity": [
            abs(n_bonds**2 - arrays.n_atoms**2 + arrays.n_atoms) + np.count_nonzero(number != 6) / 100
        ],
        "hydrogen_bond": [acceptors, donors],
        "drug_rules": _drug_rules(arrays.n_all_atoms, weight, log_p, refractivity, acceptors, donors),
        "solubility": [_log_solubility(arrays)],
        "mcgowan": [
            float(element_table().mcgowan_volume[arrays.full_number].sum()) - len(arrays.full_begin) * _MCGOWAN_BOND
        ],
        "polarizability": _polarizability(arrays),
        "rotatable": [n_rotatable, n_rotatable / n_bonds if n_bonds else math.nan],
        "crippen": [log_p, refractivity],
        "polar_surface": _polar_surface(arrays),
        "vdw_volume": [_vdw_volume(arrays)],
        "vertex_adjacency": [1.0 + math.log2(n_heavy_bonds) if n_heavy_bonds else math.nan],
        "weight": [weight, weight / arrays.n_all_atoms],
    }


def surface_areas(arrays: MoleculeArrays, sums: PatternSums, estate: dict[str, np.ndarray]) -> np.ndarray:
    """Return the block ``surface``.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    sums : PatternSums
        Sums over its patterns.
    estate : dict
        From :func:`periogt_ray.polymer.descriptors.estate.estate_descriptors`.
    """
    by_charge = np.bincount(
        np.searchsorted(_CHARGE_BINS, arrays.partial_charge, side="right"), estate["areas"], len(_CHARGE_BINS) + 1
    )
    return np.concatenate(
        [
            [rdMolDescriptors.CalcLabuteASA(arrays.mol)],
            by_charge[:-1],
            sums.areas,
            estate["EState_VSA"],
            estate["VSA_EState"],
        ]
    )


def _atom_counts(arrays: MoleculeArrays) -> list[float]:
    mol = arrays.mol
    counts = np.bincount(arrays.number, minlength=_N_NUMBERS)
    return [
        arrays.n_all_atoms,
        arrays.n_atoms,
        rdMolDescriptors.CalcNumSpiroAtoms(mol),
        rdMolDescriptors.CalcNumBridgeheadAtoms(mol),
        float(arrays.n_atoms - counts[1] - counts[6]),
        float(arrays.n_all_atoms - arrays.n_atoms + counts[1]),
        *counts[_ELEMENTS].tolist(),
        float(counts[_HALOGENS].sum()),
    ]


def _bond_counts(arrays: MoleculeArrays) -> list[float]:
    n_hydrogens = arrays.n_all_atoms - arrays.n_atoms
    kind, is_aromatic = arrays.bond_type, arrays.bond_is_aromatic
    counts = (
        np.ones_like(is_aromatic), np.ones_like(is_aromatic), kind == BondType.SINGLE, kind == BondType.DOUBLE,
        kind == BondType.TRIPLE, is_aromatic | (kind == BondType.AROMATIC), is_aromatic | (kind != BondType.SINGLE),
        arrays.kekule_type == BondType.SINGLE, arrays.kekule_type == BondType.DOUBLE,
    )  # fmt: skip
    with_hydrogens = (0, 2, 7)
    return [float(np.count_nonzero(which) + n_hydrogens * (k in with_hydrogens)) for k, which in enumerate(counts)]


def _relative_charges(charges: np.ndarray) -> list[float]:
    """Largest of the negative charges over their sum, and the same of the positive ones."""
    if np.isnan(charges).any():
        return [math.nan, math.nan]
    signs = (charges[charges < 0.0], charges[charges > 0.0])
    return [float(chosen[np.abs(chosen).argmax()] / chosen.sum()) if len(chosen) else 0.0 for chosen in signs]


def _carbon_types(arrays: MoleculeArrays) -> list[float]:
    """Carbons by hybridisation and carbon neighbours, the share of sp3 among sp2 and sp3, RDKit's share of sp3."""
    is_carbon = arrays.number == 6
    n_atoms = arrays.n_atoms
    n_carbon = np.bincount(arrays.begin, is_carbon[arrays.end], n_atoms) + np.bincount(
        arrays.end, is_carbon[arrays.begin], n_atoms
    )
    group = _GROUPS[arrays.hybridization]
    chosen = is_carbon & (group >= 0)
    places = _MOST_NEIGHBORS * group[chosen] + n_carbon[chosen].astype(np.int64)
    counts = np.bincount(places, minlength=3 * _MOST_NEIGHBORS).reshape(3, -1)
    n_sp2, n_sp3 = int(counts[1].sum()), int(counts[2].sum())
    ratio = n_sp3 / (n_sp2 + n_sp3) if n_sp2 + n_sp3 else math.nan
    wanted = ((0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4))
    return [*(float(counts[sp][k]) for sp, k in wanted), ratio, rdMolDescriptors.CalcFractionCSP3(arrays.mol)]


def _drug_rules(
    n_atoms: int, weight: float, log_p: float, refractivity: float, acceptors: int, donors: int
) -> list[float]:
    """Lipinski's rule of five and Ghose's filter, 1 where met."""
    lipinski = donors <= 5 and acceptors <= 10 and weight <= 500 and log_p <= 5
    ghose = 160 <= weight <= 480 and 20 <= n_atoms <= 70 and -0.4 <= log_p <= 5.6 and 40 <= refractivity <= 130
    return [float(lipinski), float(ghose)]


def _log_solubility(arrays: MoleculeArrays) -> float:
    """Filter-it's logS: a sum over groups of single atoms, and the molecular weight."""
    number, aromatic, ring = arrays.number, arrays.is_aromatic, arrays.in_ring
    hydrogens, valence = arrays.n_hydrogens, arrays.valence
    neighbors = arrays.graph.degree + arrays.n_implicit
    nitrogen, oxygen, carbon = ((number == z) & ~aromatic for z in (7, 8, 6))
    groups = (
        (nitrogen & (hydrogens == 0) & (neighbors == 3) & (valence == 3), 0.71535),
        (nitrogen & (hydrogens == 2) & (neighbors == 3) & (valence == 3), 0.41056),
        ((number == 7) & aromatic & (hydrogens == 0) & (neighbors == 3), 0.82535),
        (oxygen & (hydrogens == 0) & (neighbors == 2) & (valence == 2), 0.31464),
        (oxygen & (hydrogens == 0) & (neighbors == 1) & (valence == 2), 0.14787),
        (oxygen & (hydrogens == 1) & (neighbors == 2) & (valence == 2), 0.62998),
        (carbon & (hydrogens == 2) & ~ring, -0.35634),
        (carbon & (hydrogens == 3) & ~ring, -0.33888),
        (carbon & (hydrogens == 0) & ring, -0.21912),
        (carbon & (hydrogens == 2) & ring, -0.23057),
        ((number == 6) & aromatic & (arrays.n_implicit == 0), -0.37570),
        ((number == 6) & aromatic & (arrays.n_implicit == 1), -0.22435),
        (number == 9, -0.21728),
        (number == 17, -0.49721),
        (number == 35, -0.57982),
        (number == 53, -0.51547),
    )
    total = 0.89823 - 0.10369 * math.sqrt(rdMolDescriptors._CalcMolWt(arrays.mol))
    for group, contribution in groups:
        total += min(int(np.count_nonzero(group)), _MOST_MATCHES) * contribution
    return total


def _polarizability(arrays: MoleculeArrays) -> list[float]:
    """Sum over the atoms, and of the differences over the bonds."""
    values = element_table().polarizability[arrays.full_number]
    return [float(values.sum()), float(np.abs(values[arrays.full_begin] - values[arrays.full_end]).sum())]


def _polar_surface(arrays: MoleculeArrays) -> list[float]:
    """Ertl's polar surface of nitrogen and oxygen, and with sulfur and phosphorus."""
    polar = rdMolDescriptors.CalcTPSA(arrays.mol)
    total = polar
    graph = arrays.graph
    for number, table in ((15, _PHOSPHORUS), (16, _SULFUR)):
        for atom in np.flatnonzero((arrays.number == number) & (arrays.charge == 0)):
            bonds = graph.bond[graph.start[atom] : graph.start[atom + 1]]
            is_aromatic = arrays.bond_is_aromatic[bonds]
            kinds = arrays.bond_type[bonds[~is_aromatic]]
            n_hydrogens = int(arrays.n_hydrogens[atom])
            n_single = int((kinds == BondType.SINGLE).sum()) + int(arrays.n_implicit[atom])
            n_double = int((kinds == BondType.DOUBLE).sum())
            if n_single + n_double + int(is_aromatic.sum()) == len(bonds) + int(arrays.n_implicit[atom]):
                key = (bool(arrays.is_aromatic[atom]), n_hydrogens, (n_single, n_double, int(is_aromatic.sum())))
                total += table.get(key, 0.0)
    return [polar, total]


@functools.cache
def _bondi_volumes() -> np.ndarray:
    """Return the volumes by atomic number, float64 [119], NaN where unknown."""
    volumes = np.full(_N_NUMBERS, np.nan)
    volumes[list(BONDI_VOLUMES)] = list(BONDI_VOLUMES.values())
    return volumes


def _vdw_volume(arrays: MoleculeArrays) -> float:
    volumes = _bondi_volumes()[arrays.full_number]
    n_aromatic = aromatic_rings(arrays)
    n_other = len(arrays.rings) - n_aromatic
    return (
        float(volumes.sum())
        - _VOLUME_BOND * len(arrays.full_begin)
        - _VOLUME_AROMATIC * n_aromatic
        - _VOLUME_OTHER * n_other
    )
