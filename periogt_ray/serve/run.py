"""What ``periogt serve`` runs: Ray, the application on it, and an orderly end."""

import io
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from typing import Any

import httpx
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, LoggingConfig

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.runtime.local_ray import local_ray
from periogt_ray.runtime.network import local_url
from periogt_ray.runtime.ports import check_port, check_port_beside_ray
from periogt_ray.runtime.shared_socket import sharing
from periogt_ray.runtime.signals import stop_event
from periogt_ray.serve.application import APP_NAME, application, gpus_for
from periogt_ray.serve.http.auth import API_KEY_HEADER, exposure_warning
from periogt_ray.settings import Settings

__all__ = ["run_service", "start_application"]

logger = logging.getLogger(__name__)

_POLL_S = 0.25
_CONNECTIONS_S = 5.0  # to close connections once all is answered


class _RayPrints(io.TextIOBase):
    """Where Ray prints what befalls tasks and workers: standard error, until ``is_over``.

    Serve's controller ends by killing itself. Ray then reports as failures the calls to it that were under way, with
    "infinite retries remaining", though all of it has ended as it should.
    """

    is_over = False

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        return len(text) if self.is_over else sys.stderr.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        sys.stderr.flush()


class _StopError(Exception):
    """A signal asked the service to end."""


def run_service(settings: Settings, *, ray_address: str | None, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is open and end.

    Parameters
    ----------
    settings : Settings
        What is served, where, and within which bounds.
    ray_address : str or None
        Of a Ray that runs already; None starts one that ends with the service.
    announce : callable
        Takes the line that says how to ask, once the model can answer.

    Raises
    ------
    PerioGTError
        The reason why the model cannot be served.
    """
    # What can be known at once is said at once, before Ray is started.
    ArtifactDirectory.of_settings(settings)
    check_port(settings.host, settings.port)
    warning = exposure_warning(settings.host, settings.port, settings.api_key)
    if warning is not None:
        logger.warning("%s", warning)
    # Of Serve's own steps, this module logs what a user needs.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    # Ray prints on standard output, which is for the announcement alone.
    with (
        redirect_stdout(_RayPrints()) as prints,
        stop_event() as stop,
        local_ray(address=ray_address, log_to_driver=True) as cluster,
    ):
        check_port_beside_ray(settings.host, settings.port)
        with sharing(settings.host, settings.port) as shared:
            try:
                start_application(settings, socket_name=shared.name)
                _wait_until_running(settings, stop)
                _wait_until_answering(settings, stop)
                _announce(settings, announce)
                while not stop.wait(_POLL_S):
                    pass
                logger.info("Ending: open requests are answered, new ones refused.")
            except _StopError:
                logger.info("Ending before the model was loaded.")
            finally:
                if not shared.end(settings.service.drain_s + _CONNECTIONS_S):
                    logger.warning("Requests that were open after %g s are dropped.", settings.service.drain_s)
                prints.is_over = True
                _end_application(is_own=cluster.is_own)
    logger.info("The service has ended.")


def _announce(settings: Settings, announce: Callable[[str], None]) -> None:
    logger.info("The service is ready; Ctrl-C ends it. Its page: %s/", local_url(settings.host, settings.port))
    for address in metrics_addresses():
        logger.info("Figures for Prometheus: %s", address)
    announce(example_request(settings))


def start_application(settings: Settings, *, socket_name: str) -> None:
    """Start Serve, without proxies, and the application on the Ray that this process is connected to; does not wait.

    Parameters
    ----------
    settings : Settings
        What is served, where, and within which bounds.
    socket_name : str
        Under which the socket is shared (:mod:`periogt_ray.runtime.shared_socket`).
    """
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # The gate logs requests; Serve's own access log has the same without what matters here.
    log = LoggingConfig(enable_access_log=False, log_level="WARNING")
    serve.start(proxy_location="Disabled", logging_config=log)
    # The ingress listens on this node, which is the one that the address is of.
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    n_gpus = gpus_for(settings, resources)
    n_cpus = int(resources.get("CPU", 1))
    app = application(settings, n_cpus=n_cpus, n_gpus=n_gpus, listens_at=node, socket_name=socket_name)
    target = serve.RunTarget(app, name=APP_NAME, route_prefix="/", logging_config=log)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def example_request(settings: Settings) -> str:
    """Return the line for a shell that asks the service."""
    key = f" -H '{API_KEY_HEADER}: '\"$PERIOGT_API_KEY\"" if settings.api_key is not None else ""
    infos = ArtifactDirectory.of_settings(settings).properties.values()
    of_repeat_units = (info.id for info in infos if info.supported and info.input_kind is InputKind.HOMOPOLYMER)
    body = f'{{"smiles": "*CC(*)c1ccccc1", "property": "{next(of_repeat_units, "eps")}"}}'
    url = f"{local_url(settings.host, settings.port)}/v1/predict"
    return f"curl {url} -H 'Content-Type: application/json'{key} -d '{body}'"


def metrics_addresses() -> list[str]:
    """Return where each node's figures are, the service's beside Ray's own; none where Ray keeps none."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"] and node["MetricsExportPort"] > 0
    ]


def _wait_until_running(settings: Settings, stop: threading.Event) -> None:
    """Wait for the model; where it cannot be loaded, find out why."""
    while True:
        status = serve.status().applications.get(APP_NAME)
        if status is not None and status.status == ApplicationStatus.RUNNING:
            return
        if status is not None and status.status == ApplicationStatus.DEPLOY_FAILED:
            logger.error("The deployment failed; looking for the reason.")
            logger.debug("%s", status.message)
            serve.delete(APP_NAME)
            raise _load_failure(settings)
        if stop.wait(_POLL_S):
            raise _StopError


def _wait_until_answering(settings: Settings, stop: threading.Event) -> None:
    """Wait until a client would be answered: the ingress learns a moment later that a predictor is loaded."""
    headers = {API_KEY_HEADER: settings.api_key} if settings.api_key is not None else {}
    url = local_url(settings.host, settings.port)
    with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
        while True:
            with suppress(httpx.TransportError):
                if client.get("/v1/health").json()["model_loaded"]:
                    return
            if stop.wait(_POLL_S):
                raise _StopError


def _load_failure(settings: Settings) -> PerioGTError:
    """Load the model once more, where replicas did, for the error itself: Serve hands on a text alone."""
    n_gpus = settings.service.gpu_share if ray.cluster_resources().get("GPU", 0) else 0  # type: ignore[no-untyped-call]
    attempt: Any = ray.remote(num_gpus=n_gpus, max_retries=0)(_load_error)
    with suppress(RayError):
        error = ray.get(attempt.remote(settings))
        if isinstance(error, PerioGTError):
            return error
    return InternalError(
        "The service did not start, though the model can be loaded. Look for the reason in the log above; "
        "a full node (memory, cores) is the most likely."
    )


def _load_error(settings: Settings) -> PerioGTError | None:
    from periogt_ray.model.predictor import Predictor  # loads torch, for which the start need not wait

    try:
        Predictor.load(settings)
    except PerioGTError as error:
        return error
    return None


def _end_application(*, is_own: bool) -> None:
    """End the application, and Serve where nobody else uses it."""
    with suppress(RayServeException, RayError):
        if is_own or not set(serve.status().applications) - {APP_NAME}:
            serve.shutdown()  # type: ignore[no-untyped-call]
        else:
            serve.delete(APP_NAME)
