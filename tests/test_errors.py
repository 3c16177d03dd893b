import inspect
import pickle

import pytest

from periogt_ray import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.PerioGTError)]

# code -> HTTP status, from the public contract
CONTRACT = {
    "validation_error": 422,
    "unsupported_property": 422,
    "checkpoint_missing": 503,
    "checksum_mismatch": 500,
    "model_load_failed": 500,
    "cuda_unavailable": 503,
    "gpu_unsupported": 503,
    "driver_incompatible": 503,
    "unauthorized": 401,
    "overloaded": 503,
    "timeout": 504,
    "not_ready": 503,
    "gpu_out_of_memory": 503,
    "internal_error": 500,
}


@pytest.mark.parametrize("cls", CLASSES)
def test_survives_a_process_boundary(cls: type[errors.PerioGTError]) -> None:
    error = cls("what was given", {"supported": ["eps"]})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (copy.message, copy.details, str(copy)) == ("what was given", {"supported": ["eps"]}, "what was given")


def test_codes_and_statuses_are_those_of_the_contract() -> None:
    others = {errors.SettingsError: ("validation_error", 500), errors.DrawingUnavailableError: ("internal_error", 501)}
    found = {cls.code: cls.http_status for cls in CLASSES if cls not in others}
    assert found == CONTRACT
    assert {cls: (cls.code, cls.http_status) for cls in others} == others


def test_all_lists_every_class() -> None:
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)


def test_details_cannot_be_shared_by_accident() -> None:
    details = {"supported": ["eps"]}
    error = errors.UnsupportedPropertyError("no", details)
    details["more"] = []
    assert error.details == {"supported": ["eps"]}
