"""The status of the service: what may follow what, and what is answered in each."""

from typing import Any

import pytest

from periogt_ray.errors import NotReadyError
from periogt_ray.serve.service import Service, Status
from support.serve_fakes import RecordedFigures, settings_with

ALLOWED = {
    ("loading", "ready"),
    ("loading", "draining"),
    ("loading", "failed"),
    ("ready", "loading"),
    ("ready", "draining"),
    ("failed", "draining"),
}
WAYS = {"loading": (), "ready": (Status.READY,), "draining": (Status.DRAINING,), "failed": (Status.FAILED,)}


@pytest.fixture
def service() -> Service:
    return Service(settings_with(), None, RecordedFigures())  # type: ignore[arg-type]  # asked nothing here


@pytest.mark.parametrize("before", Status, ids=lambda status: status.value)
@pytest.mark.parametrize("after", Status, ids=lambda status: status.value)
def test_only_some_changes_are_allowed(service: Service, before: Status, after: Status) -> None:
    for status in WAYS[before.value]:
        service.become(status)
    assert service.status is before
    if before is after or (before.value, after.value) in ALLOWED:
        service.become(after)
        assert service.status is after
    else:
        with pytest.raises(ValueError, match=f"{before.value} cannot become {after.value}"):
            service.become(after)
        assert service.status is before


def test_what_was_known_of_the_model_is_kept(service: Service) -> None:
    assert (service.has_model, service.device) == (False, None)
    service.become(Status.READY, device="cuda")
    assert (service.has_model, service.device) == (True, "cuda")
    service.become(Status.LOADING)
    assert (service.has_model, service.device) == (False, "cuda")
    service.become(Status.READY, device="cuda")
    service.become(Status.DRAINING)
    assert (service.has_model, service.device) == (True, "cuda")


def test_health_tells_of_a_service_that_drains(served: Any) -> None:
    served.service.become(Status.DRAINING)
    body = served.client.get("/v1/health").json()
    assert (body["status"], body["model_loaded"]) == ("initializing", True)


def test_a_service_that_failed_refuses_and_names_its_log(service: Service) -> None:
    service.become(Status.FAILED)
    for artifacts in (service.known_artifacts, service.loaded_artifacts):
        with pytest.raises(NotReadyError, match="log"):
            artifacts()
