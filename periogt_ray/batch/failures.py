"""Which errors of a batch are a row's, and how they are caught."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from periogt_ray.errors import GPUOutOfMemoryError, InternalError, PerioGTError, ValidationError

__all__ = ["ROW_ERRORS", "contained"]

# What concerns one polymer; any other error concerns the run and ends it.
ROW_ERRORS = (ValidationError, InternalError, GPUOutOfMemoryError)

_T = TypeVar("_T")


def contained(compute: Callable[[], _T]) -> _T | PerioGTError:
    """Compute something for one polymer, or for several together; what fails for them is a value."""
    try:
        return compute()
    except ROW_ERRORS as error:
        return error
    except PerioGTError:
        raise
    except Exception:
        # A bug with one polymer must not cost the others; its cause is in the worker's log.
        traceback.print_exc()
        return InternalError("An unexpected failure; its cause is in the log of the worker.")
