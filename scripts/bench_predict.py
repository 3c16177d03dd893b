"""Seconds per polymer by stage with full-size random weights, and how near the passes come to the matmul rate.

The rate is that of this machine in this run: products of the sizes of a layer's feed-forward
network. Both passes are linear layers for the most part, so their share of it tells what is lost.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model import equal_shapes
from periogt_ray.model.composite_network import CopolymerRegressor
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.dimensions import N_DESCRIPTORS
from periogt_ray.polymer.features import FeaturizedPolymer, featurize, prompt_graphs
from periogt_ray.polymer.fingerprint import fingerprint
from periogt_ray.polymer.input_features import featurized_input
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import build_triplet_graph
from periogt_ray.settings import EMBEDDED_DIR

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "polymers.json"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polymers", type=int, default=41, help="how many of the golden polymers")
    parser.add_argument("--scheme", choices=list(SCHEMES), default="release")
    parser.add_argument("--engine", choices=["native", "mordred"], default="native")
    parser.add_argument("--width", type=int, default=768, help="a multiple of 24")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--copolymers", type=int, help="time so many of ten monomers instead, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scheme = PromptScheme.named(options.scheme)
    smiles = [entry["smiles"] for entry in json.loads(GOLDEN.read_text())["polymers"]][: options.polymers]
    units = [RepeatUnit.parse(text) for text in smiles]
    if options.copolymers:
        with TemporaryDirectory() as root:
            artifacts = write_random_artifacts(Path(root), options.width, options.layers, is_copolymers=True)
            bench_copolymers(smiles[:10], options.copolymers, artifacts, torch.device(options.device))
        return
    featurize(units[0], scheme, engine=options.engine)  # compiles or loads the kernels
    print_stages(units, scheme, options.engine)
    polymers = [featurize(unit, scheme, engine=options.engine) for unit in units]
    bench_same_bits(units)
    with TemporaryDirectory() as root:
        artifacts = write_random_artifacts(Path(root), options.width, options.layers)
        bench_passes(polymers, artifacts, torch.device(options.device))


def print_stages(units: Sequence[RepeatUnit], scheme: PromptScheme, engine: str) -> None:
    """Time the stages before the network, polymer by polymer."""
    seconds: dict[str, list[float]] = {"oligomers": [], "fingerprints": [], "descriptors": [], "graphs": []}
    for unit in units:
        sizes = [3 * n for n in scheme.multimer_sizes]
        with stopwatch(seconds["oligomers"]):
            oligomers = [unit.oligomer(size) for size in sizes]
        with stopwatch(seconds["fingerprints"]):
            _ = [fingerprint(oligomer) for oligomer in oligomers]
        with stopwatch(seconds["descriptors"]):
            _ = [descriptors(oligomer, engine=engine) for oligomer in oligomers]
        with stopwatch(seconds["graphs"]):
            classes = BondClasses(unit)
            _ = [build_triplet_graph(text, classes) for text, _ in prompt_graphs(unit, scheme)]
    print(f"{len(units)} polymers, {scheme.name} scheme, one thread\n")
    print(f"{'stage':14} {'mean s':>9} {'median s':>9} {'max s':>9}")
    for stage, values in seconds.items():
        print(f"{stage:14} {np.mean(values):9.4f} {np.median(values):9.4f} {np.max(values):9.4f}")


def bench_passes(polymers: Sequence[FeaturizedPolymer], artifacts: ArtifactDirectory, device: torch.device) -> None:
    """Time both passes, polymer by polymer and packed, against the matmul rate."""
    rate = matmul_rate(artifacts.encoder_dims["width"], device)
    for name, packing in (("alone", Packing(1, 0.0)), ("packed", None)):
        predictor = Predictor(artifacts, device, packing=packing)
        seconds: dict[str, list[float]] = {"prompt pass": [], "head pass": []}
        predictor._encoded = timed(predictor._encoded, seconds["prompt pass"], device)  # type: ignore[assignment, method-assign]
        predictor._head_pass = timed(predictor._head_pass, seconds["head pass"], device)  # type: ignore[assignment, method-assign]
        tasks = [Task(polymer, "eps") for polymer in polymers]
        predictor.predict_many(tasks[:1])
        for values in seconds.values():
            values.clear()
        predictor.predict_many(tasks)
        measured = {stage: sum(values) for stage, values in seconds.items()}
        total = sum(measured.values())
        with FlopCounterMode(display=False) as counter:
            predictor.predict_many(tasks)
        share = counter.get_total_flops() / total / rate
        for stage, stage_s in measured.items():
            print(f"{stage:14} {stage_s / len(polymers):9.4f}  {name}")
        print(f"{'both passes':14} {total / len(polymers):9.4f}  {name}: {share:.0%} of {rate / 1e9:.0f} GFLOP/s")


def bench_copolymers(
    monomers: Sequence[str], n_copolymers: int, artifacts: ArtifactDirectory, device: torch.device
) -> None:
    """Time copolymers whose monomers' prompts are known, everything included, against the matmul rate."""
    inputs = (
        Copolymer.parse(a, b, ratio_a=ratio, architecture=architecture)
        for (a, b), ratio, architecture in product(
            combinations(monomers, 2), (0.25, 0.5, 0.75), ("block", "random", "alternating")
        )
        if architecture != "alternating" or ratio == 0.5
    )
    scheme = artifacts.property("ea").prompt_scheme
    kept = {text: featurize(RepeatUnit.parse(text), scheme) for text in monomers}
    by_key = {polymer.key: polymer for polymer in kept.values()}
    tasks = [Task(featurized_input(one, lambda unit: by_key[unit.key]), "ea") for one in islice(inputs, n_copolymers)]
    predictor = Predictor(artifacts, device)
    predictor.predict_many(tasks)  # computes the monomers' prompts
    seconds: list[float] = []
    with stopwatch(seconds, device):
        predictor.predict_many(tasks)
    with FlopCounterMode(display=False) as counter:
        predictor.predict_many(tasks)
    rate = matmul_rate(artifacts.encoder_dims["width"], device)
    share = counter.get_total_flops() / seconds[0] / rate
    print(
        f"{len(tasks)} copolymers of {len(monomers)} monomers: {len(tasks) / seconds[0]:.1f} a second, "
        f"{share:.0%} of {rate / 1e9:.0f} GFLOP/s"
    )


def bench_same_bits(units: Sequence[RepeatUnit]) -> None:
    """Time the embedded network, with three properties, in parts of equal shape and with all rows at once."""
    artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    properties = artifacts.property_ids(["all"])[:3]
    polymers = [featurize(unit, artifacts.property(properties[0]).prompt_scheme) for unit in units]
    tasks = [Task(polymer, name) for polymer in polymers for name in properties]
    print(f"\n{'embedded network, three properties':36} {'polymers/s':>10}")
    rates: dict[str, list[float]] = {
        name: [] for name in ("equal shapes, packed", "equal shapes, alone", "all rows at once, packed")
    }
    promises_bits = equal_shapes._promises_bits
    for _ in range(5):
        for name in rates:
            packing = Packing(1, 0.0) if name.endswith("alone") else None
            predictor = Predictor(artifacts, torch.device("cpu"), packing=packing)
            predictor.predict_many(tasks[:3])
            seconds: list[float] = []
            if name.startswith("all rows"):
                equal_shapes._promises_bits = lambda _: False
            try:
                with stopwatch(seconds):
                    predictor.predict_many(tasks)
            finally:
                equal_shapes._promises_bits = promises_bits
            rates[name].append(len(polymers) / seconds[0])
    best = {name: max(found) for name, found in rates.items()}
    for name, rate in best.items():
        print(f"{name:36} {rate:10.1f}")
    share = best["equal shapes, packed"] / best["all rows at once, packed"]
    print(f"{'packed, share of all at once':36} {share:10.2f}\n")


def matmul_rate(width: int, device: torch.device) -> float:
    """Return the best of several measurements, FLOP/s."""
    left, right = torch.randn(1024, width, device=device), torch.randn(4 * width, width, device=device)
    best = 0.0
    for _ in range(10):
        seconds: list[float] = []
        with stopwatch(seconds, device):
            torch.nn.functional.linear(left, right)
        best = max(best, 2 * left.numel() * len(right) / seconds[0])
    return best


def write_random_artifacts(root: Path, width: int, n_layers: int, *, is_copolymers: bool = False) -> ArtifactDirectory:
    """Write an artifact directory with random weights of the given size, for eps or for copolymers' ea."""
    torch.manual_seed(0)
    sizes = ModelSizes(width=width, n_layers=n_layers, n_heads=12, path_width=width // 12, ffn_width=4 * width)
    property_id, network = ("ea", CopolymerRegressor) if is_copolymers else ("eps", PerioGTRegressor)
    for kind, path in (
        (PerioGTEncoder, "pretrained_ckpt/base"),
        (network, f"finetuned_ckpt/{property_id}/best_model"),
    ):
        file = root / f"{path}.safetensors"
        file.parent.mkdir(parents=True)
        save_file(kind(sizes).state_dict(), file)
    np.savez(root / "descriptor_scaler.npz", mean=np.zeros(N_DESCRIPTORS), scale=np.full(N_DESCRIPTORS, 1e3))
    (root / "label_stats.json").write_text(json.dumps({property_id: {"mean": 0.0, "std": 1.0}}))
    return ArtifactDirectory.open(root)


@contextmanager
def stopwatch(seconds: list[float], device: torch.device | None = None) -> Iterator[None]:
    """Append the seconds that the block takes; on a CPU those of this one thread, whatever else the machine does."""
    is_card = device is not None and device.type == "cuda"
    clock = time.perf_counter if is_card else time.process_time
    start = clock()
    yield
    if is_card:
        torch.cuda.synchronize()
    seconds.append(clock() - start)


def timed(function: Callable[..., object], seconds: list[float], device: torch.device) -> Callable[..., object]:
    """Return the function with its seconds recorded."""

    def wrapper(*args: object) -> object:
        with stopwatch(seconds, device):
            return function(*args)

    return wrapper


if __name__ == "__main__":
    main()
