"""Polymers per second and core from SMILES to model input, for both prompt schemes.

The golden polymers by default; --data takes a directory of CSV files with a column ``smiles``, of which a
sample is drawn. Then a table of the cost's growth with the repeat unit.

One thread, and times of the process's CPU, so that a busy machine disturbs them less.
"""

import argparse
import csv
import json
import os
import random
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from bench_descriptors import GROWTH, GROWTH_SIZES

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "polymers.json"


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="directory of CSV files")
    parser.add_argument("--sample", type=int, default=300, help="how many polymers of --data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    smiles = read_directory(options.data, options.sample) if options.data else read_golden()
    featurize(RepeatUnit.parse("*CC*"))  # loads the kernels
    print(f"{len(smiles)} polymers, one thread\n")
    print(f"{'scheme':10} {'polymers/s':>10} {'mean ms':>9} {'median ms':>9} {'max ms':>9}  slowest")
    for scheme in SCHEMES.values():
        seconds = {text: time_of(text, scheme) for text in smiles}
        values = np.array(list(seconds.values()))
        slowest = max(seconds, key=lambda text: seconds[text])
        statistics = " ".join(f"{1000 * value:9.1f}" for value in (values.mean(), np.median(values), values.max()))
        print(f"{scheme.name:10} {1 / values.mean():10.1f} {statistics}  {slowest}")
    for scheme in SCHEMES.values():
        show_growth(scheme)


def show_growth(scheme: PromptScheme) -> None:
    """Print how the cost of a polymer grows with the number of atoms in the repeat unit."""
    print(f"\nGrowth with the repeat unit, scheme {scheme.name}: milliseconds\n")
    print("| repeat unit | " + " | ".join(f"{size} atoms" for size in GROWTH_SIZES) + " |")
    print("| --- |" + " --- |" * len(GROWTH_SIZES))
    for name, build in GROWTH.items():
        cells = [f"{1000 * time_of(build(size), scheme):.0f}" for size in GROWTH_SIZES]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def time_of(smiles: str, scheme: PromptScheme) -> float:
    """Return the seconds of CPU that one polymer takes; one that is refused counts as well."""
    start = time.process_time()
    try:
        featurize(RepeatUnit.parse(smiles), scheme)
    except ValidationError as error:
        print(f"refused: {error.message}")
    return time.process_time() - start


def read_golden() -> list[str]:
    """Return the SMILES of the golden polymers."""
    return [entry["smiles"] for entry in json.loads(GOLDEN.read_text())["polymers"]]


def read_directory(folder: Path, n_polymers: int) -> list[str]:
    """Return a sample of the distinct SMILES in a directory's CSV files."""
    smiles = set()
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            smiles |= {row["smiles"] for row in csv.DictReader(file)}
    return random.Random(0).sample(sorted(smiles), min(n_polymers, len(smiles)))


if __name__ == "__main__":
    main()
