"""Compile all numerical kernels and keep the machine code, so that no later process has to.

With ``--ship`` it is also put where a wheel takes it from (``scripts/wheel``).
"""

import argparse
import sys
import time

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.kernels import ship_kernels
from periogt_ray.polymer.substructure import SubstructureSearch
from periogt_ray.polymer.triplet_paths import triplet_paths


def main() -> None:
    """Compute for one molecule, which loads or compiles all kernels."""
    parser = argparse.ArgumentParser(
        prog="python -m periogt_ray.polymer.descriptors", description="Compile the kernels."
    )
    parser.add_argument("--ship", action="store_true", help="also put the machine code where a wheel takes it from")
    is_shipped = parser.parse_args().ship
    started = time.perf_counter()
    mol = Chem.MolFromSmiles("CCO")
    descriptors(mol)
    SubstructureSearch(mol).first_match(Chem.MolFromSmarts("CO"))
    triplet_paths(np.array([[0, 1], [1, 2]], dtype=np.int32), 3)
    print(f"Numerical kernels are ready after {time.perf_counter() - started:.1f} s.")
    if is_shipped:
        modules = [module for name, module in sys.modules.items() if name.startswith("periogt_ray.polymer.")]
        print(f"{ship_kernels(modules)} kernels are ready for a wheel.")


if __name__ == "__main__":
    main()
