"""Which errors are a row's and which end the run, and that both arrive as they were."""

import pickle

import pytest

from periogt_ray.batch.failures import Message, contained
from periogt_ray.errors import (
    CudaUnavailableError,
    GPUOutOfMemoryError,
    InternalError,
    ModelLoadError,
    PerioGTError,
    ValidationError,
)
from periogt_ray.tables.predictions import RowFailure


def raising(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize("error", [ValidationError("no *"), InternalError("a bug"), GPUOutOfMemoryError("large")])
def test_a_row_s_error_is_a_value(error: PerioGTError) -> None:
    assert contained(lambda: raising(error)) == RowFailure(error.code, error.message)


def test_a_bug_with_one_polymer_is_its_row_s(capsys: pytest.CaptureFixture[str]) -> None:
    found = contained(lambda: raising(ZeroDivisionError("by 0")))
    assert found == RowFailure("internal_error", "An unexpected failure; its cause is in the log of the worker.")
    assert "ZeroDivisionError: by 0" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ModelLoadError("corrupt"), CudaUnavailableError("no GPU", {"gpus": 0})])
def test_the_run_s_error_goes_through_every_stage(error: PerioGTError) -> None:
    first = Message.of(lambda: contained(lambda: raising(error)))
    second = Message.of(pickle.loads(pickle.dumps(first)).take)
    with pytest.raises(type(error)) as caught:
        second.take()
    assert (caught.value.message, caught.value.details) == (error.message, error.details)


def test_what_nobody_expects_ends_the_run_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    message = Message.of(lambda: raising(OSError(5, "Input/output error")))
    with pytest.raises(InternalError, match=r"A worker failed.*OSError: .*Input/output error"):
        message.take()
    assert "Traceback" in capsys.readouterr().err


def test_a_result_arrives() -> None:
    assert Message.of(lambda: 3).take() == 3
