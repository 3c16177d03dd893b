"""How the deployments are put together, and the configuration that is shipped."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.application import APP_NAME, application
from periogt_ray.serve.backend import ServeBackend
from periogt_ray.settings import BATCH_ON_CPU, BATCH_ON_GPU
from support.serve_fakes import KEY, settings_with

ROOT = Path(__file__).parents[2]


def deployments_of(
    n_cpus: int = 4, n_gpus: int = 0, *, listens_at: str | None = None, **bounds: object
) -> dict[str, Any]:
    app = application(settings_with(KEY, **bounds), n_cpus=n_cpus, n_gpus=n_gpus, listens_at=listens_at)
    built = build_app(app, name=APP_NAME)
    return {deployment.name: deployment for deployment in built.deployments}


def test_a_predictor_takes_a_batch_while_it_works_on_another() -> None:
    predictor = deployments_of(max_batch=32)["Predictor"]
    assert predictor.max_ongoing_requests >= 2
    assert predictor.max_queued_requests > 0


def test_health_is_not_held_back_by_a_full_queue() -> None:
    deployments = deployments_of(max_queue=300)
    assert deployments["Ingress"].max_ongoing_requests > 300
    assert deployments["Ingress"].max_queued_requests == -1


@pytest.mark.parametrize(
    ("n_gpus", "given", "expected"), [(0, None, BATCH_ON_CPU), (1, None, BATCH_ON_GPU), (0, 4, 4), (1, 4, 4)]
)
def test_a_pass_on_a_gpu_takes_more_requests_unless_the_user_says(
    n_gpus: int, given: int | None, expected: int
) -> None:
    ingress = deployments_of(n_gpus=n_gpus, max_batch=given)["Ingress"]
    assert ingress.init_args[0].service.calls_per_pass == expected


@pytest.mark.parametrize(("n_cpus", "n_featurizers", "expected"), [(1, None, 1), (8, None, 8), (8, 3, 3)])
def test_featurizers_take_the_cores(n_cpus: int, n_featurizers: int | None, expected: int) -> None:
    deployments = deployments_of(n_cpus, n_featurizers=n_featurizers)
    assert deployments["Featurizer"].num_replicas == expected
    taken = sum((one.ray_actor_options or {}).get("num_cpus", 1) * one.num_replicas for one in deployments.values())
    assert taken <= n_cpus, "all replicas fit on the cluster"


@pytest.mark.parametrize(
    ("n_cpus", "n_gpus", "share", "expected"),
    [
        (8, 1, 1.0, 1),
        (8, 2, 1.0, 2),
        (8, 1, 0.5, 2),
        (1, 0, 1.0, 1),
        (2, 0, 1.0, 1),
        (4, 0, 1.0, 2),
        (16, 0, 1.0, 8),
        (128, 0, 1.0, 8),
    ],
)
def test_predictors_take_what_the_cluster_has(n_cpus: int, n_gpus: int, share: float, expected: int) -> None:
    deployments = deployments_of(n_cpus, n_gpus, gpu_share=share)
    assert deployments["Predictor"].num_replicas == expected
    taken = sum((one.ray_actor_options or {}).get("num_cpus", 1) * one.num_replicas for one in deployments.values())
    assert taken <= n_cpus, "all replicas fit on the cluster"


@pytest.mark.parametrize(("n_gpus", "share", "expected"), [(2, 0.5, 0.5), (2, 1.0, 1.0), (0, 1.0, 0)])
def test_predictors_take_their_share_of_a_gpu(n_gpus: int, share: float, expected: float) -> None:
    deployments = deployments_of(n_gpus=n_gpus, gpu_share=share, n_predictors=2)
    assert deployments["Predictor"].ray_actor_options["num_gpus"] == expected
    assert deployments["Predictor"].num_replicas == 2
    assert not deployments["Featurizer"].ray_actor_options.get("num_gpus")


def test_where_ingresses_listen_themselves_one_waits_in_line() -> None:
    assert deployments_of()["Ingress"].num_replicas == 1
    ingress = deployments_of(listens_at="10.1.2.3")["Ingress"]
    assert ingress.num_replicas == 2
    assert ingress.ray_actor_options["resources"] == {"node:10.1.2.3": 0.001}


def test_only_the_ingress_has_the_key() -> None:
    for name, deployment in deployments_of().items():
        [settings, *_] = deployment.init_args
        assert (settings.api_key == KEY) is (name == "Ingress")


def test_the_shipped_configuration_fits_the_application() -> None:
    text = (ROOT / "deploy" / "serve.yaml").read_text(encoding="utf-8")
    schema = ServeDeploySchema.model_validate(yaml.safe_load(text))
    [shipped] = schema.applications
    assert shipped.name == APP_NAME
    assert shipped.import_path == "periogt_ray.serve.application:build"
    assert {deployment.name for deployment in shipped.deployments} == set(deployments_of())
    for deployment in shipped.deployments:
        if deployment.name != "Ingress":
            bounds = deployment.autoscaling_config
            assert bounds["min_replicas"] >= 1
            assert bounds["max_replicas"] > bounds["min_replicas"]
    assert "API_KEY:" not in text


class Featurizers:
    """A handle whose calls take a moment and record how many there are at a time."""

    def __init__(self) -> None:
        self.featurize = self
        self.n_at_once = self.most_at_once = 0
        self.begun: list[str] = []

    def options(self, **_: object) -> "Featurizers":
        return self

    def remote(self, unit: RepeatUnit, *_: object) -> "Call":
        return Call(self, unit.smiles)


class Call:
    def __init__(self, featurizers: Featurizers, smiles: str) -> None:
        self._featurizers, self._smiles = featurizers, smiles

    def __await__(self) -> Generator[Any, None, str]:
        return self._run().__await__()

    async def _run(self) -> str:
        mine = self._featurizers
        mine.begun.append(self._smiles)
        mine.n_at_once += 1
        mine.most_at_once = max(mine.most_at_once, mine.n_at_once)
        await asyncio.sleep(0.001)
        mine.n_at_once -= 1
        return self._smiles

    def cancel(self) -> None:
        self._featurizers.n_at_once -= 1


def test_featurizers_get_as_many_polymers_as_they_work_on_and_in_order() -> None:
    """More would wait in Serve's router, which leaves featurizers idle between its tries."""
    featurizers: Any = Featurizers()
    polymers = ["*" + "C" * n + "*" for n in range(1, 33)]

    async def check() -> None:
        backend = ServeBackend(featurizers, featurizers, settings_with(n_featurizers=3).service)

        async def one(smiles: str) -> None:
            await backend.featurize(RepeatUnit.parse(smiles), PromptScheme.MONOMER, deadline=1e12)

        tasks = [asyncio.create_task(one(smiles)) for smiles in polymers]
        await asyncio.sleep(0)
        given_up = tasks.pop(20)
        given_up.cancel()
        await asyncio.gather(*tasks)

    asyncio.run(check())
    assert featurizers.most_at_once == 6
    assert featurizers.begun == [smiles for number, smiles in enumerate(polymers) if number != 20]
