"""Kill -9 at any moment, run again: the end state is always that of an undisturbed run."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from periogt_ray.errors import ModelLoadError, PerioGTError
from periogt_ray.setup.published import PublishedFile
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from support.published_site import (
    GOLDEN,
    HEADS,
    Behaviour,
    Site,
    golden_files,
    snapshot,
    write_manifest_file,
    zip_bytes,
)

pytestmark = pytest.mark.slow

N_POINTS = 32
N_KILLS_OF_THE_COMMAND = 4
# Everything by which setup changes a directory, as the interpreter announces it just before it happens.
_CHANGES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"})


def changes_of(
    options: SetupOptions, *, kill_at: int | None, events: frozenset[str] = _CHANGES, is_refused: bool = False
) -> int:
    """Run setup in a forked process that kills itself before its n-th change to the file system.

    Returns the number of changes if it was not killed, -1 if it was. With ``is_refused`` setup is to fail by itself.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        n_changes = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal n_changes
            is_inside = event in ("os.remove", "os.rmdir") or str(options.directory) in str(arguments)
            if event in events and is_inside:
                n_changes += 1
                if n_changes == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(count)
            if is_refused:
                with pytest.raises(ModelLoadError):
                    run_setup(options)
            else:
                run_setup(options)
            os.write(writing, str(n_changes).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    _pid, status = os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        text = answer.read()
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return -1
    assert os.WEXITSTATUS(status) == 0
    return int(text)


@pytest.fixture
def chopped(site: Site, options: SetupOptions) -> SetupOptions:
    """The golden setup, with downloads that come in small pieces."""
    for path, behaviour in site.behaviours.items():
        site.behaviours[path] = Behaviour(behaviour.content, chunk_bytes=300_000)
    return options


def kill_points(n_changes: int, chance: random.Random) -> Iterator[int]:
    """Random points, one in each of as many equal parts of the run."""
    for part in range(N_POINTS):
        low, high = part * n_changes // N_POINTS, (part + 1) * n_changes // N_POINTS
        yield chance.randint(low + 1, max(high, low + 1))


@pytest.mark.parametrize("is_twice", [False, True])
def test_killed_anywhere_and_run_again(
    chopped: SetupOptions, finished: dict[str, str], is_twice: bool, chance: random.Random
) -> None:
    total = changes_of(chopped, kill_at=None)
    assert snapshot(chopped.directory) == finished
    assert total > 2 * N_POINTS
    # The second round kills the repairing run as well; a quarter of the points keep it short.
    points = list(kill_points(total, chance))[:: 4 if is_twice else 1]
    n_killed = 0
    for point in points:
        shutil.rmtree(chopped.directory)
        n_killed += changes_of(chopped, kill_at=point) == -1
        if is_twice:
            n_killed += changes_of(chopped, kill_at=chance.randint(1, total // 2)) == -1
        run_setup(chopped)
        assert snapshot(chopped.directory) == finished, f"after a kill at change {point} of {total}"
    assert n_killed >= len(points)


def test_killed_before_every_rename(options: SetupOptions, finished: dict[str, str]) -> None:
    """A rename is where something takes effect: each one of them is a moment at which half of a pair is done."""
    renames = frozenset({"os.rename"})
    total = changes_of(options, kill_at=None, events=renames)
    for point in range(1, total + 1):
        shutil.rmtree(options.directory)
        assert changes_of(options, kill_at=point, events=renames) == -1
        run_setup(options)
        assert snapshot(options.directory) == finished, f"after a kill before rename {point} of {total}"


def test_killed_while_refusing_an_archive(
    options: SetupOptions,
    publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]],
    finished: dict[str, str],
) -> None:
    """A checkpoint is found damaged when it is converted; what was unpacked goes, and a good archive completes."""
    content = bytearray(HEADS["tg"].read_bytes())
    content[len(content) // 2] ^= 4
    members = {"finetuned_ckpt/eps.pth": HEADS["eps"].read_bytes(), "finetuned_ckpt/tg.pth": bytes(content)}
    damaged = publish(golden_files() | {"finetuned_ckpt.zip": zip_bytes(members)})
    bad = dataclasses.replace(options, files=damaged)
    removals = frozenset({"os.remove", "os.rmdir"})
    total = changes_of(bad, kill_at=None, events=removals, is_refused=True)
    good = dataclasses.replace(options, files=publish(golden_files()))
    for point in range(max(total - 12, 1), total + 1):
        shutil.rmtree(options.directory)
        publish(golden_files() | {"finetuned_ckpt.zip": zip_bytes(members)})
        assert changes_of(bad, kill_at=point, events=removals, is_refused=True) == -1
        publish(golden_files())
        run_setup(good)
        assert snapshot(options.directory) == finished, f"after a kill at removal {point} of {total}"


@pytest.mark.parametrize("keep_pth", [False, True])
def test_killed_while_preparing_hand_placed_files(options: SetupOptions, keep_pth: bool, chance: random.Random) -> None:
    chosen = dataclasses.replace(options, skip_download=True, keep_pth=keep_pth)

    def place() -> None:
        shutil.rmtree(chosen.directory, ignore_errors=True)
        shutil.copytree(GOLDEN, chosen.directory)
        (chosen.directory / "descriptor_scaler.npz").unlink()
        (chosen.directory / ".ready").write_text("ready")

    place()
    total = changes_of(chosen, kill_at=None)
    expected = snapshot(chosen.directory)
    for point in sorted(chance.sample(range(1, total + 1), 8)):
        place()
        assert changes_of(chosen, kill_at=point) == -1
        run_setup(chosen)
        assert snapshot(chosen.directory) == expected, f"after a kill at change {point} of {total}"


def test_the_command_killed_again_and_again(
    command: Callable[..., subprocess.Popen[str]],
    site: Site,
    tmp_path: Path,
    finished: dict[str, str],
    chance: random.Random,
) -> None:
    """The whole program with its converting child, killed at moments that nothing in it knows of."""
    files = golden_files()
    site.behaviours |= {
        f"/files/{name}": Behaviour(content, chunk_bytes=200_000, pause_s=0.03) for name, content in files.items()
    }
    manifest = write_manifest_file(tmp_path / "published.json", files, site.url)
    for _ in range(N_KILLS_OF_THE_COMMAND):
        process = command("--dir", tmp_path / "artifacts", "--catalogue", manifest)
        # It waits for nothing: where the kill falls is the point.
        time.sleep(chance.uniform(0.5, 4.0))
        process.kill()
        process.communicate()
    process = command("--dir", tmp_path / "artifacts", "--catalogue", manifest)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "properties: eps, tg" in out
    assert snapshot(tmp_path / "artifacts") == finished


def test_errors_leave_a_directory_that_completes(options: SetupOptions, site: Site, finished: dict[str, str]) -> None:
    """Every file fails once; each run gets a file further, and the end state is the same."""
    for behaviour in site.behaviours.values():
        behaviour.fail_first, behaviour.fail_status = 1, 404
    n_failures = 0
    while n_failures < len(site.behaviours):
        with pytest.raises(PerioGTError):
            run_setup(options)
        n_failures += 1
    run_setup(options)
    assert snapshot(options.directory) == finished
