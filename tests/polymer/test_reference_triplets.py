import csv

import numpy as np

from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.reference_triplets import reference_triplets
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import build_triplet_graph
from periogt_ray.settings import EXAMPLES


def test_shares_are_those_of_the_triplets_of_the_example_polymers() -> None:
    with EXAMPLES.with_name("polymers_120.csv").open(newline="") as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)]
    sums, n_triplets = np.zeros(2 * 138 + 14), 0
    for text in smiles:
        # As it stands, not canonical, as the reference is made.
        graph = build_triplet_graph(text, BondClasses(RepeatUnit(text)))
        assert graph is not None
        atoms = graph.atom_features[graph.triplet_atoms[:-2]].sum(axis=1)
        sums[:138] += atoms.sum(axis=0)
        sums[-14:] += graph.bond_features[:-2].sum(axis=0)
        n_triplets += len(atoms)
    known = reference_triplets()
    atoms = known.atom_features[known.triplet_atoms].sum(axis=1)
    np.testing.assert_allclose(known.shares @ atoms, sums[:138] / n_triplets, atol=1e-5)
    np.testing.assert_allclose(known.shares @ known.bond_features, sums[-14:] / n_triplets, atol=1e-5)
    assert len(smiles) == 120
    assert abs(known.shares.sum() - 1) < 1e-6
