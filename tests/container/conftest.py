"""Begins to build the image when a session that needs it begins, and other tests may run first."""

import pytest

from support.sif_image import Building, can_build

_BUILDING = pytest.StashKey[Building]()


def pytest_collection_finish(session: pytest.Session) -> None:
    # Of several processes that run tests (pytest-xdist) one is enough.
    is_first = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    is_needed = any(item.get_closest_marker("container") for item in session.items)
    if is_first and is_needed and can_build() and not session.config.option.collectonly:
        session.config.stash[_BUILDING] = Building()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _BUILDING in session.config.stash:
        is_cut_short = exitstatus == pytest.ExitCode.INTERRUPTED or bool(session.shouldstop or session.shouldfail)
        # Another process may still wait for it.
        session.config.stash[_BUILDING].finish(is_needed=not is_cut_short)
