"""The built wheel in an empty environment, as a user has it who is not the one who installed it.

The user cannot write to the installation, has no home directory, no entry in the list of users, and works in a
directory of another place. As on a bare compute node, libraries of the X window system do not load. The locked
packages are those of this environment, which the empty one is pointed to.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.served_process import free_port

ROOT = Path(__file__).parents[1]
USER = 54321  # in no list of users
X_LIBRARIES = ("libXrender.so.1", "libXext.so.6")
PATIENCE_S = 600.0  # a loaded machine is many times slower
# Reading is what others may do with an installation; where this one lies in a private directory, it is granted so.
_DROP = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"),
)
_HIDE = 'for file in {files}; do mount --bind /dev/null "$file"; done; exec "$@"'


class Installed:
    """The wheel, installed."""

    def __init__(self, directory: Path) -> None:
        wheels, self.venv, self.work = directory / "wheels", directory / "venv", directory / "work"
        subprocess.run([ROOT / "scripts" / "wheel", wheels], check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        [self.wheel] = wheels.glob("*.whl")
        install = ("--python", self.venv / "bin" / "python", "install", "--quiet", "--no-deps", self.wheel)
        subprocess.run([sys.executable, "-m", "pip", *install], check=True)
        # Files that name further paths, as that of an editable installation does, have no effect there.
        [site] = self.venv.glob("lib/python3.*/site-packages")
        (site / "locked.pth").write_text(sysconfig.get_path("purelib"))
        self.work.mkdir()
        os.chown(self.work, USER, USER)

    def command(self, words: Sequence[str | Path]) -> list[str]:
        listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
        found = [path for name in X_LIBRARIES for path in re.findall(rf"{re.escape(name)} .* => (\S+)", listed)]
        hide = _HIDE.format(files=" ".join(found))
        return ["unshare", "--mount", "sh", "-c", hide, "sh", *_DROP, str(self.venv / "bin" / words[0]), *words[1:]]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(self.work),
            "PERIOGT_DEVICE": "cpu",
            "PERIOGT_HOST": "127.0.0.1",
            "PERIOGT_PREDICTORS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self.command(words),
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    @contextmanager
    def serving(self, log: Path) -> Iterator[httpx.Client]:
        port = free_port()
        environment = {**self.environment, "PERIOGT_PORT": str(port)}
        with log.open("w") as file:
            process = subprocess.Popen(
                self.command(["periogt", "serve"]), cwd=self.work, env=environment, stdout=file, stderr=file
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                deadline = time.monotonic() + PATIENCE_S
                while "curl http" not in log.read_text():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.2)
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0, log.read_text()


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    for tool in ("unshare", "setpriv", "ldconfig"):
        assert shutil.which(tool), f"{tool} is needed"
    # Those of pytest are for root only.
    with tempfile.TemporaryDirectory(prefix="periogt-wheel-") as directory:
        Path(directory).chmod(0o755)
        yield Installed(Path(directory))


pytestmark = [pytest.mark.slow, pytest.mark.root]


def test_the_package_comes_from_the_wheel_and_loads_no_x_library(installed: Installed) -> None:
    code = (
        "import periogt_ray, os; print(periogt_ray.__file__, os.getuid(), os.environ.get('HOME'))\n"
        "try: import rdkit.Chem.Draw\n"
        "except ImportError as error: print(error)\n"
    )
    place, error = installed.run("python", "-c", code).stdout.splitlines()
    assert place == f"{next(installed.venv.glob('lib/python3.*/site-packages'))}/periogt_ray/__init__.py {USER} None"
    assert "libX" in error


def test_it_predicts_under_either_name(installed: Installed) -> None:
    done = installed.run("periogt", "predict", "--smiles", "*CC*", "--property", "egc")
    value = json.loads(done.stdout)["prediction"]["value"]
    assert value == pytest.approx(6.842, abs=0.01)
    assert "Drawings are off" not in done.stderr, "nothing is drawn"
    assert "Compiling the numerical kernels" not in done.stderr, "the wheel brings them"
    again = installed.run("python", "-m", "periogt_hpc", "predict", "--smiles", "*CC*", "--property", "egc")
    assert json.loads(again.stdout)["prediction"]["value"] == value
    assert {path.name for path in installed.work.iterdir()} == {f"periogt-kernels-{USER}"}


@pytest.mark.ray
def test_it_predicts_a_csv_and_reports_without_structures(installed: Installed) -> None:
    source = installed.work / "in.csv"
    source.write_text("id,smiles\na,*CC*\nb,*CC(*)c1ccccc1\n")
    done = installed.run("periogt", "batch", "--input", "in.csv", "--property", "egc", "--report", "report.html")
    with (installed.work / "in_predictions.csv").open(newline="") as file:
        assert [(row["id"], row["ok"]) for row in csv.DictReader(file)] == [("a", "true"), ("b", "true")]
    assert done.stderr.count("Drawings are off") == 1
    report = (installed.work / "report.html").read_text()
    assert "No structures are shown" in report
    assert report.count("not drawn") == 4


@pytest.mark.ray
def test_it_serves_with_a_page_and_without_drawings(installed: Installed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with installed.serving(log) as client:
        assert client.get("/v1/health").json()["model_loaded"] is True
        answer = client.post("/v1/predict", json={"smiles": "*CC*", "property": "egc"})
        assert answer.json()["prediction"]["value"] == pytest.approx(6.842, abs=0.01)
        page = client.get("/")
        assert (page.status_code, "<html" in page.text) == (200, True)
        drawing = client.get("/v1/depict", params={"smiles": "*CC*"})
        assert (drawing.status_code, drawing.json()["error"]["code"]) == (501, "internal_error")
        assert client.get("/v1/depict", params={"smiles": "*CC"}).status_code == 422
    assert log.read_text().count("Drawings are off") == 1
