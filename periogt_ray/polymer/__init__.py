"""SMILES to repeat unit to graphs, fingerprints and descriptors: numpy and RDKit, no torch, no Ray.

``repeat_unit`` reads a SMILES, ``features`` makes everything that a prediction needs of it. Start with
``features.featurize``.
"""
