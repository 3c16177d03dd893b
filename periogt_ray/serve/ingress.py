"""The replica that answers HTTP."""

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError
from periogt_ray.runtime.local_ray import reach_nodes_directly
from periogt_ray.runtime.shared_socket import received_socket
from periogt_ray.serve.backend import ServeBackend
from periogt_ray.serve.http.head_limits import BoundedProtocol
from periogt_ray.serve.http.routes import create_api
from periogt_ray.serve.metrics import RayRecorder
from periogt_ray.serve.model_watch import watch_model
from periogt_ray.serve.service import Service, Status
from periogt_ray.settings import Settings

__all__ = ["Ingress"]

logger = logging.getLogger(__name__)


class Ingress:
    """Answers HTTP; everything that takes time happens in other processes.

    It loads neither torch nor the kernels: so a new one is there soon after the last one was lost.

    Parameters
    ----------
    settings : Settings
        With the API key.
    featurizer, predictor : DeploymentHandle
        Handles of the deployments that compute.
    listens : bool
        Whether the replica listens itself, instead of Serve's proxy. The proxy takes more of a request's
        time than anything but the network (scripts/bench_serve.py), and health waits behind it.
    socket_name : str, optional
        Under which ``periogt serve`` shares the socket; None, or where nobody does: the replica binds its own.
    """

    def __init__(
        self,
        settings: Settings,
        featurizer: DeploymentHandle[Any],
        predictor: DeploymentHandle[Any],
        *,
        listens: bool,
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
        self._server: uvicorn.Server | None = None
        if listens:
            self._server = uvicorn.Server(_server_options(self._api, settings))
            # Bound here, so that the deployment fails if the port cannot be bound.
            listener = _listener(self._server.config, socket_name)
            self._serving = loop.create_task(self._server.serve([listener]))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application, which Serve asks for after the constructor."""
        return self._api

    async def drain(self, timeout_s: float) -> bool:
        """Refuse new requests and wait for open ones; return whether all were answered in time."""
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
            self._service.artifacts = await asyncio.to_thread(ArtifactDirectory.of_settings, self._settings)
        except PerioGTError as error:
            # The predictor fails for the same reason, and with it the deployment.
            logger.error("%s: %s", error.code, error.message)
            self._service.become(Status.FAILED)
            return
        await watch_model(self._service, self._backend)


def _listener(config: uvicorn.Config, socket_name: str | None) -> socket.socket:
    shared = received_socket(socket_name) if socket_name is not None else None
    return shared or config.bind_socket()


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
