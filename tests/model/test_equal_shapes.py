"""The same polymer gets the same bits whatever is computed with it, whichever instructions the libraries use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from periogt_ray.model.equal_shapes import BLOCK_ROWS, by_blocks, by_parts, lay_out_weights

TESTS = Path(__file__).parents[1]
FLAGS = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
# Kinds of processor that torch and MKL can be told to take this one for, with what it needs to be one.
KINDS = [
    ("default", "SSE4_2", set()),
    ("avx2", "AVX2", {"avx2", "fma"}),
    ("avx512", "AVX512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    ("avx2", "AVX512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
]


@pytest.mark.parametrize(("aten", "mkl"), [(aten, mkl) for aten, mkl, needed in KINDS if needed <= FLAGS])
def test_an_answer_is_the_same_in_every_company(aten: str, mkl: str) -> None:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": aten, "MKL_ENABLE_INSTRUCTIONS": mkl}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    program = TESTS / "support" / "same_bits.py"
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["capability"] == aten.upper()
    assert found["differing"] == []


def test_blocks_have_one_shape_and_an_aligned_start() -> None:
    seen = []

    def recorded(rows: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(rows.shape), rows.is_contiguous(), rows.data_ptr() % 64))
        return rows * 2

    with torch.inference_mode():
        for n_rows in (1, 63, 64, 65, 500):
            wide = torch.randn(n_rows, 33)
            rows = wide[:, 1:]
            assert torch.equal(by_blocks(recorded, rows), rows * 2)
    assert set(seen) == {((BLOCK_ROWS, 32), True, 0)}


def test_nothing_in_nothing_out() -> None:
    with torch.inference_mode():
        assert by_blocks(nn.Linear(3, 5), torch.zeros(0, 3)).shape == (0, 5)


def test_parts_are_computed_one_by_one() -> None:
    rows = torch.randn(6, 4)
    sums: list[int] = []
    with torch.inference_mode():
        found = by_parts(lambda part: sums.append(len(part)) or part + 1, rows, n_rows=2)  # type: ignore[func-returns-value]
    assert torch.equal(found, rows + 1)
    assert sums == [2, 2, 2]


def test_training_computes_all_rows_at_once_and_has_gradients() -> None:
    layer = nn.Linear(4, 3)
    shapes = []
    rows = torch.randn(100, 4)
    by_blocks(lambda part: shapes.append(part.shape) or layer(part), rows).sum().backward()  # type: ignore[func-returns-value]
    assert shapes == [rows.shape]
    assert layer.weight.grad is not None


def test_laid_out_weights_are_the_same_weights() -> None:
    network = nn.Sequential(nn.Linear(5, 7), nn.Embedding(3, 4), nn.MultiheadAttention(8, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lay_out_weights(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert after["0.weight"].stride() == (1, 32)
