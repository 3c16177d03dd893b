"""The image: what it computes, as whom, with which binds; with the test double of Apptainer."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from periogt_ray import __version__
from support.golden import ARTIFACTS
from support.served_process import parent_of
from support.sif_image import BIN, CACHE, ROOT, USER, as_user, sif_image
from support.slurm_site import wait_for

pytestmark = pytest.mark.container

STYRENE = "*CC(*)c1ccccc1"
PREDICT = ["periogt", "predict", "--smiles", STYRENE, "--property", "eps"]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    found = sif_image()
    yield found
    devices = subprocess.run(["losetup", "--associated", found], capture_output=True, text=True, check=True)
    assert devices.stdout == "", "what root mounts it by is left"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of an ordinary user that containers see only if it is bound."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as name:
        folder = Path(name)
        for sub in ("home", "results", "tmp"):
            (folder / sub).mkdir()
        shutil.copytree(ARTIFACTS, folder / "checkpoints")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
        folder.chmod(0o755)
        yield folder
        wait_for(lambda: not processes_of(folder), 20, lambda: f"its processes end: {processes_of(folder)}")


def processes_of(place: Path) -> list[str]:
    """Return what still runs of the containers of a place: each of them, and what mounts its image, knows its name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if int(entry.name) != os.getpid() and str(place).encode() in seen:
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
    return found


def apptainer(
    *arguments: str | Path, place: Path, user: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the double as an ordinary user; nothing but HOME and the given variables is in the environment."""
    command = as_user(["apptainer", *arguments], place / "home") if user else ["apptainer", *map(str, arguments)]
    environment = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place / "home"), **variables}
    return subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False, timeout=600)


ALONE = ("--cleanenv", "--no-home", "--no-mount", "tmp,cwd")  # nothing of the node but what is bound


def bound(place: Path, *names: str) -> list[str]:
    return [word for name in names for word in ("--bind", f"{place / name}")]


def test_build_prints_the_path_and_the_hash(image: Path) -> None:
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert Path(f"{image}.out").read_text() == f"{image}\nsha256 {digest}\n"
    assert Path(f"{image}.sha256").read_text() == f"{digest}  {image.name}\n"


# Root's is run while the image is built, which fails with it.
@pytest.mark.parametrize(
    "user", [pytest.param(False, marks=pytest.mark.full, id="root"), pytest.param(True, id="user")]
)
def test_its_own_test_passes(image: Path, place: Path, user: bool) -> None:
    done = apptainer("test", "--cleanenv", image, place=place, user=user)
    assert done.returncode == 0, done.stderr
    assert f"0,{STYRENE},egc,2.68" in done.stdout
    assert "PASS  self-test" in done.stdout
    assert "PASS  lock file" in done.stdout


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_predicts_what_is_predicted_outside(image: Path, place: Path, user: bool) -> None:
    variables = {"PERIOGT_CHECKPOINT_DIR": str(place / "checkpoints"), "PERIOGT_RESULTS_DIR": str(place / "results")}
    outside = subprocess.run(
        [sys.executable, "-m", "periogt_ray", *PREDICT[1:]],
        env={**os.environ, "DGLBACKEND": "pytorch", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    inside = apptainer(
        *("exec", *ALONE, *bound(place, "checkpoints", "results", "tmp"), image, *PREDICT),
        place=place,
        user=user,
        APPTAINERENV_TMPDIR=str(place / "tmp"),
        **{f"APPTAINERENV_{name}": value for name, value in variables.items()},
    )
    assert inside.returncode == 0, inside.stderr
    expected, found = json.loads(outside.stdout), json.loads(inside.stdout)
    assert found["prediction"]["value"] == pytest.approx(expected["prediction"]["value"], rel=1e-6)
    assert found["model"] == expected["model"]


def test_a_missing_bind_is_told(image: Path, place: Path) -> None:
    variables = {"APPTAINERENV_PERIOGT_CHECKPOINT_DIR": str(place / "checkpoints")}
    done = apptainer("exec", *ALONE, image, *PREDICT, place=place, **variables)
    assert done.returncode == 2
    assert str(place / "checkpoints") in done.stderr
    assert "--bind" in done.stderr


def test_kernels_are_loaded_from_the_image(image: Path, place: Path) -> None:
    done = apptainer(
        *("exec", "--cleanenv", image, *PREDICT[:-1], "egc"), place=place, APPTAINERENV_NUMBA_DEBUG_CACHE="1"
    )
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert "data loaded from '/opt/periogt/" in log
    assert "data saved" not in log


def test_kernels_are_loaded_where_nothing_can_be_written(image: Path, place: Path) -> None:
    done = apptainer(
        *("exec", *ALONE, image, "python", "-m", "periogt_ray.polymer.descriptors"),
        place=place,
        APPTAINERENV_NUMBA_DEBUG_CACHE="1",
    )
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert "data loaded from '/opt/periogt/" in log
    assert "data saved" not in log


@pytest.mark.full  # a minute of compilation; polymer/test_kernels.py has where machine code is kept
def test_kernels_for_another_processor_are_compiled_into_a_directory_that_can_be_written(
    image: Path, place: Path
) -> None:
    done = apptainer(
        *("exec", *ALONE, *bound(place, "tmp"), image, "python", "-m", "periogt_ray.polymer.descriptors"),
        place=place,
        APPTAINERENV_NUMBA_CPU_NAME="nehalem",
        APPTAINERENV_NUMBA_CPU_FEATURES="+sse2",
        APPTAINERENV_TMPDIR=str(place / "tmp"),
    )
    assert done.returncode == 0, done.stderr
    assert list((place / "tmp" / f"periogt-kernels-{USER}").rglob("*.nbc"))


def test_batch_runs_on_a_ray_in_the_image(image: Path, place: Path) -> None:
    table = place / "results" / "in.csv"
    table.write_text("id,smiles\n007,*CC*\nbad,*C\n")
    done = apptainer(
        *("exec", "--cleanenv", *bound(place, "results"), image),
        *("periogt", "batch", "--input", table, "--property", "egc"),
        place=place,
        APPTAINERENV_PERIOGT_DEVICE="cpu",
    )
    assert done.returncode == 1, done.stderr
    header, good, bad = (place / "results" / "in_predictions.csv").read_text().splitlines()
    assert header.startswith("id,smiles,property,prediction_value")
    assert good.startswith("007,*CC*,egc,")
    assert ",false,validation_error," in bad
    left = [path for path in Path("/tmp").glob("pgt-*") if path.stat().st_uid == USER]
    assert left == []


def test_nothing_of_the_callers_python_gets_in(image: Path, place: Path) -> None:
    site = place / "home" / ".local" / "lib" / "python3.11" / "site-packages" / "click"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("raise RuntimeError('of the user')")
    probe = "import click, os; print(click.__file__, os.environ['DGLBACKEND'])"
    # Without --cleanenv, as a user may forget it.
    done = apptainer("exec", image, "python", "-c", probe, place=place, PYTHONPATH=str(site.parent))
    assert done.stdout.split() == ["/opt/periogt/venv/lib/python3.11/site-packages/click/__init__.py", "pytorch"]


def test_holds_the_wheel_and_not_the_checkout(image: Path, place: Path) -> None:
    names = apptainer("exec", image, "ls", "/opt/periogt", place=place).stdout.split()
    assert sorted(names) == ["constraints.txt", "installed.txt", "venv"]
    versions = apptainer("exec", image, "cat", "/opt/periogt/installed.txt", place=place).stdout.splitlines()
    locked = [line.partition(";")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()]
    ours = {"periogt-ray", "pip", "setuptools", "sympy", "torch"}
    others = [line for line in versions if line.split("==")[0].split(" @ ")[0] not in ours]
    assert len(others) > 80
    assert set(others) <= set(locked)
    done = apptainer("exec", image, "sh", "-c", "touch /opt/periogt/x", place=place)
    assert "Read-only" in done.stderr


def test_doctor_sees_from_inside_what_is_not_bound(image: Path, place: Path) -> None:
    variables = {"APPTAINERENV_PERIOGT_BASE_DIR": str(place), "APPTAINERENV_TMPDIR": str(place / "tmp")}
    base = apptainer(
        *("exec", *ALONE, *bound(place, "checkpoints", "tmp"), image, "periogt", "doctor", "--json"),
        place=place,
        **variables,
    )
    checks = {check["name"]: check for check in json.loads(base.stdout)["checks"]}
    assert str(image) in checks["place"]["message"]
    assert checks["results_dir"]["status"] == "WARN"
    assert f"--bind {place / 'results'}" in checks["results_dir"]["remedy"]
    assert checks["checkpoint_dir"]["status"] == "PASS"
    assert checks["ray temp dir"]["status"] == "WARN", "the directory is too long for Ray's sockets"
    assert [check for check in checks.values() if check["status"] != "PASS" and not check["remedy"]] == []


def test_doctor_script_runs_it_with_the_right_flags(image: Path, place: Path) -> None:
    command = as_user([ROOT / "scripts" / "doctor.sh", "--json"], place / "home")
    environment = {
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PERIOGT_CONTAINER": str(image),
        "PERIOGT_BASE_DIR": str(place),
        "PERIOGT_DEVICE": "cpu",
        "SLURM_JOB_ID": "12",
    }
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False)
    assert "PASS  apptainer" in done.stderr
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["place"]["message"].startswith("job 12 on ")
    assert {checks[name]["status"] for name in ("base_dir", "results_dir", "checkpoint_dir")} == {"PASS"}
    assert done.returncode == {"PASS": 0, "WARN": 1, "FAIL": 2}[report["verdict"]] < 2


def test_an_image_is_mounted_as_long_as_its_container_lives(image: Path, place: Path) -> None:
    """By a squashfuse beside it: no child of the container, deaf to signals, and gone with it and the mount."""
    command = as_user(
        ["apptainer", "exec", image, "sh", "-c", "echo $$; read line; ls /opt/periogt; jobs"], place / "home"
    )
    environment = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"}
    container = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with container:
        assert container.stdin is not None
        assert container.stdout is not None
        assert int(container.stdout.readline()) == container.pid
        [squashfuse] = [line.split()[0] for line in processes_of(place) if "'squashfuse" in line]
        assert parent_of(int(squashfuse)) != container.pid
        assert parent_of(parent_of(int(squashfuse)) or 0) != container.pid
        namespace = (Path("/proc") / squashfuse / "ns" / "mnt").readlink()
        os.kill(int(squashfuse), signal.SIGTERM)  # as Slurm does with every process of a job
        output, _ = container.communicate("\n", timeout=60)
    assert "venv" in output
    wait_for(lambda: not processes_of(place), 20, lambda: "squashfuse ends")
    left = [path for path in Path("/proc").glob("[0-9]*/ns/mnt") if read_link(path) == namespace]
    assert left == [], "mounts last as long as a process is in their namespace"


def read_link(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:
        return None


def test_labels_say_what_is_in_it(image: Path, place: Path) -> None:
    labels = json.loads(apptainer("inspect", image, place=place).stdout)
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["periogt.torch"] == "2.13.0"
