"""What a node that is not the head does when something is late, fails or is to end; without Slurm, Ray or waiting."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from periogt_ray.errors import InternalError
from periogt_ray.slurm.node import run_worker
from periogt_ray.slurm.stop_request import StopRequest
from support.slurm_scene import START_TIMEOUT_S, Listener, Scene


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, monkeypatch)
    made.plays("ray", "stays()")
    yield made
    made.end()


@pytest.fixture
def head(scene: Scene) -> Iterator[Listener]:
    """A head that has published its address."""
    listener = Listener()
    scene.files.publish({"ray_address": f"127.0.0.1:{listener.port}"})
    yield listener
    listener.goes()


def run(scene: Scene, stop: StopRequest | None = None) -> int:
    place = scene.place(index=1, nodes=("n1", "n2"))
    return run_worker(place, stop or scene.stop(), clock=scene.clock)


def job_ends(scene: Scene) -> None:
    """Do what the head and the batch script do in the end."""
    shutil.rmtree(scene.files.path)


def test_a_head_that_never_comes(scene: Scene) -> None:
    with pytest.raises(InternalError, match="n2 has waited 300 s for n1 to start Ray"):
        run(scene)
    assert START_TIMEOUT_S < scene.now < START_TIMEOUT_S + 2
    assert scene.calls("ray") == []


def test_a_job_that_is_to_end_before_there_is_a_head(scene: Scene) -> None:
    scene.when(lambda: scene.now > 10, scene.asks_to_stop)
    assert run(scene) == 0
    assert scene.calls("ray") == []


def test_a_job_that_has_ended_before_there_is_a_head(scene: Scene) -> None:
    scene.when(lambda: scene.now > 10, lambda: job_ends(scene))
    assert run(scene) == 0
    assert scene.calls("ray") == []


def test_a_node_joins_the_head_and_ends_with_the_job(scene: Scene, head: Listener) -> None:
    scene.when(lambda: scene.now > 2 * START_TIMEOUT_S, lambda: job_ends(scene))
    assert run(scene) == 0
    [words] = scene.calls("ray")
    assert f"--address=127.0.0.1:{head.port} --node-ip-address=127.0.0.1" in words


def test_a_node_ends_with_the_head_whose_files_are_left(scene: Scene, head: Listener) -> None:
    scene.when(lambda: scene.now > 60, head.goes)
    assert run(scene) == 0
    assert scene.now < 70
    assert scene.files.failures() == []


def test_a_head_that_does_not_answer_once_is_not_gone(scene: Scene, head: Listener) -> None:
    gone: list[float] = []
    scene.when(lambda: scene.now > 60, lambda: (head.goes(), gone.append(scene.now)))
    # Looked at every two seconds: once refused, it is there again.
    scene.when(lambda: gone and scene.now >= gone[0] + 2.5, head.comes_back)
    scene.when(lambda: scene.now > 120, lambda: job_ends(scene))
    assert run(scene) == 0
    assert scene.now > 120


@pytest.mark.usefixtures("head")
def test_ray_that_cannot_join_yet_is_started_again(scene: Scene) -> None:
    scene.plays("ray", "sys.exit('the head is busy') if n_calls < 3 else stays()")
    scene.when(lambda: scene.now > 200, lambda: job_ends(scene))
    assert run(scene) == 0
    assert len(scene.calls("ray")) == 3


@pytest.mark.usefixtures("head")
def test_ray_that_can_never_join_says_why(scene: Scene) -> None:
    scene.plays("ray", "sys.exit('no room in /tmp')")
    with pytest.raises(InternalError, match="Ray ended on n2;") as raised:
        run(scene)
    assert "no room in /tmp" in raised.value.message
    assert len(scene.calls("ray")) == 3
    # For the head, which waits for this node.
    assert scene.files.failures() == [raised.value.message]


@pytest.mark.usefixtures("head")
def test_ray_that_dies_after_its_start_is_not_started_again(scene: Scene) -> None:
    scene.when(lambda: scene.now > START_TIMEOUT_S + 10, lambda: scene.kill("ray"))
    with pytest.raises(InternalError, match="Ray ended on n2"):
        run(scene)
    assert len(scene.calls("ray")) == 1
    assert len(scene.files.failures()) == 1


def test_ray_that_ends_with_the_head_is_no_failure(scene: Scene, head: Listener) -> None:
    scene.when(lambda: scene.now > 60, lambda: (head.goes(), scene.kill("ray")))
    assert run(scene) == 0
    assert len(scene.calls("ray")) == 1
    assert scene.files.failures() == []


@pytest.mark.usefixtures("head")
def test_a_warning_leaves_the_node_to_the_head(scene: Scene) -> None:
    """The head may need it for what is open; it ends when that has."""
    scene.when(lambda: scene.now > 10, scene.asks_to_stop)
    scene.when(lambda: scene.now > 60, lambda: job_ends(scene))
    assert run(scene) == 0
    assert scene.now > 60


@pytest.mark.usefixtures("head")
def test_a_signal_ends_the_node_when_its_time_is_over(scene: Scene) -> None:
    stop = scene.stop(kill_wait_s=1)  # half a second is left of it
    scene.when(lambda: scene.now > 10, stop.hurry)
    assert run(scene, stop) == 0
    assert stop.remaining_s == 0
    assert scene.files.exists
