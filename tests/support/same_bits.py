"""Predicts the same polymers in many companies; prints as JSON which answers differ in a bit.

A program of its own, because libraries read which instructions they may use when they are loaded.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.equal_shapes import BLOCK_ROWS, GRAPH_BLOCK_ROWS, THIN_BLOCK_ROWS, by_blocks
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR
from support.golden import ARTIFACTS, golden_polymers
from support.golden_copolymers import conditioned, copolymers, features_of, make_artifacts


def bits(outcome: Outcome) -> tuple[str | None, bytes]:
    assert outcome.error is None
    assert outcome.embedding is not None
    return (None if outcome.value is None else outcome.value.hex()), outcome.embedding.tobytes()


def companies(tasks: list[Task], artifacts: ArtifactDirectory) -> Iterator[tuple[str, dict[int, Outcome]]]:
    """Yield outcomes by task, computed together in different ways."""
    order = np.random.default_rng(3).permutation(len(tasks))
    for max_nodes in (1, 300, 2048):
        predictor = Predictor(artifacts, torch.device("cpu"), packing=Packing(max_nodes, 0.0))
        yield f"packed to {max_nodes}", dict(enumerate(predictor.predict_many(tasks)))
        shuffled = predictor.predict_many([tasks[index] for index in order])
        yield f"shuffled, packed to {max_nodes}", dict(zip(order.tolist(), shuffled, strict=True))
    for size in (2, 5, 11):
        parts = [tasks[begin : begin + size] for begin in range(0, len(tasks), size)]
        outcomes = [outcome for part in parts for outcome in predictor.predict_many(part)]
        yield f"{size} at a time", dict(enumerate(outcomes))


def misplaced(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """Return the same values in a view that starts at another address, `offset` elements behind a cache line."""
    buffer = torch.empty(tensor.numel() + 16, dtype=tensor.dtype)
    view = buffer[offset : offset + tensor.numel()].view(tensor.shape)
    view.copy_(tensor)
    return view


def rows_of_block(layer: str) -> int:
    if "path_attn" in layer or "trip_fortrans" in layer:
        return THIN_BLOCK_ROWS
    return GRAPH_BLOCK_ROWS if "fp_proj" in layer or "md_proj" in layer else BLOCK_ROWS


def layers_differ(encoder: PerioGTEncoder) -> list[str]:
    """Return where a row's bits depend on how many rows there are, its place among them, or where they start."""
    generator = torch.Generator().manual_seed(0)
    linear = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, torch.nn.Linear)}
    found = []
    with torch.inference_mode():
        for name, layer in linear.items():
            in_blocks = partial(by_blocks, layer, n_rows=rows_of_block(name))
            rows = torch.randn(1000, layer.in_features, generator=generator)
            expected = in_blocks(rows)
            for n_rows in (1, 2, 3, 7, 63, 64, 65, 200):
                for begin in (0, 1, 130, 700):
                    for offset in (0, 1, 8):
                        chosen = misplaced(rows[begin : begin + n_rows], offset)
                        if not torch.equal(in_blocks(chosen), expected[begin : begin + n_rows]):
                            found.append(f"{name}: {n_rows} rows from {begin}, {offset} floats off")
    return found


def composites_differ() -> list[str]:
    """Return which copolymers and polymers with conditions get other bits in other companies."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = ArtifactDirectory.open(make_artifacts(Path(folder) / "artifacts"))
        records = {"ea": copolymers()[14:25], "opv": conditioned()[8:]}
        tasks = [
            Task(features_of(record, artifacts.property(name).prompt_scheme), name)
            for name, some in records.items()
            for record in some
        ]
        alone = [Predictor(artifacts, torch.device("cpu")).predict_many([task])[0].value for task in tasks]
        found = []
        for name, outcomes in companies(tasks, artifacts):
            found += [f"{name}: {tasks[i].polymer.key}" for i, one in outcomes.items() if one.value != alone[i]]
        return found


def main() -> None:
    torch.set_num_threads(1)
    differing = []
    # The embedded model has five networks a property, so one property of fewer polymers says as much.
    for directory, properties, every in ((ARTIFACTS, ["eps", "tg"], 3), (EMBEDDED_DIR, ["egc"], 6)):
        artifacts = ArtifactDirectory.open(directory)
        predictor = Predictor(artifacts, torch.device("cpu"))
        scheme = predictor.scheme(properties[0])
        polymers: list[FeaturizedPolymer] = [
            featurize(RepeatUnit.parse(golden.smiles), scheme) for golden in golden_polymers()[:36:every]
        ]
        tasks = [Task(polymer, name, True) for polymer in polymers for name in properties]
        expected = {index: bits(predictor.predict_many([task])[0]) for index, task in enumerate(tasks)}
        for name, outcomes in companies(tasks, artifacts):
            differing += [f"{name}: {tasks[i].polymer.smiles}" for i, o in outcomes.items() if bits(o) != expected[i]]
        differing += layers_differ(predictor._encoder)
    differing += composites_differ()
    json.dump({"capability": torch.backends.cpu.get_cpu_capability(), "differing": differing}, sys.stdout)


if __name__ == "__main__":
    main()
