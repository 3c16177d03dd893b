"""The Serve application: one ingress, featurizers and predictors, put together.

``periogt serve`` runs it on a Ray of its own (:mod:`periogt_ray.serve.run`); ``serve deploy
deploy/serve.yaml`` runs it on a cluster that is there already.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import ray
from ray import serve

from periogt_ray.polymer.drawing import drawing_problem
from periogt_ray.serve.featurizer_replica import FeaturizerReplica
from periogt_ray.serve.ingress import Ingress
from periogt_ray.serve.predictor_replica import PredictorReplica
from periogt_ray.serve.service import FEATURIZING_EACH
from periogt_ray.settings import (
    BATCH_ON_CPU,
    BATCH_ON_GPU,
    ServiceSettings,
    Settings,
    under_new_names,
    unknown_variables,
)

__all__ = ["APP_NAME", "application", "build", "gpus_for"]

APP_NAME = "periogt"

logger = logging.getLogger(__name__)

# The ingress itself refuses work beyond its bound; Serve must not hold health checks back.
_INGRESS_REQUESTS = 10_000
_CONSTRUCTOR_TRIES = 2  # the second is for file systems that fail for a moment
# Featurizers, one a core, and predictors fit together and leave room for `periogt batch`.
_SHARE_OF_CORE = 0.25
# With the embedded model's five networks a pass costs as much of a core as the features do (docs/speed.md): on
# 16 cores four predictors were at work all the time, and half of the cores were idle.
_CORES_PER_PREDICTOR = 2
_MOST_CPU_PREDICTORS = 8  # each holds a copy of the weights


def application(
    settings: Settings, *, n_cpus: int, n_gpus: int, listens_at: str | None = None, socket_name: str | None = None
) -> serve.Application:
    """Put the deployments together.

    Parameters
    ----------
    settings : Settings
        Resolved once; the deployments do not read the environment.
    n_cpus : int
        Cores of the cluster, a featurizer on each unless the settings say otherwise.
    n_gpus : int
        GPUs for predictors; 0 leaves them on the CPU.
    listens_at : str, optional
        Address of the node on which ingresses themselves listen; None leaves that to Serve's proxies.
    socket_name : str, optional
        Under which their socket is shared there (:mod:`periogt_ray.runtime.shared_socket`).
    """
    if (problem := drawing_problem()) is not None:
        logger.warning("%s Predictions do not need them.", problem)
    bounds = settings.service
    counted = replace(
        bounds,
        max_batch=bounds.max_batch or (BATCH_ON_GPU if n_gpus else BATCH_ON_CPU),
        n_predictors=bounds.n_predictors or _n_predictors(n_cpus, n_gpus, bounds.gpu_share),
        n_featurizers=bounds.n_featurizers or max(1, n_cpus),
    )
    resolved = replace(settings, service=counted)
    keyless = replace(resolved, api_key=None)  # only the ingress compares keys
    return _ingress(counted, listens_at).bind(
        resolved,
        _featurizers(counted).bind(keyless),
        _predictors(counted, has_gpus=n_gpus > 0).bind(keyless),
        socket_name=socket_name,
    )


def _featurizers(bounds: ServiceSettings) -> serve.Deployment:
    return _deployment(FeaturizerReplica).options(
        name="Featurizer",
        num_replicas=bounds.n_featurizers,
        # Serve spreads calls by chance; and there is room for a call of another kind.
        max_ongoing_requests=2 * FEATURIZING_EACH,
        max_queued_requests=2 * bounds.max_queue,
        ray_actor_options={"num_cpus": _SHARE_OF_CORE},
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
        health_check_period_s=2,
    )


def _predictors(bounds: ServiceSettings, *, has_gpus: bool) -> serve.Deployment:
    return _deployment(PredictorReplica).options(
        name="Predictor",
        num_replicas=bounds.n_predictors,
        # Each call is a pass: one in work, the next one here already, and room for a call of another kind.
        max_ongoing_requests=4,
        max_queued_requests=2 * bounds.max_queue,
        ray_actor_options={"num_cpus": _SHARE_OF_CORE, "num_gpus": bounds.gpu_share if has_gpus else 0},
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
        health_check_period_s=2,
    )


def _ingress(bounds: ServiceSettings, listens_at: str | None) -> serve.Deployment:
    return _deployment(serve.ingress()(Ingress)).options(
        name="Ingress",
        # Where they listen themselves, the second one waits for its turn: it answers as soon as the first one is lost.
        num_replicas=2 if listens_at else 1,
        max_ongoing_requests=_INGRESS_REQUESTS,
        ray_actor_options={"num_cpus": 0, "resources": {f"node:{listens_at}": 0.001} if listens_at else {}},
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=bounds.drain_s,
        health_check_period_s=1,
    )


def _deployment(cls: type) -> serve.Deployment:
    return cast(serve.Deployment, serve.deployment(cls))


def _n_predictors(n_cpus: int, n_gpus: int, gpu_share: float) -> int:
    """Return how many predictors fit beside the featurizers."""
    if n_gpus:
        return n_gpus * int(1 / gpu_share)
    return max(1, min(n_cpus // _CORES_PER_PREDICTOR, _MOST_CPU_PREDICTORS))


def gpus_for(settings: Settings, resources: Mapping[str, float]) -> int:
    """Return how many of the GPUs among Ray's resources the predictors may use."""
    return int(resources.get("GPU", 0)) if settings.device != "cpu" else 0


def build(args: Mapping[str, str]) -> serve.Application:
    """Put the application together for ``serve deploy``, on a cluster that is there already.

    Parameters
    ----------
    args : Mapping
        ``PERIOGT_*`` names and values, which go before the cluster's environment. The port and the
        address are Serve's own there.
    """
    given = {name: str(value) for name, value in args.items()}
    for warning in unknown_variables(given):
        logger.warning("%s", warning)
    settings = Settings.from_env({**under_new_names(os.environ), **under_new_names(given)})
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return application(settings, n_cpus=int(resources.get("CPU", 1)), n_gpus=gpus_for(settings, resources))
