"""What only a card can show; run with `scripts/test tests/model/test_on_gpu.py` where one is at hand."""

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.packing import Packing
from periogt_ray.model.precision import MIN_SPLIT_ROWS, Precision, split, split_linear
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import ARTIFACTS, golden_polymers

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
# Largest deviation from the reference in standard deviations of the labels.
LARGEST = {Precision.EXACT: 2e-5, Precision.FLOAT32: 2e-5, Precision.TF32: 5e-2}


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("max_nodes", [1, 1000, 65536])
def test_golden_polymers_have_the_values_of_the_reference(precision: Precision, max_nodes: int) -> None:
    golden = golden_polymers()
    packing = Packing(max_nodes, 0.15, first_nodes=300)
    predictor = Predictor(ArtifactDirectory.open(ARTIFACTS), CUDA, precision=precision, packing=packing)
    tasks = [Task(featurize(RepeatUnit.parse(one.smiles)), "eps", True) for one in golden]
    outcomes = predictor.predict_many(tasks)
    statistics = predictor.artifacts.label_stats("eps")
    found = np.array([(float(outcome.value or np.nan) - statistics.mean) / statistics.std for outcome in outcomes])
    expected = np.array([one.record["raw_prediction"]["eps"] for one in golden])
    deviation = np.abs(found - expected).max()
    print(f"{precision} {max_nodes}: largest deviation {deviation:.1e}")
    assert deviation < LARGEST[precision]


def test_the_kernel_splits_as_torch_does() -> None:
    rows = torch.randn(1000, 777, device=CUDA)
    weight, bias = torch.randn(40, 777, device=CUDA), torch.randn(40, device=CUDA)
    high, low = split(rows)
    weight_high, weight_low = split(weight)
    assert len(rows) >= MIN_SPLIT_ROWS
    parts = torch.cat([low, high, high], dim=-1)
    weights = torch.cat([weight_high, weight_low, weight_high], dim=-1)
    torch.testing.assert_close(
        split_linear(rows, weight, bias), torch.nn.functional.linear(parts, weights, bias), rtol=0, atol=0
    )
