"""Polymers a second through both passes on a device, for each precision, against another revision in the same run.

Weights are random and of full size, so the rates are those of the published networks. The polymers of a table are
featurized once; each variant then runs in a process of its own, in turn, and the best of its rounds counts. The
deviation is that from float32 in standard deviations of the outputs.

    git worktree add /tmp/older 499048b
    python scripts/bench_passes.py --input polymers.csv --device cuda --against /tmp/older
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, help="CSV with a column smiles.  [default: the golden polymers]")
    parser.add_argument("--polymers", type=int, default=1000, help="how many of them")
    parser.add_argument("--scheme", default="release")
    parser.add_argument("--width", type=int, default=768, help="a multiple of 24")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="checkout of another revision")
    parser.add_argument("--precisions", default="exact,float32,tf32")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    with TemporaryDirectory() as scratch:
        prepared = Path(scratch)
        seconds = prepare(options, prepared)
        print(f"featurized {options.polymers} polymers in {seconds:.1f} s on {os.cpu_count()} CPUs", flush=True)
        variants = [(name, ROOT) for name in options.precisions.split(",")]
        if options.against:
            variants.insert(0, ("older", options.against))
        found = {name: run_child(name, checkout, prepared) for name, checkout in variants}
    print_table(found)


def prepare(options: argparse.Namespace, folder: Path) -> float:
    """Write features and random weights; return the seconds that featurizing took."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from bench_predict import write_random_artifacts

    smiles = table_smiles(options.input)
    smiles = (smiles * (1 + options.polymers // len(smiles)))[: options.polymers]
    distinct = list(dict.fromkeys(smiles))
    featurize_one((distinct[0], options.scheme))  # compiles the kernels
    start = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as executor:
        features = list(executor.map(featurize_one, [(text, options.scheme) for text in distinct], chunksize=4))
    seconds = time.perf_counter() - start
    (folder / "features.pickle").write_bytes(pickle.dumps([polymer for polymer in features if polymer is not None]))
    write_random_artifacts(folder / "artifacts", options.width, options.layers)
    return seconds


def table_smiles(path: Path | None) -> list[str]:
    """Return the SMILES of a CSV file, or of the golden polymers."""
    if path is None:
        golden = json.loads((ROOT / "tests" / "golden" / "polymers.json").read_text())
        return [entry["smiles"] for entry in golden["polymers"]]
    import pandas

    return [str(text) for text in pandas.read_csv(path)["smiles"]]


def featurize_one(given: tuple[str, str]) -> Any:
    """Return the features of one polymer, or None if it has none."""
    from periogt_ray.errors import PerioGTError
    from periogt_ray.polymer.features import featurize
    from periogt_ray.polymer.prompt_scheme import PromptScheme
    from periogt_ray.polymer.repeat_unit import RepeatUnit

    try:
        return featurize(RepeatUnit.parse(given[0]), PromptScheme.named(given[1]))
    except PerioGTError:
        return None


def run_child(name: str, checkout: Path, prepared: Path) -> dict[str, Any]:
    """Measure one variant in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--child", str(prepared)]
    command += ["--precisions", name]
    path = os.pathsep.join([str(checkout.resolve()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return rate and outputs of one variant, in a child process."""
    import torch

    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.model.predictor import Predictor
    from periogt_ray.model.tasks import Task

    given: dict[str, Any] = {}
    if options.precisions != "older":
        from periogt_ray.model.precision import Precision

        given["precision"] = Precision(options.precisions)
    # Written by the parent a moment ago.
    polymers = pickle.loads((options.child / "features.pickle").read_bytes())
    device = torch.device(options.device)
    predictor = Predictor(ArtifactDirectory.open(options.child / "artifacts"), device, **given)
    tasks = [Task(polymer, "eps") for polymer in polymers]
    predictor.predict_many(tasks[:64])
    best = 0.0
    for _ in range(options.rounds):
        start = time.perf_counter()
        outcomes = predictor.predict_many(tasks)
        best = max(best, len(tasks) / (time.perf_counter() - start))
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    return {"rate": best, "values": [outcome.value for outcome in outcomes], "memory": memory, "device": where}


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """Print rates, ratios to the first variant, and deviations from float32."""
    first = next(iter(found))
    print(f"{found[first]['device']}\n")
    print(f"{'variant':10} {'polymers/s':>10} {'ratio':>6} {'peak GB':>8} {'largest':>9} {'rms':>9}")
    reference = np.array(found["float32"]["values"]) if "float32" in found else None
    for name, result in found.items():
        line = f"{name:10} {result['rate']:10.1f} {result['rate'] / found[first]['rate']:6.2f}"
        line += f" {result['memory'] / 1e9:8.2f}"
        if reference is not None:
            deviation = (np.array(result["values"]) - reference) / reference.std()
            line += f" {np.abs(deviation).max():9.1e} {np.sqrt((deviation**2).mean()):9.1e}"
        print(line)


if __name__ == "__main__":
    main()
