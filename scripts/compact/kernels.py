"""Kernel machines over three views of a polymer; on sets of a few hundred polymers they are hard to beat.

The views: how often each atom environment occurs in the chain, an atom; the descriptors on a
logarithmic scale with the fingerprint; the descriptors divided by the number of atoms, because most
grow with the oligomer and properties do not.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from sklearn.svm import SVR

from compact.features import Polymer
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["KernelMachines", "PolymerViews", "environment_counts"]

_N_COPIES = 5  # of the repeat unit, so that no environment of the middle one reaches an end
_RADIUS = 2
_FEWEST = 3  # polymers that an environment must occur in
_CLIP = 5.0
_LENGTHS = (0.5, 0.8, 1.2, 2.0, 3.5)
_NOISES = (0.003, 0.01, 0.03, 0.1)
_SVR_LENGTH, _SVR_C, _SVR_EPSILON = 1.0, 10.0, 0.05


def environment_counts(unit: RepeatUnit) -> dict[str, float]:
    """Count the atom environments (radius 0 to 2) of a repeat unit within its chain, divided by its atoms.

    Hydrogen, and elements with their hybridisation and number of hydrogens, are counted beside them.
    """
    chain, middle = _chain(unit)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS)
    found = generator.GetSparseCountFingerprint(chain, fromAtoms=middle).GetNonzeroElements()
    counts = defaultdict[str, float](float)
    counts.update({f"environment {key}": value / len(middle) for key, value in found.items()})
    atoms = [chain.GetAtomWithIdx(index) for index in middle]
    n_hydrogens = sum(atom.GetTotalNumHs() for atom in atoms)
    counts["hydrogen"] = n_hydrogens / (len(atoms) + n_hydrogens)
    for atom in atoms:
        counts[f"{atom.GetSymbol()} {atom.GetHybridization().name}"] += 1 / (len(atoms) + n_hydrogens)
        counts[f"{atom.GetSymbol()} {atom.GetTotalNumHs()} H"] += 1 / len(atoms)
    return dict(counts)


def _chain(unit: RepeatUnit) -> tuple[Chem.Mol, list[int]]:
    """Return a multimer and the atoms of its middle copy."""
    n_atoms = unit.mol.GetNumAtoms()
    (first, second), (head, tail) = unit.connection_points, unit.attachment_atoms
    chain = Chem.RWMol(unit.mol)
    for copy in range(1, _N_COPIES):
        chain.InsertMol(unit.mol)
        chain.AddBond((copy - 1) * n_atoms + tail, copy * n_atoms + head, unit.connection_bond)
    inner = {copy * n_atoms + second for copy in range(_N_COPIES - 1)}
    inner |= {copy * n_atoms + first for copy in range(1, _N_COPIES)}
    kept = [index for index in range(_N_COPIES * n_atoms) if index not in inner]
    for index in sorted(inner, reverse=True):
        chain.RemoveAtom(index)
    mol = chain.GetMol()
    Chem.SanitizeMol(mol)
    return mol, [place for place, index in enumerate(kept) if index // n_atoms == _N_COPIES // 2]


class PolymerViews:
    """Three vectors of a polymer, scaled as a set of polymers says.

    Parameters
    ----------
    background : sequence of Polymer
        The set.
    """

    def __init__(self, background: Sequence[Polymer]) -> None:
        counts = [environment_counts(RepeatUnit(polymer.smiles)) for polymer in background]
        occurrences = Counter(key for count in counts for key in count)
        self._keys = {key: place for place, key in enumerate(k for k, n in occurrences.items() if n >= _FEWEST)}
        roots = self._roots(counts)
        deviation = roots.std(axis=0)
        # A rare environment does not outweigh common ones.
        self._scalings = [(roots.mean(axis=0), np.maximum(deviation, 0.5 * deviation.mean()))]
        for values in self._descriptors(background):
            deviation = values.std(axis=0)
            self._scalings.append((values.mean(axis=0), np.where(deviation > 1e-9, deviation, np.inf)))
        self._norms = [1.0, 1.0, 1.0]
        self._norms = [float(np.sqrt((view**2).sum(axis=1).mean())) for view in self.of(background)]

    def of(self, polymers: Sequence[Polymer]) -> list[np.ndarray]:
        """Return float64 [n, columns] of each view; the background's rows have mean square length 1."""
        roots = self._roots([environment_counts(RepeatUnit(polymer.smiles)) for polymer in polymers])
        views = []
        for values, (mean, deviation), norm in zip(
            [roots, *self._descriptors(polymers)], self._scalings, self._norms, strict=True
        ):
            views.append(np.clip((values - mean) / deviation, -_CLIP, _CLIP) / norm)
        bits = np.stack([polymer.fingerprint for polymer in polymers]) / self._norms[1]
        return [views[0], np.hstack([views[1], bits]), views[2]]

    def _roots(self, counts: Sequence[dict[str, float]]) -> np.ndarray:
        values = np.zeros((len(counts), len(self._keys)))
        for row, count in enumerate(counts):
            for key, value in count.items():
                if key in self._keys:
                    values[row, self._keys[key]] = np.sqrt(value)
        return values

    @staticmethod
    def _descriptors(polymers: Sequence[Polymer]) -> list[np.ndarray]:
        values = np.stack([polymer.descriptors for polymer in polymers]).astype(np.float64)
        n_atoms = np.array([RepeatUnit(polymer.smiles).mol.GetNumAtoms() - 2 for polymer in polymers])
        return [np.sign(part) * np.log1p(np.abs(part)) for part in (values, values / n_atoms[:, None])]


class KernelMachines:
    """The average of a Gaussian process and a support vector machine; their kernel is the mean over the views.

    Parameters
    ----------
    views : PolymerViews
        Of polymers.
    polymers : sequence of Polymer
        n of them.
    values : numpy.ndarray
        float64 [n], normalised.
    """

    def __init__(self, views: PolymerViews, polymers: Sequence[Polymer], values: np.ndarray) -> None:
        self._views = views
        self._known = views.of(polymers)
        distances = [_squared_distances(view, view) for view in self._known]
        self._mean = float(values.mean())
        self._length, self._weights = _fit_process(distances, values - self._mean)
        machine = SVR(kernel="precomputed", C=_SVR_C, epsilon=_SVR_EPSILON)
        self._machine = machine.fit(_kernel(distances, _SVR_LENGTH), values)

    def predict(self, polymers: Sequence[Polymer]) -> np.ndarray:
        """Return float64 [n], normalised."""
        distances = [
            _squared_distances(view, known) for view, known in zip(self._views.of(polymers), self._known, strict=True)
        ]
        process = _kernel(distances, self._length) @ self._weights + self._mean
        return np.mean([process, self._machine.predict(_kernel(distances, _SVR_LENGTH))], axis=0)


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None]
    return np.maximum(squares - 2 * left @ right.T, 0.0)


def _kernel(distances: Sequence[np.ndarray], length: float) -> np.ndarray:
    """Return the mean over the views of the rational quadratic kernel."""
    return np.mean([1 / (1 + distance / (2 * length**2)) for distance in distances], axis=0)


def _fit_process(distances: Sequence[np.ndarray], values: np.ndarray) -> tuple[float, np.ndarray]:
    """Return length and weights of the Gaussian process with the highest marginal likelihood on a grid."""
    best: tuple[float, float, np.ndarray] | None = None
    for length in _LENGTHS:
        eigenvalues, vectors = np.linalg.eigh(_kernel(distances, length))
        projected = vectors.T @ values
        for noise in _NOISES:
            spread = eigenvalues + noise
            variance = np.mean(projected**2 / spread)
            likelihood = -0.5 * (len(values) * np.log(variance) + np.log(spread).sum())
            if best is None or likelihood > best[0]:
                best = likelihood, length, vectors @ (projected / spread)
    assert best is not None
    return best[1], best[2]
