"""Writes and reads a second of the feature store and bytes an entry, against the form with a file a polymer.

Both forms write and read the same features, the older one with the code of --old, for which a worktree of git is made.
They take turns, each in a process of its own. Times are those of the process's CPU, so that a busy machine disturbs
them less; files are in the system's cache. Featurizing is left out. Then, of the present form, a large store of short
entries: how long it takes to open, and to find an entry.
"""

import argparse
import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLD = "0267f2d"  # the last revision with a file a polymer
EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers_120.csv"


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", default=OLD, help="revision of git that has the older form")
    parser.add_argument("--directory", type=Path, help="where the stores are made; by default the temporary directory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large store; 0 leaves it out")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.directory)))
        return
    print("| scheme | form | written/s | read/s | ms a read | bytes an entry | files |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with worktree(options.old) as old:
        for scheme in ("release", "monomer"):
            found = {form: [] for form in ("older", "present")}
            for _ in range(options.rounds):
                for form, root in (("older", old), ("present", ROOT)):
                    found[form].append(measured(root, scheme, options.directory))
            for form, runs in found.items():
                best = {name: max(run[name] for run in runs) for name in ("writes_per_s", "reads_per_s")}
                print(
                    f"| {scheme} | {form} | {best['writes_per_s']:.0f} | {best['reads_per_s']:.0f} "
                    f"| {1000 / best['reads_per_s']:.3f} | {runs[0]['n_bytes']:.0f} | {runs[0]['n_files']} |"
                )
    if options.entries:
        measure_large(options.entries, options.directory)


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """Check a revision out in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "old"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(path), revision], cwd=ROOT, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=ROOT, check=True)


def measured(root: Path, scheme: str, directory: Path | None) -> dict[str, float]:
    """Measure the form of the sources at a root, in a process of its own."""
    arguments = ["--measure", scheme, *(["--directory", str(directory)] if directory else [])]
    result = subprocess.run(
        [sys.executable, str(Path(__file__).absolute()), *arguments],
        # Kernels are compiled once for both.
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        cwd=root,
    )
    return dict(json.loads(result.stdout))


def measure(scheme_name: str, directory: Path | None) -> dict[str, float]:
    """Write and read every polymer of the example, featurized before."""
    import csv

    from periogt_ray.polymer import feature_store
    from periogt_ray.polymer.features import computed_unit, featurize
    from periogt_ray.polymer.prompt_scheme import PromptScheme
    from periogt_ray.polymer.repeat_unit import RepeatUnit

    store_class = getattr(feature_store, "FeatureStore", None) or feature_store.FeatureFiles
    scheme = PromptScheme.named(scheme_name)
    with EXAMPLE.open(newline="") as file:
        units = [computed_unit(RepeatUnit.parse(row["smiles"]), scheme) for row in csv.DictReader(file)]
    ready = {unit.smiles: featurize(unit, scheme) for unit in units}
    units = [RepeatUnit(smiles) for smiles in ready]
    feature_store.featurize = lambda unit, *_, **__: ready[unit.smiles]
    with tempfile.TemporaryDirectory(dir=directory) as place:
        store = store_class(Path(place), 1 << 34)
        store.featurize(units[0], scheme, engine="native")  # makes directories, looks at what is there
        written_s = seconds_of(store, units[1:], scheme)
        if hasattr(store, "close"):
            store.close()
        reader = store_class(Path(place), 1 << 34)
        reader.featurize(units[0], scheme, engine="native")
        shuffled = random.Random(0).sample(units, len(units))
        read_s = min(seconds_of(reader, shuffled, scheme) for _ in range(5))
        sizes = [path.stat().st_size for path in Path(place).rglob("*") if path.is_file()]
    return {
        "writes_per_s": (len(units) - 1) / written_s,
        "reads_per_s": len(units) / read_s,
        "n_bytes": sum(sizes) / len(units),
        "n_files": len(sizes),
    }


def seconds_of(store: object, units: list[object], scheme: object) -> float:
    """Return how long a store takes for all of them."""
    started_s = time.process_time()
    for unit in units:
        store.featurize(unit, scheme, engine="native")  # type: ignore[attr-defined]
    return time.process_time() - started_s


def measure_large(n_entries: int, directory: Path | None) -> None:
    """Make a store of short entries, and measure opening it and finding entries."""
    segments = importlib.import_module("periogt_ray.polymer.segments")
    n_segments = max(1, n_entries // 5000)  # as many to a segment as polymers of the release scheme
    chance = random.Random(0)
    keys = [chance.randbytes(16) for _ in range(n_entries)]
    with tempfile.TemporaryDirectory(dir=directory) as place:
        for number in range(n_segments):
            writer = segments.SegmentWriter(Path(place))
            for key in keys[number::n_segments]:
                writer.append(key, key)
            writer.seal()
        started_s = time.process_time()
        index = segments.SegmentIndex(Path(place))
        index.find(keys[0])
        opened_s = time.process_time() - started_s
        asked = chance.sample(keys, min(20_000, n_entries))
        started_s = time.process_time()
        for key in asked:
            assert index.find(key) == key
        found_s = (time.process_time() - started_s) / len(asked)
        started_s = time.process_time()
        for key in asked:
            assert not index.has(key[::-1])
        absent_s = (time.process_time() - started_s) / len(asked)
        index.close()
    print(
        f"\n{n_entries} entries in {n_segments} segments: opened in {opened_s:.2f} s; found in {1e6 * found_s:.0f} us, "
        f"known to be absent in {1e6 * absent_s:.0f} us"
    )


if __name__ == "__main__":
    main()
