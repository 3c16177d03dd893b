"""Which tests a run has, with which random numbers, and which of them share a worker."""

import os
import random
from contextlib import suppress

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The tests of a group run in one worker, one after another and in this order, because they share something that takes
# long to start: a Ray and a service on it, a Slurm site, an image. Rays are in two groups, those of a Slurm site in its
# namespaces; more at once would overload two cores. Long groups come first, so that the others fill the time in which
# they wait. Told by the path, because xdist 3.8 does not find the group of a mark with pytest 9.2 and its workers tell
# nothing else of a test.
GROUPS = {
    "tests/batch/test_on_ray.py": "ray",
    "tests/batch/test_shared_ray.py": "ray",
    "tests/training/test_engines.py": "ray",
    "tests/serve/test_several_predictors.py": "ray",
    "tests/web/test_csv.py": "ray",
    "tests/web/test_explain.py": "ray",
    "tests/web/test_looks.py": "ray",
    "tests/web/test_one_polymer.py": "ray",
    "tests/test_notebooks.py": "ray",
    "tests/test_wheel.py": "ray",
    "tests/serve/test_soak.py": "ray",
    "tests/serve/test_service_process.py": "ray",  # breaks and ends the service that the page's tests share
    "tests/slurm/test_service.py": "site",
    "tests/slurm/test_batch.py": "site",
    "tests/slurm/test_featurize.py": "site",
    "tests/slurm/test_heterogeneous.py": "site",
    "tests/slurm/test_finetune.py": "site",
    "tests/slurm/test_scripts.py": "site",
    "tests/slurm/test_in_container.py": "site",  # last, because it needs the image that another group builds
    "tests/container/": "container",
}
# How much of a processor the other tests leave to those that wait for a Ray with a limit of time (`nice`).
BACKGROUND = 5
# Modules that take long come next.
LONG = (
    "tests/setup/test_kill.py",
    "tests/setup/test_run.py",
    "tests/embedded/test_embedded_model.py",
    "tests/deploy/test_conda.py",
    "tests/test_cli.py",
    "tests/batch/test_run.py",
    "tests/batch/test_local_engine.py",
    "tests/batch/test_featurize_run.py",
    "tests/serve/http/test_openapi.py",
    "tests/model/test_predictor.py",
    "tests/model/test_equal_shapes.py",
    "tests/training/test_run.py",
    "tests/training/test_trainer.py",
    "tests/training/test_calibrate.py",
    "tests/commands/test_finetune.py",
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return GroupScheduling(config, log)


class GroupScheduling(LoadScopeScheduling):
    """Hands out groups of tests in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    real = {item.nodeid.partition("::")[0] for item in items if {"ray", "slurm"} & markers_of(item)}
    if apart := [module for module in real if group_of(module) not in {"ray", "site"}]:
        raise pytest.UsageError(f"{apart}: starts a Ray, so support/tiers.py has to name it in a group of those")
    unwanted = set(NOT_FAST) if config.option.fast else set()
    unwanted |= (set() if torch.cuda.is_available() else {"gpu"}) | (set() if config.option.full else {"full"})
    config.hook.pytest_deselected(items=[item for item in items if unwanted & markers_of(item)])
    items[:] = [item for item in items if not unwanted & markers_of(item)]
    items.sort(key=turn_of)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not hasattr(item.config, "workerinput"):
        return
    wanted = 0 if group_of(item.nodeid) in GROUPS.values() else BACKGROUND
    with suppress(PermissionError):  # only root goes back to the foreground
        os.setpriority(os.PRIO_PROCESS, 0, wanted)


def group_of(nodeid: str) -> str:
    """Name of the group; a module that shares nothing with others is one of its own."""
    module = nodeid.partition("::")[0]
    return next((group for place, group in GROUPS.items() if module.startswith(place)), module)


def turn_of(item: pytest.Item) -> tuple[int, int]:
    """Place in the order of the run: by group, and in it by the order of GROUPS."""
    order = (*dict.fromkeys(GROUPS.values()), *LONG)
    group = group_of(item.nodeid)
    place = next((n for n, place in enumerate(GROUPS) if item.nodeid.startswith(place)), 0)
    return order.index(group) if group in order else len(order), place


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
