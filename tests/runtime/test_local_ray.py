"""Connections to a Ray that is not there, and a Ray that does not start."""

import os
import socket

import pytest

from periogt_ray.errors import InternalError, SettingsError
from periogt_ray.runtime.local_ray import local_ray


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        pytest.raises(SettingsError, match=f"127.0.0.1:{port}.*Check that it runs there"),
        local_ray(address=f"127.0.0.1:{port}"),
    ):
        raise AssertionError("connected to nothing")


@pytest.mark.parametrize(
    "failure",
    [Exception("The current node timed out during startup. Overloaded."), RuntimeError(), OSError(28, "Full")],
)
def test_a_ray_that_does_not_start_is_no_bug(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own time-out is a bare Exception."""

    def init(**_: object) -> None:
        raise failure

    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(InternalError, match=r"Ray did not start within \d+ s: .*overloaded or full.*uptime") as caught,
        local_ray(),
    ):
        raise AssertionError("connected to nothing")
    assert (str(failure).splitlines() or ["RuntimeError"])[0].rstrip(".") in caught.value.message
    assert "bug" not in caught.value.message


@pytest.mark.parametrize("chosen", [None, "info"])
def test_only_this_process_s_core_is_quiet(
    chosen: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray's processes start before the core of this one does, and inherit what the environment holds then."""
    import ray._private.worker

    name = "RAY_BACKEND_LOG_LEVEL"
    seen: list[tuple[str, str | None]] = []
    if chosen is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, chosen)

    def connect() -> None:
        seen.append(("core", os.environ.get(name)))
        os.write(2, f"logging.cc:303: Set ray log level from environment variable {name} to 3\nthe reason\n".encode())

    def init(**_: object) -> None:
        seen.append(("processes", os.environ.get(name)))
        ray._private.worker.connect()
        seen.append(("processes", os.environ.get(name)))
        raise RuntimeError

    monkeypatch.setattr("ray._private.worker.connect", connect)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(InternalError), local_ray():
        raise AssertionError("connected to nothing")
    assert seen == [("processes", chosen), ("core", chosen or "fatal"), ("processes", chosen)]
    assert ray._private.worker.connect is connect
    lines = capfd.readouterr().err.splitlines()
    assert "the reason" in lines
    assert any(name in line for line in lines) == (chosen is not None), "the user asked for it"
