"""The Serve application: a FastAPI ingress, featurizers and predictors.

``periogt serve`` runs it on a Ray of its own (:mod:`periogt_ray.serve.run`); ``serve deploy
deploy/serve.yaml`` runs it on a cluster that is there already.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import ray
import uvicorn
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator
from starlette.types import ASGIApp

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import InternalError, NotReadyError, OverloadedError, PerioGTError
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.batcher import Batcher
from periogt_ray.serve.featurizer_replica import FeaturizerReplica
from periogt_ray.serve.http.head_limits import BoundedProtocol
from periogt_ray.serve.http.routes import create_api
from periogt_ray.serve.metrics import RayRecorder
from periogt_ray.serve.model_watch import watch_model
from periogt_ray.serve.predictor_replica import ModelFacts, PredictorReplica
from periogt_ray.serve.service import FEATURIZING_EACH, PredictCall, PredictReply, Service, Status
from periogt_ray.settings import ServiceSettings, Settings

__all__ = ["APP_NAME", "Ingress", "application", "build", "gpus_for"]

APP_NAME = "periogt"

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# The ingress itself refuses what exceeds the queue; Serve must not hold health checks back.
_INGRESS_REQUESTS = 10_000
_CONSTRUCTOR_TRIES = 2  # a model that cannot be loaded stays so; a second try is for the file system
# So that a featurizer a core and the predictors fit together, and leave room for a batch beside them.
_SHARE_OF_CORE = 0.25
_CORES_PER_PREDICTOR = 4
_MOST_CPU_PREDICTORS = 8  # each holds a copy of the weights


class ServeBackend:
    """Featurizers and predictors behind Serve's handles; a :class:`~periogt_ray.serve.service.Backend`.

    Attributes
    ----------
    predictor_lost : asyncio.Event
        Set when a predictor died at work.
    """

    def __init__(
        self, featurizer: DeploymentHandle[Any], predictor: DeploymentHandle[Any], bounds: ServiceSettings
    ) -> None:
        self._featurizer = featurizer
        self._predictor = predictor
        self._batcher = Batcher(self._forward, bounds)
        # What waits, waits here, in order: Serve, where all replicas are taken, asks them again and again whether
        # one is free, ever less often, and leaves them idle meanwhile.
        self._featurizer_room = asyncio.Semaphore(FEATURIZING_EACH * (bounds.n_featurizers or 1))
        self._drawing_room = asyncio.Semaphore(bounds.n_featurizers or 1)
        self.predictor_lost = asyncio.Event()

    async def parse(self, smiles: str) -> RepeatUnit:
        """Validate a long SMILES."""
        return _value(await _result(self._featurizer.parse.remote(smiles)))

    async def draw(self, unit: RepeatUnit, theme: Theme) -> str:
        """Draw a repeat unit as SVG."""
        async with self._drawing_room:
            return _value(await _result(self._featurizer.draw.remote(unit, theme)))

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        """Compute the features of a polymer."""
        async with self._featurizer_room:
            return _value(await _result(self._featurizer.featurize.remote(unit, scheme, deadline)))

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer jobs, in a forward pass together with other calls."""
        return await self._batcher.predict(call)

    async def _forward(self, calls: Sequence[PredictCall]) -> Sequence[PredictReply]:
        try:
            replies: Sequence[PredictReply] = await _result(self._predictor.predict.remote(calls))
        except NotReadyError:
            self.predictor_lost.set()
            raise
        return replies

    async def describe(self) -> ModelFacts:
        """Wait for a predictor that is loaded."""
        facts: ModelFacts = await _result(self._predictor.describe.remote())
        return facts


async def _result(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> Any:
    """Wait for a call; where nobody waits for it any longer, drop it.

    Raises
    ------
    OverloadedError, NotReadyError, InternalError
        In place of Serve's and Ray's own, whose text may hold tracebacks.
    """
    call = cast("DeploymentResponse[Any]", response)  # none of these methods is a generator
    try:
        return await call
    except asyncio.CancelledError:
        call.cancel()  # type: ignore[no-untyped-call]
        raise
    except BackPressureError as error:
        raise OverloadedError("The queue of the service is full; send the request again later.") from error
    except (RayActorError, DeploymentUnavailableError, TaskCancelledError) as error:
        logger.warning("a replica was lost: %s", type(error).__name__)
        raise NotReadyError("The process that worked on the request was lost; send the request again.") from error
    except (RayTaskError, RayError, RayServeException) as error:
        logger.exception("a replica failed by a bug")
        raise InternalError("The request failed by a bug; the service's log has it.") from error


def _value(value: _T | PerioGTError) -> _T:
    if isinstance(value, PerioGTError):
        raise value
    return value


class Ingress:
    """Answers HTTP; everything that takes time happens elsewhere.

    Parameters
    ----------
    settings : Settings
        With the API key.
    featurizer, predictor : DeploymentHandle
        What does the work.
    listens : bool
        Whether the replica listens itself, instead of Serve's proxy. The proxy costs a request more
        than all else but the network (scripts/bench_serve.py), and health waits behind it.
    """

    def __init__(
        self,
        settings: Settings,
        featurizer: DeploymentHandle[Any],
        predictor: DeploymentHandle[Any],
        *,
        listens: bool,
    ) -> None:
        _log_to_stderr()
        self._settings = settings
        self._backend = ServeBackend(featurizer, predictor, settings.service)
        self._service = Service(settings, self._backend, RayRecorder())
        self._api = create_api(self._service, settings)
        loop = asyncio.get_running_loop()
        self._watch = loop.create_task(self._watch_model())
        self._server: uvicorn.Server | None = None
        if listens:
            self._server = uvicorn.Server(_server_options(self._api, settings))
            # Bound here, so that the deployment fails where it cannot be.
            self._serving = loop.create_task(self._server.serve([self._server.config.bind_socket()]))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application, which Serve asks for after the constructor."""
        return self._api

    async def drain(self, timeout_s: float) -> bool:
        """Refuse what is new and wait for what is open; tells whether all was answered in time."""
        self._watch.cancel()
        self._service.become(Status.DRAINING)
        try:
            async with asyncio.timeout(timeout_s):
                while self._service.n_open:
                    await asyncio.sleep(0.05)
                if self._server is not None:
                    self._server.should_exit = True
                    await self._serving
        except TimeoutError:
            return False
        return True

    async def _watch_model(self) -> None:
        """Learn what is served, and whether a predictor is loaded."""
        try:
            self._service.artifacts = await asyncio.to_thread(ArtifactDirectory.open, self._settings.checkpoint_dir)
        except PerioGTError as error:
            # The predictor fails for the same reason, and with it the deployment.
            logger.error("%s: %s", error.code, error.message)
            self._service.become(Status.FAILED)
            return
        await watch_model(self._service, self._backend)


def _server_options(api: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        backlog=4096,
        http=BoundedProtocol,
        # What is open at the end is a body that does not come; Slurm's KillWait may be 30 s.
        timeout_graceful_shutdown=5,
    )


def _log_to_stderr() -> None:
    """Let the package's log, the access log with it, out of a replica; Ray carries it to the driver."""
    root = logging.getLogger("periogt_ray")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False


def application(settings: Settings, *, n_cpus: int, n_gpus: int, listens_at: str | None = None) -> serve.Application:
    """Put the deployments together.

    Parameters
    ----------
    settings : Settings
        Resolved once; replicas do not read the environment.
    n_cpus : int
        Cores of the cluster, a featurizer on each unless the settings say otherwise.
    n_gpus : int
        GPUs for predictors; 0 leaves them on the CPU.
    listens_at : str, optional
        Address of the node on which the ingress itself listens; None leaves that to Serve's proxies.
    """
    bounds = settings.service
    n_replicas = bounds.n_replicas or _n_predictors(n_cpus, n_gpus, bounds.gpu_share)
    n_featurizers = bounds.n_featurizers or max(1, n_cpus)
    keyless = replace(settings, api_key=None)  # only the ingress compares keys
    featurizer = _deployment(FeaturizerReplica).options(
        name="Featurizer",
        num_replicas=n_featurizers,
        # Serve spreads calls by chance; and there is room for a question of another kind.
        max_ongoing_requests=2 * FEATURIZING_EACH,
        max_queued_requests=2 * bounds.max_queue,
        ray_actor_options={"num_cpus": _SHARE_OF_CORE},
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
    )
    predictor = _deployment(PredictorReplica).options(
        name="Predictor",
        num_replicas=n_replicas,
        # Each is a batch: one in work, one waiting (batching.py), and room for a question of another kind.
        max_ongoing_requests=4,
        max_queued_requests=2 * bounds.max_queue,
        ray_actor_options={"num_cpus": _SHARE_OF_CORE, "num_gpus": bounds.gpu_share if n_gpus else 0},
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
        health_check_period_s=2,
    )
    ingress = _deployment(serve.ingress()(Ingress)).options(
        name="Ingress",
        num_replicas=1,
        max_ongoing_requests=_INGRESS_REQUESTS,
        ray_actor_options={"num_cpus": 0, "resources": {f"node:{listens_at}": 0.001} if listens_at else {}},
        graceful_shutdown_wait_loop_s=0.2,
    )
    resolved = replace(settings, service=replace(bounds, n_replicas=n_replicas, n_featurizers=n_featurizers))
    return ingress.bind(resolved, featurizer.bind(keyless), predictor.bind(keyless), listens=listens_at is not None)


def _n_predictors(n_cpus: int, n_gpus: int, gpu_share: float) -> int:
    """Return how many predictors fit; on a CPU a featurizer takes several times as long as a forward pass."""
    if n_gpus:
        return n_gpus * int(1 / gpu_share)
    return max(1, min(n_cpus // _CORES_PER_PREDICTOR, _MOST_CPU_PREDICTORS))


def gpus_for(settings: Settings, resources: Mapping[str, float]) -> int:
    """Return how many of the GPUs among Ray's resources the predictors may use."""
    return int(resources.get("GPU", 0)) if settings.device != "cpu" else 0


def _deployment(cls: type) -> serve.Deployment:
    return cast(serve.Deployment, serve.deployment(cls))


def build(args: Mapping[str, str]) -> serve.Application:
    """Put the application together for ``serve deploy``, on a cluster that is there already.

    Parameters
    ----------
    args : Mapping
        ``PERIOGT_*`` names and values, which go before the cluster's environment. The port and the
        address are Serve's own there.
    """
    settings = Settings.from_env({**os.environ, **{name: str(value) for name, value in args.items()}})
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return application(settings, n_cpus=int(resources.get("CPU", 1)), n_gpus=gpus_for(settings, resources))
