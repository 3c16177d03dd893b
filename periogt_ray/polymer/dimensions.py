"""Sizes that features and checkpoints share, which the published weights fix, and the version of features."""

__all__ = [
    "FEATURE_VERSION",
    "N_ATOM_FEATURES",
    "N_BOND_FEATURES",
    "N_DESCRIPTORS",
    "N_FINGERPRINT_BITS",
    "PATH_LENGTH",
]

N_ATOM_FEATURES = 138
N_BOND_FEATURES = 14
N_FINGERPRINT_BITS = 1191  # 167 MACCS keys and 1024 bits of a Morgan fingerprint
N_DESCRIPTORS = 1613
PATH_LENGTH = 5  # slots for triplets along an edge's path, its two ends included

# Belongs beside stored features and predictions: raised when features change.
FEATURE_VERSION = 6
