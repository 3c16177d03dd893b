"""Compile all numerical kernels and keep the machine code, so that no later process has to."""

import time

from periogt_ray.featurize import featurize
from periogt_ray.polymer import RepeatUnit


def main() -> None:
    """Featurize one polymer, which loads or compiles all kernels."""
    started = time.perf_counter()
    featurize(RepeatUnit.parse("*CCO*"))
    print(f"Numerical kernels are ready after {time.perf_counter() - started:.1f} s.")


if __name__ == "__main__":
    main()
