"""Polymers per second and core from SMILES to model input, for both prompt schemes.

The golden polymers by default; --data takes a directory of CSV files, of whose column ``smiles`` a
sample is drawn. Then a table of the cost's growth with the repeat unit. --against compares with another revision: both
run in turn in processes of their own, and the ratio is the median of some rounds.

One thread, and times of the process's CPU, so that a busy machine disturbs them less.
"""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from bench_descriptors import GROWTH, GROWTH_SIZES

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "polymers.json"


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="directory of CSV files")
    parser.add_argument("--sample", type=int, default=300, help="how many polymers of --data")
    parser.add_argument("--against", metavar="REV", help="compare with this git revision, and print nothing else")
    parser.add_argument("--rounds", type=int, default=5, help="of --against")
    options = parser.parse_args()
    torch.set_num_threads(1)
    smiles = read_directory(options.data, options.sample) if options.data else read_golden()
    if options.against:
        compare(smiles, options.against, options.rounds)
        return
    featurize(RepeatUnit.parse("*CC*"))  # loads the kernels
    print(f"{len(smiles)} polymers, one thread\n")
    print(f"{'scheme':10} {'polymers/s':>10} {'mean ms':>9} {'median ms':>9} {'max ms':>9}  slowest")
    for scheme in SCHEMES.values():
        seconds = {text: time_of(text, scheme) for text in smiles}
        values = np.array(list(seconds.values()))
        slowest = max(seconds, key=lambda text: seconds[text])
        cells = " ".join(f"{1000 * value:9.1f}" for value in (values.mean(), np.median(values), values.max()))
        print(f"{scheme.name:10} {1 / values.mean():10.1f} {cells}  {slowest}")
    for scheme in SCHEMES.values():
        show_growth(scheme)


def compare(smiles: list[str], revision: str, n_rounds: int) -> None:
    """Print how many times as fast this working tree is as another revision."""
    smiles = [text for text in smiles if is_accepted(text)]
    with worktree(revision) as folder, worker(folder, smiles) as other, worker(ROOT, smiles) as this:
        print(f"{len(smiles)} polymers, one thread, median of {n_rounds} rounds\n")
        print(f"{'scheme':10} {revision[:9] + ' ms':>12} {'here ms':>9} {'times as fast':>14}  smallest, largest")
        for scheme in ("release", "monomer"):
            rounds = [(ask(other, scheme), ask(this, scheme)) for _ in range(n_rounds)]
            before, after = (1000.0 * statistics.median(column) / len(smiles) for column in zip(*rounds, strict=True))
            ratios = sorted(old / new for old, new in rounds)
            print(
                f"{scheme:10} {before:12.1f} {after:9.1f} {statistics.median(ratios):14.2f}"
                f"  {ratios[0]:.2f}, {ratios[-1]:.2f}",
                flush=True,
            )


def is_accepted(smiles: str) -> bool:
    """Tell whether a polymer is featurized at all, so that it can be compared."""
    with suppress(ValidationError):
        featurize(RepeatUnit.parse(smiles))
        return True
    return False


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """Check a revision out into a directory of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "revision"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(folder), revision], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


@contextmanager
def worker(folder: Path, smiles: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process that featurizes with the package in a folder."""
    command = [sys.executable, str(Path(__file__).with_name("featurize_worker.py"))]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=folder, text=True) as process:
        tell(process, json.dumps(smiles))
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def tell(process: subprocess.Popen[str], line: str) -> str:
    """Write a line to a process and return the line that it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline()


def ask(process: subprocess.Popen[str], scheme: str) -> float:
    """Return the seconds of CPU that all polymers take in a worker."""
    return float(tell(process, scheme))


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
            smiles |= {row["smiles"] for row in csv.DictReader(file) if "smiles" in row}
    return random.Random(0).sample(sorted(smiles), min(n_polymers, len(smiles)))


if __name__ == "__main__":
    main()
