"""Time the native descriptors against mordredcommunity, in one process on one thread.

::

    OMP_NUM_THREADS=1 python scripts/bench_descriptors.py            # golden polymers, growth, families
    OMP_NUM_THREADS=1 python scripts/bench_descriptors.py --csv a.csv b.csv   # slowest polymers of those files

Times are of the process's CPU, so that a busy machine disturbs them less. Exits with 1 if the golden
3-mers are not 20 times and the 9-mers not 12 times faster than mordred.
"""

import argparse
import csv
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rdkit import Chem

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.repeat_unit import OLIGOMER_SIZES, RepeatUnit

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "polymers.json"
TARGETS = {3: 20.0, 9: 12.0}

GROWTH: dict[str, Callable[[int], str]] = {
    "CH2 chain": lambda k: "*" + "C" * k + "*",
    "phenylene chain": lambda k: "*" + "c1ccc(cc1)" * (k // 6) + "*",
    "fluorinated chain": lambda k: "*" + "C(F)(F)" * (k // 3) + "*",
    "ester chain": lambda k: "*" + "C(=O)OCC" * (k // 5) + "*",
    "acene": lambda k: _acene((k - 2) // 4),
}
GROWTH_SIZES = (6, 12, 24, 48, 96, 132)


def _acene(n_rings: int) -> str:
    if n_rings < 2:
        return "*c1ccc(*)cc1"
    forth = "".join(f"cc{_ring(k)}" for k in range(3, n_rings + 1))
    back = "".join(f"c{_ring(k)}c" for k in range(n_rings, 2, -1))
    return f"*c1ccc2{forth}cc(*)cc{back}c2c1"


def _ring(number: int) -> str:
    return str(number) if number < 10 else f"%{number}"


def timed(function: Callable[[Chem.Mol], np.ndarray], mol: Chem.Mol, *, repeats: int = 1) -> float:
    """Return the least CPU time of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function(mol)
        times.append(time.process_time() - started)
    return min(times)


def compare_golden(n_polymers: int) -> bool:
    """Print times and speed-ups on the golden polymers; return whether the targets are met."""
    polymers = json.loads(GOLDEN.read_text())["polymers"][:n_polymers]
    print(f"\nGolden polymers ({len(polymers)}), milliseconds\n")
    print("| oligomer | atoms | native mean | median | max | mordred mean | median | max | ratio of means |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    is_met = True
    for n_units in OLIGOMER_SIZES:
        mols = [Chem.MolFromSmiles(polymer["oligomers"][str(n_units)]) for polymer in polymers]
        native = np.array([timed(descriptors, mol, repeats=3) for mol in mols]) * 1e3
        mordred = np.array([timed(lambda mol: descriptors(mol, engine="mordred"), mol) for mol in mols]) * 1e3
        ratio = mordred.mean() / native.mean()
        is_met &= ratio >= TARGETS.get(n_units, 0.0)
        cells = [f"{f(times):.1f}" for times in (native, mordred) for f in (np.mean, np.median, np.max)]
        n_atoms = np.mean([mol.GetNumAtoms() for mol in mols])
        print(f"| {n_units}-mer | {n_atoms:.0f} | {' | '.join(cells)} | {ratio:.0f} |", flush=True)
    return bool(is_met)


def show_growth() -> None:
    """Print how the cost of all three oligomers grows with the size of the repeat unit."""
    print("\nGrowth with the repeat unit: milliseconds for the 3-, 6- and 9-mer together\n")
    print("| repeat unit | " + " | ".join(f"{size} atoms" for size in GROWTH_SIZES) + " |")
    print("| --- |" + " --- |" * len(GROWTH_SIZES))
    for name, build in GROWTH.items():
        cells = []
        for size in GROWTH_SIZES:
            try:
                unit = RepeatUnit.parse(build(size))
                total = sum(timed(descriptors, unit.oligomer(n_units)) for n_units in OLIGOMER_SIZES)
                cells.append(f"{total * 1e3:.0f}")
            except ValidationError as error:
                cells.append("rejected: " + str(error)[:24] + "...")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def show_families(n_polymers: int) -> None:
    """Print the share of each family of columns, on golden 3- and 9-mers."""
    polymers = json.loads(GOLDEN.read_text())["polymers"][:n_polymers]
    families = {n_units: _family_times(polymers, n_units) for n_units in (3, 9)}
    print("\nWhere the time goes: share of the native engine, golden polymers\n")
    print("| module | 3-mer | 9-mer |\n| --- | --- | --- |")
    totals = {n_units: sum(times.values()) for n_units, times in families.items()}
    for name in sorted(families[9], key=lambda key: -families[9][key]):
        print(f"| {name} | {families[3][name] / totals[3]:.0%} | {families[9][name] / totals[9]:.0%} |")


def _family_times(polymers: list[dict[str, dict[str, str]]], n_units: int) -> dict[str, float]:
    import cProfile
    import pstats

    mols = [Chem.MolFromSmiles(polymer["oligomers"][str(n_units)]) for polymer in polymers]
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    for mol in mols:
        descriptors(mol)
    profile.disable()
    times: dict[str, float] = defaultdict(float)
    for (path, _, _), (*_, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        # The time of a family is that of its functions as called by the module that puts all together.
        for (caller, _, _), (_, _, _, cumulative) in callers.items():
            if caller.endswith("native.py") and "periogt_ray/descriptors" in path and not path.endswith("native.py"):
                times[Path(path).stem] += cumulative
    return times


def show_slowest(paths: Iterable[Path]) -> None:
    """Print the slowest polymers of CSV files with a ``smiles`` column."""
    smiles = sorted({row["smiles"] for path in paths for row in csv.DictReader(path.open(encoding="utf-8-sig"))})
    results = []
    n_rejected = 0
    for text in smiles:
        try:
            unit = RepeatUnit.parse(text)
            mols = [unit.oligomer(n_units) for n_units in OLIGOMER_SIZES]
            results.append((sum(timed(descriptors, mol) for mol in mols), mols[-1].GetNumAtoms(), unit.smiles))
        except ValidationError:
            n_rejected += 1
    times = np.array([seconds for seconds, _, _ in results])
    print(f"\n{len(results)} polymers ({n_rejected} rejected), seconds for all three oligomers: "
          f"mean {times.mean():.3f}, median {np.median(times):.3f}, max {times.max():.3f}\n")  # fmt: skip
    for seconds, n_atoms, text in sorted(results, reverse=True)[:5]:
        print(f"{seconds:.3f} s, {n_atoms} atoms in the 9-mer: {text}")


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", nargs="+", type=Path, help="files with a smiles column: show their slowest polymers")
    parser.add_argument("--polymers", type=int, default=41, help="golden polymers to compare on (mordred is slow)")
    options = parser.parse_args()
    started = time.perf_counter()
    descriptors(Chem.MolFromSmiles("CCO"))
    print(f"First call: {time.perf_counter() - started:.1f} s")
    if options.csv:
        show_slowest(options.csv)
        return 0
    show_growth()
    show_families(options.polymers)
    return 0 if compare_golden(options.polymers) else 1


if __name__ == "__main__":
    sys.exit(main())
