"""Which tests a run has, with which random numbers, and which of them share a worker."""

import random

import pytest

# In each group all tests run in one worker, one after another, because they share something that takes long to start.
# Long groups come first, so that the others fill the time that they take.
GROUPS = ("slurm", "container", "ray", "service")
# Modules that take long come next.
LONG = (
    "tests/setup/test_kill.py",
    "tests/serve/test_several_predictors.py",
    "tests/setup/test_run.py",
    "tests/embedded/test_embedded_model.py",
    "tests/deploy/test_conda.py",
    "tests/test_cli.py",
    "tests/batch/test_run.py",
    "tests/serve/http/test_openapi.py",
    "tests/model/test_predictor.py",
)
NOT_FAST = {"ray", "slurm", "container", "browser", "root", "gpu", "network", "slow"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tiers")
    group.addoption("--fast", action="store_true", help="leave out what needs Ray, root, a browser or many seconds")
    group.addoption(
        "--full", action="store_true", help="more kills and more random requests, with another seed each time"
    )
    group.addoption("--seed", type=int, help="of all random numbers of the tests; 0 unless --full chooses another")


def pytest_configure(config: pytest.Config) -> None:
    # Workers are given the options of the process that starts them.
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1_000_000) if config.option.full else 0


def pytest_sessionstart(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        reporter.write_line(f"Random numbers of seed {session.config.option.seed}; --seed repeats them.")


@pytest.hookimpl(tryfirst=True)  # before the workers read the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    if config.option.fast:
        left_out = [item for item in items if NOT_FAST & markers_of(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not NOT_FAST & markers_of(item)]
    items.sort(key=turn_of)


def group_of(item: pytest.Item) -> str:
    """Name of the group; a module that shares nothing with others is one of its own."""
    markers = markers_of(item)
    for group in ("slurm", "container"):
        if group in markers:
            return group
    module = module_of(item)
    if "browser" in markers or module == "tests/serve/test_service_process.py":
        return "service"
    return "ray" if module.startswith("tests/batch/") and "ray" in markers else module


def turn_of(item: pytest.Item) -> tuple[int, bool]:
    """Place in the order of the run; tests that a group has in common with another one come last in it."""
    group = group_of(item)
    order = (*GROUPS, *LONG)
    return order.index(group) if group in order else len(order), {"slurm", "container"} <= markers_of(item)


def module_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def markers_of(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers()}


@pytest.fixture
def is_full(pytestconfig: pytest.Config) -> bool:
    """Whether this run takes its time."""
    return bool(pytestconfig.option.full)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a test, which --seed repeats."""
    return random.Random(f"{request.config.option.seed} {request.node.name}")
