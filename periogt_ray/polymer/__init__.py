"""SMILES to repeat unit to graphs, fingerprints and descriptors: numpy and RDKit, no torch, no Ray.

``repeat_unit`` reads a SMILES, ``features`` makes everything that a prediction needs of it. ``dimensions`` says the
sizes once, ``limits`` every bound on an input. Start with ``features.featurize``.
"""
