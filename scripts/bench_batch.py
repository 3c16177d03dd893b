"""Rows a second of `periogt batch` against a plain loop in one process, and the memory of a batch.

The polymers are those of a CSV with a `smiles` column. For speed, rows beyond the file's are made by
lengthening the backbone, so that every row costs its work; for memory, the file is repeated; --repeated N M
times N rows over the first M polymers, and M rows, most of whose time is the start of the workers.
Ray runs its workers at a niceness of 15: on a machine that others use, set RAY_worker_niceness=0.

    scripts/bench_batch.py --input polymers.csv --rows 200 --property tg
    scripts/bench_batch.py --input polymers.csv --memory 10000 100000 --property tg
    scripts/bench_batch.py --input polymers.csv --repeated 200000 50 --property egc
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

_SAMPLE_INTERVAL_S = 0.5


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="CSV with a smiles column")
    parser.add_argument("--property", required=True)
    parser.add_argument("--rows", type=int, default=200, help="rows of the comparison of speed")
    parser.add_argument("--memory", type=int, nargs="*", help="compare the peak memory of batches of these sizes")
    parser.add_argument("--repeated", type=int, nargs=2, metavar=("N", "M"), help="time N rows over M polymers")
    given = parser.parse_args()
    with given.input.open(newline="", encoding="utf-8-sig") as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)]
    if given.memory:
        results = [_batch(list(islice(_repeated(smiles), n)), given.property) for n in given.memory]
        peaks = [float(result["peak_bytes"]) for result in results]
        print(json.dumps({"batches": results, "growth": peaks[-1] / peaks[0] - 1}))
        return
    if given.repeated:
        n_rows, n_polymers = given.repeated
        few = list(islice(_distinct(smiles), n_polymers))
        start, whole = (_batch(list(islice(_repeated(few), n)), given.property) for n in (n_polymers, n_rows))
        print(json.dumps({"distinct": start, "repeated": whole, "beyond_s": whole["wall_s"] - start["wall_s"]}))
        return
    chosen = list(islice(_distinct(smiles), given.rows))
    plain = _plain(chosen, given.property)
    batch = _batch(chosen, given.property)
    print(json.dumps({"n_rows": given.rows, "plain": plain, "batch": batch}))


def _distinct(smiles: Sequence[str]) -> Iterator[str]:
    """Yield the polymers, then the same with ever longer alkyl chains in the backbone."""
    for length in count():
        for text in smiles:
            yield text.replace("*", "*" + "C" * length, 1) if text.startswith("*") else text


def _repeated(smiles: Sequence[str]) -> Iterator[str]:
    for _ in count():
        yield from smiles


def _plain(smiles: Sequence[str], property_id: str) -> dict[str, float]:
    """Predict one polymer after the other in this process; loading is timed apart."""
    from periogt_ray.errors import PerioGTError
    from periogt_ray.model.predictor import Predictor
    from periogt_ray.model.tasks import Task
    from periogt_ray.polymer.features import featurize
    from periogt_ray.polymer.repeat_unit import RepeatUnit
    from periogt_ray.settings import Settings

    started_s = time.perf_counter()
    settings = Settings.from_env(os.environ)
    predictor = Predictor.load(settings)
    scheme = predictor.scheme(property_id)
    loaded_s = time.perf_counter()
    for text in smiles:
        try:
            polymer = featurize(RepeatUnit.parse(text), scheme, engine=settings.descriptor_engine)
            predictor.predict_many([Task(polymer, property_id)])
        except PerioGTError:
            continue
    elapsed_s = time.perf_counter() - loaded_s
    return {"load_s": loaded_s - started_s, "elapsed_s": elapsed_s, "rows_per_s": len(smiles) / elapsed_s}


def _batch(smiles: Sequence[str], property_id: str) -> dict[str, float]:
    """Run `periogt batch` in a process of its own and watch the memory of all that it starts."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "input.csv"
        path.write_text("smiles\n" + "".join(f"{text}\n" for text in smiles))
        command = [sys.executable, "-m", "periogt_ray", "batch", "--input", str(path), "--property", property_id]
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peaks = [0, 0]
        watch = threading.Thread(target=_watch, args=(process, peaks))
        watch.start()
        stdout, _ = process.communicate()
        elapsed_s = time.perf_counter() - started_s
        watch.join()
    if process.returncode not in (0, 1):
        raise SystemExit(f"periogt batch ended with {process.returncode}")
    n_failed = json.loads(stdout)["n_failed"]
    return {
        "n_rows": len(smiles),
        "n_failed": n_failed,
        "wall_s": elapsed_s,
        "rows_per_s": len(smiles) / elapsed_s,
        "peak_bytes": peaks[0],
        "driver_peak_bytes": peaks[1],
    }


def _watch(process: "subprocess.Popen[str]", peaks: list[int]) -> None:
    """Keep the largest sum of proportional set sizes of the process and all below it, and its own."""
    while process.poll() is None:
        sizes = {pid: _pss_bytes(pid) for pid in _tree(process.pid)}
        peaks[0] = max(peaks[0], sum(sizes.values()))
        peaks[1] = max(peaks[1], sizes.get(process.pid, 0))
        time.sleep(_SAMPLE_INTERVAL_S)


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
