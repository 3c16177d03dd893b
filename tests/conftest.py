import sys
from collections.abc import Iterator

import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.settings import EMBEDDED_DIR
from support.golden import ARTIFACTS, golden_polymers
from support.served_process import ServedProcess, serving, wait_for
from support.way import KEY

pytest_plugins = ["support.tiers", "support.left_behind"]

# Bit-for-bit comparisons of the bare network need what the predictor sees to itself.
torch.set_num_threads(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" in metafunc.fixturenames:
        metafunc.parametrize("golden", golden_polymers(), ids=repr)


@pytest.fixture(scope="session")
def golden_predictor() -> Predictor:
    return Predictor(ArtifactDirectory.open(ARTIFACTS), torch.device("cpu"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    """One service with the embedded model, one predictor and a key, for all tests that need no other one.

    Those of the page come first; tests/serve/test_service_process.py ends it.
    """
    log = tmp_path_factory.mktemp("served") / "log"
    variables = {"PERIOGT_CHECKPOINT_DIR": str(EMBEDDED_DIR), "PERIOGT_MAX_BATCH": "8", "PERIOGT_PREDICTORS": "1"}
    body = {"smiles": "*CC*", "property": "egc"}
    with serving(log, key=KEY, **variables) as served:
        # Right after the start a call may still be told to come again.
        wait_for(lambda: served.client.post("/v1/predict", json=body).status_code == 200, 120, "a first answer")
        yield served


@pytest.fixture
def cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """RDKit's drawing module does not load, as where its libraries are missing."""
    import rdkit.Chem

    monkeypatch.delattr(rdkit.Chem, "Draw", raising=False)
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw", None)
