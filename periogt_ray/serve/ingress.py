"""The replica that answers HTTP."""

import asyncio
import logging
from contextlib import closing, suppress
from typing import Any

import uvicorn
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError
from periogt_ray.runtime.local_ray import reach_nodes_directly
from periogt_ray.runtime.shared_socket import HolderGoneError, Turn, bound_socket
from periogt_ray.serve.backend import ServeBackend
from periogt_ray.serve.http.head_limits import BoundedProtocol
from periogt_ray.serve.http.routes import create_api
from periogt_ray.serve.metrics import RayRecorder
from periogt_ray.serve.model_watch import watch_model
from periogt_ray.serve.service import Service, Status
from periogt_ray.settings import Settings

__all__ = ["Ingress"]

logger = logging.getLogger(__name__)

_AGAIN_S = 0.5


class Ingress:
    """Answers HTTP; everything that takes time happens in other processes.

    It loads neither torch nor the kernels: so a new one is there soon after the last one was lost. Where replicas
    listen themselves, one of them answers and the others wait, ready, for their turn at the socket: what bounds the
    whole service is counted in one process.

    Parameters
    ----------
    settings : Settings
        With the API key.
    featurizer, predictor : DeploymentHandle
        Handles of the deployments that compute.
    socket_name : str, optional
        Under which ``periogt serve`` shares the socket at which the replicas listen; None leaves that to Serve's
        proxy, which takes more of a request's time than anything but the network (scripts/bench_serve.py), and
        behind which health waits.
    """

    def __init__(
        self,
        settings: Settings,
        featurizer: DeploymentHandle[Any],
        predictor: DeploymentHandle[Any],
        *,
        socket_name: str | None = None,
    ) -> None:
        _log_to_stderr()
        reach_nodes_directly()
        self._settings = settings
        self._backend = ServeBackend(featurizer, predictor, settings.service)
        self._service = Service(settings, self._backend, RayRecorder())
        self._api = create_api(self._service, settings)
        loop = asyncio.get_running_loop()
        self._watch = loop.create_task(self._watch_model())
        self._turn: Turn | None = None
        self._serving: asyncio.Task[None] | None = None
        if socket_name is not None:
            self._server = uvicorn.Server(_server_options(self._api, settings))
            self._serving = loop.create_task(self._serve(socket_name))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application, which Serve asks for after the constructor."""
        return self._api

    async def __del__(self) -> None:
        """Let another replica have its turn and answer what is open; Serve awaits this before it ends a replica."""
        if self._serving is not None and self._service.status is not Status.DRAINING:
            if self._turn is not None:
                self._turn.close()
            self._server.config.timeout_graceful_shutdown = round(self._settings.service.drain_s)
            self._server.should_exit = True
            await self._serving

    async def _serve(self, socket_name: str) -> None:
        """Answer at the socket in turn with other replicas, until its holder or Serve ends that."""
        while True:
            try:
                with closing(Turn(socket_name)) as self._turn:
                    listener = await self._turn.listener()
                    if listener is not None:
                        self._ending = asyncio.create_task(self._end_when_told(self._turn))
                        await self._server.serve([listener])
                    return
            except HolderGoneError:
                # `periogt serve` was killed. The Ray may be another one's and go on, and the service with it.
                with suppress(OSError):
                    listener = bound_socket(self._settings.host, self._settings.port)
                    break
            await asyncio.sleep(_AGAIN_S)  # another replica has the address
        await self._server.serve([listener])

    async def _end_when_told(self, turn: Turn) -> None:
        """Refuse new requests, wait for open ones, close connections."""
        if await turn.is_told_to_end():
            self._watch.cancel()
            self._service.become(Status.DRAINING)
            while self._service.n_open:
                await asyncio.sleep(0.05)
            self._server.should_exit = True

    async def _watch_model(self) -> None:
        """Learn what is served, and whether a predictor is loaded."""
        try:
            self._service.artifacts = await asyncio.to_thread(ArtifactDirectory.of_settings, self._settings)
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
        # A connection that is open now is one whose body does not arrive; Slurm's KillWait may be only 30 s.
        timeout_graceful_shutdown=5,
    )


def _log_to_stderr() -> None:
    """Write the package's log, with the access log, to standard error; Ray carries it to the driver."""
    root = logging.getLogger("periogt_ray")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
