"""The domain of copolymers: judged by their monomers, and by whether training saw the pair."""

from collections.abc import Sequence

import numpy as np

from periogt_ray.artifacts.calibration import Calibration, polymer_hash
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.domain import Domain, DomainStatus, composition_of, is_far
from periogt_ray.model.plausibility import unseen_parts, value_warnings
from periogt_ray.model.similarity import Bits, morgan_bits
from periogt_ray.polymer.features import FeaturizedPolymer

__all__ = ["KnownMonomers"]


class KnownMonomers:
    """The monomers that a network learned from.

    Parameters
    ----------
    calibration : Calibration
        Of a property of copolymers, with partners.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._facts = calibration.facts
        self._sorted = calibration.nearest_similarities
        self._bits = Bits(calibration.fingerprints[calibration.is_training])
        self._hashes = frozenset(map(int, calibration.hashes[calibration.is_training]))

    def has_pair(self, monomers: Sequence[FeaturizedPolymer]) -> bool:
        """Whether training saw copolymers of these monomers."""
        hashes = [int(polymer_hash(monomer.smiles)) for monomer in monomers]
        return self._hashes.issuperset(hashes) and not set(self._facts.partners).isdisjoint(hashes)

    def domain(self, monomers: Sequence[FeaturizedPolymer], *, info: PropertyInfo, value: float) -> Domain:
        """Judge a copolymer, by the monomer that is least like those of training, and the value predicted for it."""
        seen = composition_of(self._facts)
        different = {monomer.smiles: monomer for monomer in monomers}
        impossible = value_warnings(info, value)
        strong = (*(text for smiles in different for text in unseen_parts(smiles, seen)), *impossible)
        weak: list[str] = []
        similarity, n_nearer = 1.0, 0
        for smiles, monomer in different.items():
            if int(polymer_hash(smiles)) in self._hashes:
                continue
            closest = float(self._bits.similarities(morgan_bits(monomer.oligomers[1].fingerprint)).max())
            n_below = len(self._sorted) - int(np.searchsorted(self._sorted, closest, side="right"))
            similarity, n_nearer = min(similarity, closest), max(n_nearer, n_below)
            weak.append(
                f"The monomer {smiles} occurs in no training copolymer; its similarity to the nearest training monomer "
                f"is {closest:.2f}"
            )
        if not weak and not self.has_pair(monomers):
            weak.append("Training saw no copolymer of these two monomers, only of each with others")
        if not self._facts.lowest <= value <= self._facts.highest and not impossible:
            bounds = f"{self._facts.lowest:.4g} to {self._facts.highest:.4g} {info.units}".strip()
            weak.append(f"The value lies beyond the training labels ({bounds})")
        if strong or is_far(n_nearer, len(self._sorted)):
            status: DomainStatus = "far_outside"
        else:
            status = "outside" if weak else "inside"
        return Domain(status, similarity, 100 * n_nearer / len(self._sorted), tuple(dict.fromkeys((*strong, *weak))))
