"""Compile the descriptors' kernels and keep the machine code, so that no later process has to."""

import time

from rdkit import Chem

from periogt_ray.descriptors import descriptors


def main() -> None:
    """Compute the descriptors of one molecule, which loads or compiles all kernels."""
    started = time.perf_counter()
    descriptors(Chem.MolFromSmiles("CCO"))
    print(f"Descriptor kernels are ready after {time.perf_counter() - started:.1f} s.")


if __name__ == "__main__":
    main()
