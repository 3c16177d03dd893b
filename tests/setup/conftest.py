"""Fixtures of the setup tests."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from periogt_ray.setup.published import PublishedFile, load_published
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from support.published_site import QUICK, Site, convert_here, golden_files, snapshot, write_manifest_file


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests fork; a thread pool of torch would not survive that."""
    torch.set_num_threads(1)


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that publishes nothing yet."""
    server = Site()
    yield server
    server.close()


@pytest.fixture
def publish(site: Site, tmp_path: Path) -> Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]]:
    """Serve files; returns their manifest."""

    def serve(files: Mapping[str, bytes]) -> tuple[PublishedFile, ...]:
        site.publish(files)
        return load_published(write_manifest_file(tmp_path / "published.json", files, site.url))

    return serve


@pytest.fixture
def options(publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]], tmp_path: Path) -> SetupOptions:
    """Set up the golden artifacts from the server, quickly."""
    return SetupOptions(
        directory=tmp_path / "artifacts", files=publish(golden_files()), policy=QUICK, convert=convert_here
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the directory holds after an undisturbed setup of the golden artifacts."""
    folder = tmp_path_factory.mktemp("finished")
    site, files = Site(), golden_files()
    site.publish(files)
    manifest = load_published(write_manifest_file(folder / "published.json", files, site.url))
    run_setup(SetupOptions(folder / "artifacts", files=manifest, policy=QUICK, convert=convert_here))
    site.close()
    return snapshot(folder / "artifacts")


@pytest.fixture
def command() -> Callable[..., subprocess.Popen[str]]:
    """Start ``periogt setup`` with arguments."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "periogt_ray", "setup", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    return start


@pytest.fixture
def with_options(options: SetupOptions) -> Callable[..., SetupOptions]:
    """The golden options with changes."""
    return lambda **changes: dataclasses.replace(options, **changes)
