"""How many featurizers and predictors a run has, and what each takes of the CPUs and GPUs of its Ray."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from periogt_ray.errors import CudaUnavailableError

__all__ = ["Shares"]

logger = logging.getLogger(__name__)

# Most CPUs that a worker takes; the two differ, or Ray Data fuses the stages.
_FEATURIZER_CPUS = 0.5
_PREDICTOR_TO_FEATURIZER = 0.9
_LEAST_CPUS = 0.02  # fewer are not worth dividing
# Of a GPU that a service shares; the service takes a little more than half, so two of either never meet.
_SHARED_GPU = 0.49


@dataclass(frozen=True)
class Shares:
    """How the processors of a Ray are divided.

    On CPUs there are as many featurizers as CPUs and half as many predictors, and each takes less
    than one: which of the stages needs more depends on the model, and the operating system knows.
    Beside a service, workers take less still, so that they find room next to it.

    Attributes
    ----------
    n_featurizers, n_predictors : int
        Workers.
    predictor_gpus : float
        What a predictor takes of a GPU; 0 on CPUs.
    featurizer_cpus, predictor_cpus : float
        What a worker takes of a CPU.
    """

    n_featurizers: int
    n_predictors: int
    predictor_gpus: float
    featurizer_cpus: float
    predictor_cpus: float

    @property
    def device(self) -> str:
        """Where the network runs."""
        return "cuda" if self.predictor_gpus else "cpu"

    @property
    def n_workers(self) -> int:
        """Featurizers and predictors."""
        return self.n_featurizers + self.n_predictors

    @classmethod
    def of(
        cls,
        resources: Mapping[str, float],
        free: Mapping[str, float],
        device: str | None,
        *,
        n_predictors: int | None,
    ) -> "Shares":
        """Divide the resources of a Ray.

        Parameters
        ----------
        resources, free : Mapping
            What that Ray has, and what of it nothing else holds, by Ray's names.
        device : str or None
            ``cpu``, ``cuda``, or None for a GPU where there is one.
        n_predictors : int or None
            Number that the user wants; None: one for each GPU, without GPUs one for two CPUs.

        Raises
        ------
        CudaUnavailableError
            If the user wants CUDA and that Ray has no GPU.
        """
        n_cpus, n_gpus = max(1, int(resources.get("CPU", 0))), int(resources.get("GPU", 0))
        if device == "cuda" and n_gpus == 0:
            raise CudaUnavailableError(
                "PERIOGT_DEVICE is cuda and Ray has no GPU. Request one from Slurm (--gres=gpu:1), run the container "
                "with --nv, or set PERIOGT_DEVICE=cpu."
            )
        predictor_gpus = 0.0
        if device != "cpu" and n_gpus > 0:
            n_predictors = min(n_predictors or n_gpus, n_gpus)
            predictor_gpus = 1.0 if free.get("GPU", 0) >= n_predictors else _SHARED_GPU
        else:
            n_predictors = n_predictors or (n_cpus + 1) // 2
        needs_gpus = _SHARED_GPU * n_predictors if predictor_gpus else 0.0
        room = free.get("CPU", 0)
        if _has_to_wait(free, needs_gpus):
            room = resources.get("CPU", 1)
        # However many predictors there are, one featurizer finds room beside them.
        featurizer_cpus = _floor(min(_FEATURIZER_CPUS, room / 2))
        predictor_cpus = _floor(
            min(_PREDICTOR_TO_FEATURIZER * featurizer_cpus, (room - featurizer_cpus) / n_predictors)
        )
        return cls(n_cpus, n_predictors, predictor_gpus, featurizer_cpus, predictor_cpus)


def _has_to_wait(free: Mapping[str, float], needs_gpus: float) -> bool:
    """Return whether others hold what the batch needs; say so if they do."""
    has_no_cpus = free.get("CPU", 0) < _LEAST_CPUS
    if not has_no_cpus and free.get("GPU", 0) >= needs_gpus:
        return False
    logger.warning(
        "Other programs hold %s of this Ray's CPUs and GPUs; the batch waits until enough are free. "
        "`ray status` shows who holds them.",
        "all" if has_no_cpus else "too many",
    )
    return True


def _floor(cpus: float) -> float:
    return math.floor(1000 * cpus) / 1000
