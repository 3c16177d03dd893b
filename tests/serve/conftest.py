from collections.abc import Callable
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.calls import Backend
from periogt_ray.serve.http.routes import create_api
from periogt_ray.serve.service import Service, Status
from support.golden import ARTIFACTS
from support.golden_copolymers import make_artifacts
from support.serve_fakes import InProcessBackend, RecordedFigures, settings_with


class ServedHere:
    """The application in this process, with the real featurizer and predictor."""

    def __init__(self, backend: Backend, api_key: str | None = None, **bounds: object) -> None:
        settings = settings_with(api_key, **bounds)
        self.backend: Any = backend
        self.figures = RecordedFigures()
        self.service = Service(settings, backend, self.figures)
        self.service.artifacts = ArtifactDirectory.open(ARTIFACTS)
        self.service.become(Status.READY)
        self.app = create_api(self.service, settings)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def predict(self, smiles: str = "*CC*", property_id: str = "eps", **more: Any) -> Any:
        return self.client.post("/v1/predict", json={"smiles": smiles, "property": property_id, **more})


@pytest.fixture(scope="session")
def served_by() -> Callable[..., ServedHere]:
    return ServedHere


@pytest.fixture
def served(golden_predictor: Predictor) -> ServedHere:
    return ServedHere(InProcessBackend(golden_predictor))


@pytest.fixture(scope="session")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> ServedHere:
    """Serves properties of repeat units, of copolymers and with conditions."""
    artifacts = ArtifactDirectory.open(make_artifacts(tmp_path_factory.mktemp("kinds") / "artifacts"))
    found = ServedHere(InProcessBackend(Predictor(artifacts, torch.device("cpu"))))
    found.service.artifacts = artifacts
    return found
