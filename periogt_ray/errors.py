"""The errors that users meet, one class a code.

::

    PerioGTError                 internal_error       HTTP 500   exit 2
    ├── ValidationError          validation_error     HTTP 422   exit 2
    ├── UnsupportedPropertyError unsupported_property HTTP 422   exit 2
    ├── CheckpointMissingError   checkpoint_missing   HTTP 503   exit 2
    ├── ChecksumMismatchError    checksum_mismatch    HTTP 500   exit 2
    ├── ModelLoadError           model_load_failed    HTTP 500   exit 2
    ├── CudaUnavailableError     cuda_unavailable     HTTP 503   exit 2
    ├── GPUUnsupportedError      gpu_unsupported      HTTP 503   exit 2
    ├── DriverIncompatibleError  driver_incompatible  HTTP 503   exit 2
    ├── UnauthorizedError        unauthorized         HTTP 401   exit 2
    ├── OverloadedError          overloaded           HTTP 503   exit 1
    ├── RequestTimeoutError      timeout              HTTP 504   exit 1
    ├── NotReadyError            not_ready            HTTP 503   exit 1
    ├── GPUOutOfMemoryError      gpu_out_of_memory    HTTP 503   exit 1
    ├── SettingsError            validation_error     HTTP 500   exit 2
    ├── DrawingUnavailableError  internal_error       HTTP 501   exit 2
    └── InternalError            internal_error       HTTP 500   exit 2

A message says what was given, what was expected and what to do next. Errors cross process
boundaries, so everything an error carries is in ``args`` and survives a pickle round trip.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "CheckpointMissingError",
    "ChecksumMismatchError",
    "CudaUnavailableError",
    "DrawingUnavailableError",
    "DriverIncompatibleError",
    "GPUOutOfMemoryError",
    "GPUUnsupportedError",
    "InternalError",
    "ModelLoadError",
    "NotReadyError",
    "OverloadedError",
    "PerioGTError",
    "RequestTimeoutError",
    "SettingsError",
    "UnauthorizedError",
    "UnsupportedPropertyError",
    "ValidationError",
]


class PerioGTError(Exception):
    """Base of all errors with a code.

    Parameters
    ----------
    message : str
        One or two sentences for the user; never a traceback.
    details : Mapping, optional
        Further JSON-serialisable facts, for example the supported property ids.

    Attributes
    ----------
    code : str
        The stable identifier in JSON and CSV output.
    http_status : int
        Status of the HTTP answer.
    exit_code : int
        Exit status of the command line: 1 some rows failed, 2 fatal.
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, dict(details or {}))

    @property
    def message(self) -> str:
        """The text for the user."""
        return str(self.args[0])

    @property
    def details(self) -> dict[str, Any]:
        """Further facts, JSON-serialisable."""
        return dict(self.args[1])

    def __str__(self) -> str:
        return self.message


class ValidationError(PerioGTError):
    """The input is not a repeat unit that the model accepts, or a request body is malformed."""

    code = "validation_error"
    http_status = 422


class UnsupportedPropertyError(PerioGTError):
    """The property id is not served; ``details["supported"]`` lists those that are."""

    code = "unsupported_property"
    http_status = 422


class CheckpointMissingError(PerioGTError):
    """An artifact file is absent; the message names it and where it was expected."""

    code = "checkpoint_missing"
    http_status = 503


class ChecksumMismatchError(PerioGTError):
    """A file differs from the published one."""

    code = "checksum_mismatch"


class ModelLoadError(PerioGTError):
    """A checkpoint is corrupt or not of a known architecture."""

    code = "model_load_failed"


class CudaUnavailableError(PerioGTError):
    """CUDA was requested and cannot be used."""

    code = "cuda_unavailable"
    http_status = 503


class GPUUnsupportedError(PerioGTError):
    """A visible GPU's compute capability is too low."""

    code = "gpu_unsupported"
    http_status = 503


class DriverIncompatibleError(PerioGTError):
    """The NVIDIA driver is older than the floor."""

    code = "driver_incompatible"
    http_status = 503


class UnauthorizedError(PerioGTError):
    """The API key is missing or wrong."""

    code = "unauthorized"
    http_status = 401


class OverloadedError(PerioGTError):
    """The queue is full; the request may be sent again."""

    code = "overloaded"
    http_status = 503
    exit_code = 1


class RequestTimeoutError(PerioGTError):
    """The request's deadline passed; its work was dropped."""

    code = "timeout"
    http_status = 504
    exit_code = 1


class NotReadyError(PerioGTError):
    """The model is still loading; the request may be sent again."""

    code = "not_ready"
    http_status = 503
    exit_code = 1


class GPUOutOfMemoryError(PerioGTError):
    """A single polymer does not fit into the GPU's memory."""

    code = "gpu_out_of_memory"
    http_status = 503
    exit_code = 1


class SettingsError(PerioGTError):
    """A PERIOGT_* variable or a path it names cannot be used."""

    code = "validation_error"


class DrawingUnavailableError(PerioGTError):
    """Libraries that draw are missing on this machine. Another try does not help; predictions do not need them."""

    http_status = 501


class InternalError(PerioGTError):
    """An unexpected failure; its cause is in the log, not in the answer."""
