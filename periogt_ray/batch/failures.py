"""The one way of a batch's errors, from where they happen to where they are shown.

**A row's** errors become values where they happen: :func:`contained` computes something for one polymer
and returns a :class:`~periogt_ray.tables.predictions.RowFailure` in place of an error. The value goes with the
part to its file, and from there to the columns ``error_code`` and ``error_message`` of the output. These
errors are :data:`~periogt_ray.tables.predictions.ROW_ERRORS` (no repeat unit, too little memory for this
polymer, a bug that this polymer shows), any exception that nobody expected, and the death of the worker each
time this polymer was tried.

**A part's** errors are never shown. If a worker dies over a part, Ray gives the part to another worker,
which goes through it polymer by polymer (:mod:`~periogt_ray.batch.ledger`). If a part's polymers cannot be
predicted together, the predictor computes them one by one. What is left then is a row's error.

**The run's** errors are all others: the input has changed, the model cannot be loaded, the device fails,
Ray gives up. A worker raises them; :meth:`Message.of` at the edge of its stage carries them, and
:meth:`Message.take` raises them again at the other end: in the next stage, which passes them on, and last
in ``Pipeline.results``, which ends the run. The finished parts are kept.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.tables.predictions import ROW_ERRORS, RowFailure

__all__ = ["Message", "contained", "run_error"]

_T = TypeVar("_T")


def contained(compute: Callable[[], _T]) -> _T | RowFailure:
    """Compute something for one polymer, or for several together; what fails for them is a value.

    Raises
    ------
    PerioGTError
        What concerns the run.
    """
    try:
        return compute()
    except ROW_ERRORS as error:
        return RowFailure.of(error)
    except PerioGTError:
        raise
    except Exception:
        # A bug with one polymer must not cost the others; its cause is in the worker's log.
        traceback.print_exc()
        return RowFailure.of(InternalError("An unexpected failure; its cause is in the log of the worker."))


# Without repr: Ray Data asks for that of every object that it takes into a table, all its arrays included.
@dataclass(frozen=True, repr=False)
class Message(Generic[_T]):
    """What a stage hands on for a part: its result, or the error that ends the run.

    It is a class of its own, so that Ray Data keeps what is in it whole.

    Attributes
    ----------
    content : object or None
        The result.
    error : PerioGTError or None
        Why there is none.
    """

    content: _T | None = None
    error: PerioGTError | None = None

    @classmethod
    def of(cls, compute: Callable[[], _T]) -> "Message[_T]":
        """Compute something; carry its result, or the error that it raises."""
        try:
            return cls(content=compute())
        except Exception as error:
            if not isinstance(error, PerioGTError):
                traceback.print_exc()
            return cls(error=run_error(error, "A worker failed; its log has the cause"))

    def take(self) -> _T:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.content is None:
            raise InternalError("A message holds neither a result nor an error; this is a bug.")
        return self.content


def run_error(error: Exception, what_failed: str) -> PerioGTError:
    """Return an error as one of those with a code; of the texts of others, the last line says most."""
    if isinstance(error, PerioGTError):
        return error
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return InternalError(f"{what_failed}: {type(error).__name__}: {lines[-1].strip()}")
