"""Which Python scripts/install takes; the interpreters are scripts that note what they are asked to do."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Answers what scripts/install asks; an environment that it makes has a copy of it.
FAKE = """#!/bin/bash
case "$*" in
*ensurepip*) exit {status} ;;
*_base_executable*) echo {path} ;;
*version_info*) echo {name} ;;
"-m venv .venv") mkdir -p .venv/bin && cp {path} .venv/bin/python && cp {path} .venv/bin/{name} ;;
esac
echo "{name} $*" >>{log}
"""


class Checkout:
    """A checkout with nothing but the script, and interpreters beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin, self.log = root / "checkout", root / "bin", root / "log"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("scripts/install", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.root / name)

    def add(self, name: str, *, is_usable: bool = True) -> Path:
        path = self.bin / name
        path.write_text(FAKE.format(status=0 if is_usable else 1, path=path, name=name, log=self.log))
        path.chmod(0o755)
        return path

    def install(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        self.log.write_text("")
        return subprocess.run(
            [self.root / "scripts" / "install"],
            env={"PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def chosen(self) -> list[str]:
        """Interpreters that made an environment."""
        return [line.split()[0] for line in self.log.read_text().splitlines() if line.endswith("-m venv .venv")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    found = Checkout(tmp_path)
    for minor in (11, 12, 13):
        found.add(f"python3.{minor}", is_usable=False)
    return found


@pytest.mark.parametrize(
    ("usable", "chosen"),
    [((11, 12, 13), "python3.13"), ((11, 12), "python3.12"), ((11,), "python3.11")],
)
def test_the_newest_usable_python_is_taken(checkout: Checkout, usable: tuple[int, ...], chosen: str) -> None:
    for minor in usable:
        checkout.add(f"python3.{minor}")
    done = checkout.install()
    assert (done.returncode, checkout.chosen) == (0, [chosen]), done.stderr
    assert checkout.install().returncode == 0
    assert checkout.chosen == [], "the second run finds the work done"


def test_a_python_that_is_named_wins_and_the_environment_is_made_anew(checkout: Checkout) -> None:
    named = checkout.add("python3.12")
    checkout.add("python3.13")
    checkout.install()
    (checkout.root / ".venv" / "old").write_text("")
    done = checkout.install(PYTHON=str(named))
    assert (done.returncode, checkout.chosen) == (0, ["python3.12"]), done.stderr
    assert not (checkout.root / ".venv" / "old").exists()
    for variables in ({}, {"PYTHON": str(named)}):
        assert checkout.install(**variables).returncode == 0
        assert checkout.chosen == [], "no Python is named, or the one that made it"
    assert checkout.install(PYTHON="/nonexistent").returncode == 2


def test_an_environment_keeps_its_python_when_the_lock_changes(checkout: Checkout) -> None:
    checkout.add("python3.11")
    checkout.install()
    checkout.add("python3.13")
    (checkout.root / "requirements.lock").write_text("torch==1\n")
    assert checkout.install().returncode == 0
    assert checkout.chosen == ["python3.11"]


@pytest.mark.parametrize("variables", [{}, {"PYTHON": "/nonexistent/python"}, {"PYTHON": "python3.11"}])
def test_without_a_usable_python_it_says_what_to_install(checkout: Checkout, variables: dict[str, str]) -> None:
    done = checkout.install(**variables)
    assert (done.returncode, checkout.chosen) == (2, [])
    assert "python3-venv" in done.stderr
    assert variables.get("PYTHON", "python3.13, python3.12, python3.11") in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_an_environment_that_cannot_run_here_is_made_anew(checkout: Checkout) -> None:
    python = checkout.add("python3.12")
    checkout.install()
    # Its commands name the interpreter by its whole path, which was another one before the checkout was moved.
    (checkout.root / ".venv" / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python\n")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    done = checkout.install()
    assert (done.returncode, checkout.chosen) == (0, ["python3.12"]), done.stderr
    assert "another directory" in done.stderr
    assert not (checkout.root / ".venv" / "bin" / "pip").exists()

    for name in ("python", "python3.12"):
        (checkout.root / ".venv" / "bin" / name).unlink()
        (checkout.root / ".venv" / "bin" / name).symlink_to("/removed/python")
    done = checkout.install()
    assert (done.returncode, checkout.chosen) == (0, ["python3.12"]), done.stderr
    assert (checkout.root / ".venv" / "bin" / "python").read_text() == python.read_text()
