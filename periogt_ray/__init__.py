"""Polymer property prediction with PerioGT on Slurm clusters.

:class:`PerioGT` predicts in this process, :class:`PerioGTClient` asks a running service; both raise the exceptions
below. :class:`Copolymer` and :class:`PolymerWithConditions` are what some properties are predicted of, and
:class:`Explanation` is what ``explain`` returns.
"""

from typing import TYPE_CHECKING, Any

from periogt_ray.errors import (
    CheckpointMissingError,
    ChecksumMismatchError,
    CudaUnavailableError,
    DriverIncompatibleError,
    GPUOutOfMemoryError,
    GPUUnsupportedError,
    InternalError,
    ModelLoadError,
    NotReadyError,
    OverloadedError,
    PerioGTError,
    RequestTimeoutError,
    SettingsError,
    UnauthorizedError,
    UnsupportedPropertyError,
    ValidationError,
)

if TYPE_CHECKING:
    from periogt_ray.client import PerioGTClient
    from periogt_ray.model.explanation import Explanation
    from periogt_ray.polymer.inputs import Copolymer, PolymerWithConditions
    from periogt_ray.predict import PerioGT

__version__ = "0.2.0"

__all__ = [
    "CheckpointMissingError",
    "ChecksumMismatchError",
    "Copolymer",
    "CudaUnavailableError",
    "DriverIncompatibleError",
    "Explanation",
    "GPUOutOfMemoryError",
    "GPUUnsupportedError",
    "InternalError",
    "ModelLoadError",
    "NotReadyError",
    "OverloadedError",
    "PerioGT",
    "PerioGTClient",
    "PerioGTError",
    "PolymerWithConditions",
    "RequestTimeoutError",
    "SettingsError",
    "UnauthorizedError",
    "UnsupportedPropertyError",
    "ValidationError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load the classes when they are asked for: the command line must not wait for what they need."""
    if name == "PerioGT":
        from periogt_ray.predict import PerioGT

        return PerioGT
    if name == "PerioGTClient":
        from periogt_ray.client import PerioGTClient

        return PerioGTClient
    if name == "Explanation":
        from periogt_ray.model.explanation import Explanation

        return Explanation
    if name in ("Copolymer", "PolymerWithConditions"):
        from periogt_ray.polymer import inputs

        return getattr(inputs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
