"""Compile all numerical kernels and keep the machine code, so that no later process has to."""

import time

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.substructure import SubstructureSearch
from periogt_ray.polymer.triplet_paths import triplet_paths


def main() -> None:
    """Compute for one molecule, which loads or compiles all kernels."""
    started = time.perf_counter()
    mol = Chem.MolFromSmiles("CCO")
    descriptors(mol)
    SubstructureSearch(mol).first_match(Chem.MolFromSmarts("CO"))
    triplet_paths(np.array([[0, 1], [1, 2]], dtype=np.int32), 3)
    print(f"Numerical kernels are ready after {time.perf_counter() - started:.1f} s.")


if __name__ == "__main__":
    main()
