"""What the head does when something is late, fails or is to end; without Slurm, Ray or waiting."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from periogt_ray.errors import InternalError, SettingsError
from periogt_ray.slurm.head import HeadOptions, run_head
from support.served_process import free_port
from support.slurm_scene import START_TIMEOUT_S, Scene

READY_TIMEOUT_S = 20.0
SERVE = HeadOptions("serve", (), "/repository", READY_TIMEOUT_S)
BATCH = HeadOptions("batch", ("--input", "in.csv"), "/repository", 0)
DRAINS = "signal.signal(signal.SIGTERM, lambda *_: (note('drained'), os._exit(0)))\n"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, monkeypatch)
    yield made
    made.end()


def run(scene: Scene, options: HeadOptions, *, nodes: tuple[str, ...] = ("n1",), drain_s: float = 90) -> int:
    return run_head(scene.place(nodes=nodes), options, scene.stop(drain_s=drain_s), clock=scene.clock)


# Ray and its nodes.


def test_ray_that_never_listens(scene: Scene) -> None:
    scene.plays("ray", "print('why it does not', flush=True); stays()")
    with pytest.raises(
        InternalError, match=r"n1 is not complete after 300 s: its control service does not listen"
    ) as e:
        run(scene, SERVE)
    assert START_TIMEOUT_S < scene.now < START_TIMEOUT_S + 2
    assert "why it does not" in e.value.message
    assert scene.calls("wait") == scene.calls("command") == []


def test_ray_that_ends_at_once(scene: Scene) -> None:
    scene.plays("ray", "sys.exit('no room in /dev/shm')")
    with pytest.raises(InternalError, match=r"Ray on n1 has ended: .*\n.*\nno room in /dev/shm"):
        run(scene, SERVE)


def test_a_node_that_never_comes(scene: Scene) -> None:
    scene.plays("wait", "stays()")
    with pytest.raises(InternalError, match="is not complete after 300 s: not all of n1, n2 have joined"):
        run(scene, SERVE, nodes=("n1", "n2"))
    assert scene.calls("wait") == ["-m periogt_ray.slurm wait 2"]
    # What waited for it is not left.
    assert not Path(f"/proc/{scene.pids('wait')[0]}").exists()


def test_a_node_that_says_why_it_cannot_join(scene: Scene) -> None:
    scene.plays("wait", "stays()")
    scene.when(lambda: scene.calls("wait"), lambda: scene.files.report_failure("n2", "n2 has no free ports."))
    with pytest.raises(InternalError, match=r"A node could not join\. n2 has no free ports\."):
        run(scene, SERVE, nodes=("n1", "n2"))
    assert scene.now < START_TIMEOUT_S


def test_a_ray_that_cannot_be_connected_to_yet_is_tried_again(scene: Scene) -> None:
    scene.plays("wait", """sys.exit("not yet") if n_calls < 3 else print('{"CPU": 4.0}')""")
    scene.plays("command", "sys.exit(0)")
    assert run(scene, BATCH) == 0
    assert len(scene.calls("wait")) == 3


@pytest.mark.parametrize("printed", ["", "starting", "[1]", '{"CPU": 4'])
def test_what_connects_and_does_not_say_what_there_is_is_tried_again(scene: Scene, printed: str) -> None:
    """As where Ray ends a program as it connects, with status 0."""
    scene.plays("wait", f"""print({printed!r} if n_calls < 3 else '{{"CPU": 4.0}}')""")
    scene.plays("command", "sys.exit(0)")
    assert run(scene, BATCH) == 0
    assert len(scene.calls("wait")) == 3


def test_a_ray_that_can_never_be_connected_to(scene: Scene) -> None:
    scene.start_timeout_s = 3
    scene.plays("wait", "os._exit(1)")
    # Which of the two depends on whether one has just ended or just begun.
    reasons = "no program can connect; its messages are above|not all of n1 have joined"
    with pytest.raises(InternalError, match=f"Ray on n1 is not complete after 3 s: ({reasons})"):
        run(scene, SERVE)
    assert len(scene.calls("wait")) > 1


@pytest.mark.parametrize("until", ["ray", "wait"])
def test_a_job_that_is_to_end_before_ray_is_complete(scene: Scene, until: str) -> None:
    if until == "ray":
        scene.plays("ray", "stays()")
    scene.plays("wait", "stays()")
    scene.when(lambda: scene.calls(until), scene.asks_to_stop)
    assert run(scene, SERVE) == 0
    assert scene.calls("command") == []


def test_other_nodes_learn_where_the_head_is_before_it_waits_for_them(scene: Scene) -> None:
    found = []
    scene.plays("wait", "stays()")
    scene.when(lambda: scene.calls("wait"), lambda: (found.append(scene.files.published()), scene.asks_to_stop()))
    run(scene, SERVE, nodes=("n1", "n2"))
    assert found[0]["node"] == "n1"
    [option] = [word for word in scene.calls("ray")[0].split() if word.startswith("--port=")]
    assert found[0]["ray_address"] == f"127.0.0.1:{option.removeprefix('--port=')}"


# The service.


def connection_file(scene: Scene) -> Path:
    return scene.files.connection_file


def test_a_service_is_announced_and_drained(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    said: dict[str, str] = {}
    scene.plays("command", DRAINS + "note('variables', json.dumps(dict(os.environ))); answers()")

    def ready() -> None:
        said["note"] = connection_file(scene).read_text()
        said["key"] = scene.files.key_file.read_text()
        scene.asks_to_stop()

    scene.when(connection_file(scene).exists, ready)
    assert run(scene, SERVE) == 0
    assert scene.calls("command") == ["-m periogt_ray serve"]
    variables = scene.noted("variables") or ""
    assert f'"PERIOGT_API_KEY": "{said["key"]}"' in variables
    assert f'"RAY_ADDRESS": "{(scene.files.published() or {})["ray_address"]}"' in variables
    assert f"The service is ready ({connection_file(scene)}):\n\n{said['note']}" in capfd.readouterr().out
    assert said["key"] not in said["note"]
    assert scene.noted("drained") is not None
    # What leads to it and what lets in is gone with it.
    left = {path.name for path in scene.files.path.iterdir()}
    assert left == {"cluster.json", "ray-token", "stop"}


def test_a_service_is_announced_only_when_its_model_answers(scene: Scene) -> None:
    scene.note("loading")
    scene.plays("command", DRAINS + "answers()")
    scene.when(lambda: scene.now > 10, lambda: scene.unnote("loading"))
    scene.when(connection_file(scene).exists, scene.asks_to_stop)
    assert run(scene, SERVE) == 0
    assert scene.now > 10


def test_key_and_port_that_were_chosen_go_first(scene: Scene) -> None:
    unused_port = free_port()
    scene.env |= {"PERIOGT_API_KEY": "chosen", "PERIOGT_PORT": str(unused_port)}
    scene.plays("command", DRAINS + "answers()")
    found = []
    scene.when(
        connection_file(scene).exists, lambda: (found.append(connection_file(scene).read_text()), scene.asks_to_stop())
    )
    assert run(scene, SERVE) == 0
    # The service listens at its node's loopback address here, so that the tunnel ends there.
    assert f"ssh -N -L 8000:127.0.0.1:{unused_port} -J " in found[0]


def test_a_service_that_never_answers(scene: Scene) -> None:
    scene.plays("command", "stays()")
    with pytest.raises(InternalError, match="The service has not answered within 20 s"):
        run(scene, SERVE)
    assert READY_TIMEOUT_S < scene.now < READY_TIMEOUT_S + 5
    assert not connection_file(scene).exists()


def test_a_service_that_fails_gives_its_own_status(scene: Scene) -> None:
    scene.plays("command", "sys.exit(2)")
    assert run(scene, SERVE) == 2
    assert not scene.files.key_file.exists()


def test_ray_that_dies_under_the_service(scene: Scene) -> None:
    scene.plays("ray", "print('Out of memory', flush=True); listens(); stays()")
    scene.plays("command", DRAINS + "answers()")
    scene.when(connection_file(scene).exists, lambda: scene.kill("ray"))
    with pytest.raises(InternalError, match=r"Ray ended on n1, the head; .*\n.*\nOut of memory"):
        run(scene, SERVE)
    assert not scene.files.key_file.exists()


def test_what_does_not_end_in_time_is_killed(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.plays("command", "signal.signal(signal.SIGTERM, signal.SIG_IGN); answers()")
    scene.when(connection_file(scene).exists, scene.asks_to_stop)
    assert run(scene, SERVE, drain_s=1.5) == 0
    assert "The command did not end in time and is killed." in caplog.text


# The batch.


@pytest.mark.parametrize(("end", "status"), [("sys.exit(0)", 0), ("sys.exit(1)", 1), ("os.kill(os.getpid(), 9)", 137)])
def test_a_batch_gives_its_own_status(scene: Scene, end: str, status: int) -> None:
    scene.plays("command", end)
    assert run(scene, BATCH) == status
    assert scene.calls("command") == ["-m periogt_ray batch --input in.csv"]
    assert not scene.files.key_file.exists()


def test_a_batch_that_is_warned_ends_in_its_own_way(scene: Scene) -> None:
    """Its status, not 0: the script puts the job back."""
    scene.plays("command", "signal.signal(signal.SIGTERM, lambda *_: os._exit(75)); note('runs'); stays()")
    scene.when(lambda: scene.noted("runs") is not None, scene.asks_to_stop)
    assert run(scene, BATCH) == 75


def test_a_batch_is_never_too_late_to_answer(scene: Scene) -> None:
    scene.plays("command", "note('runs'); stays()")
    scene.when(lambda: scene.now > 2 * START_TIMEOUT_S, scene.asks_to_stop)
    assert run(scene, BATCH) == 128 + 15


# Settings.


def test_settings_that_cannot_be_used_are_told_before_ray_starts(scene: Scene) -> None:
    scene.env["PERIOGT_PORT"] = "99999"
    with pytest.raises(SettingsError, match="99999"):
        run(scene, SERVE)
    assert scene.calls("ray") == []
    assert list(scene.files.path.iterdir()) == []
