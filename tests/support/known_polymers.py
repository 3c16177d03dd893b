"""Made-up polymers of a property with held-out predictions, from which a calibration can be made."""

import numpy as np

from periogt_ray.model.calibrating import KnownPolymers

__all__ = ["known_polymers"]

_SMILES = ("*CC*", "*CC(*)C", "*CC(*)Cl", "*CC(*)c1ccccc1", "*OCC*", "*NCC(*)=O")


def known_polymers(n: int = 60, *, width: int = 12, seed: int = 0, error: float = 0.2) -> KnownPolymers:
    """Return n polymers, each a few bits and a little noise away from one of six."""
    random = np.random.default_rng(seed)
    prototypes = (random.random((6, 1191)) < 0.1).astype(np.uint8)
    kinds = np.arange(n) % 6
    flips = (random.random((n, 1191)) < 0.01).astype(np.uint8)
    values = kinds + random.standard_normal(n) * 0.1 + 2.0
    centers = random.standard_normal((6, width)).astype(np.float32)
    return KnownPolymers(
        smiles=tuple(_SMILES[kind] for kind in kinds),
        fingerprints=prototypes[kinds] ^ flips,
        embeddings=centers[kinds] + 0.05 * random.standard_normal((n, width)).astype(np.float32),
        values=values,
        predictions=values + error * random.standard_normal(n),
        is_training=np.ones(n, bool),
    )
