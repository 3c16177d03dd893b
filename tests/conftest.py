import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from support.golden import ARTIFACTS, golden_polymers

pytest_plugins = ["support.tiers", "support.left_behind"]

# Bit-for-bit comparisons of the bare network need what the predictor sees to itself.
torch.set_num_threads(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" in metafunc.fixturenames:
        metafunc.parametrize("golden", golden_polymers(), ids=repr)


@pytest.fixture(scope="session")
def golden_predictor() -> Predictor:
    return Predictor(ArtifactDirectory.open(ARTIFACTS), torch.device("cpu"))
