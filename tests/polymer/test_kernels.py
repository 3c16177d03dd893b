"""Where the kernels' machine code is kept, and that a place that cannot be written does no harm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from periogt_ray.polymer.kernels import kernel

@kernel("float64(float64)")
def twice(value):
    return 2.0 * value
"""

PROBE = "import some_kernels as s; assert s.twice(1.5) == 3.0; print(sum(s.twice.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "some_kernels.py").write_text(MODULE)
    return folder


def n_loaded(package: Path, **environment: str) -> int:
    """Import the kernels in a fresh process; return how many came from disk."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG"))}
    paths = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE],
        env={**kept, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_code_is_for_every_processor_with_avx2_unless_the_user_chooses(package: Path) -> None:
    def target(**environment: str) -> str:
        code = (
            "import some_kernels, numba.core.registry as r; "
            "print(r.cpu_target.target_context.codegen().magic_tuple()[1:])"
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
        paths = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
        command = [sys.executable, "-B", "-c", code]
        environment = {**kept, "PYTHONPATH": paths, **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    has_avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
    assert (target() == "('x86-64-v3', '')") == has_avx2
    assert target(NUMBA_CPU_NAME="generic") == "('generic', '')"


def test_second_process_loads_what_the_first_compiled(package: Path) -> None:
    assert n_loaded(package) == 0
    assert list((package / "__pycache__").glob("*.nbi"))
    assert n_loaded(package) == 1


def test_a_part_of_a_kernel_is_compiled_with_it_and_loaded_in_it(package: Path) -> None:
    """For the types that it declares, whatever the kernel gives it."""
    (package / "some_kernels.py").write_text(
        """
from periogt_ray.polymer.kernels import kernel, kernel_part

@kernel_part("float64(float64)")
def half(value):
    return value / 2

@kernel("float64(float64)")
def twice(value):
    return 4 * half(value) + half(3) - half(3)
"""
    )
    probe = (
        "import some_kernels as s; from periogt_ray.polymer.kernels import kernel_facts; assert s.twice(1.5) == 3.0; "
        "facts = kernel_facts([s]); print(facts.n_loaded, facts.n_compiled, [str(one) for one in s.half.overloads])"
    )
    paths = os.pathsep.join([str(package), str(Path(__file__).parents[2])])

    def told() -> str:
        command = [sys.executable, "-B", "-c", probe]
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert told() == "0 1 ['(float64,)']"
    assert told() == "1 0 []"
    assert not list((package / "__pycache__").glob("*half*"))


def test_a_process_that_compiles_says_so_once(package: Path) -> None:
    module = package / "some_kernels.py"
    module.write_text(f"{MODULE}\n{MODULE.replace('twice', 'twice_more')}")

    def told() -> str:
        path = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
        command = [sys.executable, "-B", "-c", "import some_kernels"]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True).stderr

    assert told().count("Compiling the numerical kernels") == 1
    assert told() == ""


def test_shipped_code_is_used_when_another_place_is_to_be_written(package: Path, tmp_path: Path) -> None:
    n_loaded(package)
    elsewhere = tmp_path / "cache"
    assert n_loaded(package, NUMBA_CACHE_DIR=str(elsewhere)) == 1
    assert not list(elsewhere.rglob("*.nbc"))


def test_code_of_a_wheel_is_used_wherever_it_lies_and_not_for_other_sources(package: Path, tmp_path: Path) -> None:
    code = "import some_kernels; from periogt_ray.polymer import kernels; print(kernels.ship_kernels([some_kernels]))"
    paths = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    installed = tmp_path / "elsewhere"
    shutil.copytree(package, installed, ignore=shutil.ignore_patterns("__pycache__"))
    assert n_loaded(installed) == 1
    assert not list(installed.rglob("__pycache__/*.nbi")), "nothing was compiled"
    module = installed / "some_kernels.py"
    module.write_text(f"{module.read_text()}# changed\n")
    assert n_loaded(installed) == 0


def test_temporary_directory_serves_where_nothing_else_can_be_written(package: Path, tmp_path: Path) -> None:
    # A file in the directory's place makes it unwritable even for root.
    (package / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    environment = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    assert n_loaded(package, **environment) == 0
    directory = tmp_path / f"periogt-kernels-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert n_loaded(package, **environment) == 1


def test_temporary_directory_that_others_can_write_is_not_trusted(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    directory = tmp_path / f"periogt-kernels-{os.getuid()}"
    directory.mkdir()
    directory.chmod(0o777)
    for _ in range(2):
        assert n_loaded(package, HOME=str(tmp_path / "home"), TMPDIR=str(tmp_path)) == 0
    assert not list(directory.iterdir())


def test_shipped_code_is_used_where_no_place_can_be_written(package: Path) -> None:
    """As in a read-only image without a home and a temporary directory."""
    n_loaded(package)
    nowhere = "import tempfile\ntempfile.gettempdir = lambda: (_ for _ in ()).throw(FileNotFoundError('none'))\n"
    (package / "sitecustomize.py").write_text(
        nowhere
        + "from numba.core import caching\n"
        + "def refuse(*_): raise OSError('read-only')\n"
        + "caching.InTreeCacheLocator.ensure_cache_path = refuse\n"
        + "caching.UserWideCacheLocator.ensure_cache_path = refuse\n"
    )
    assert n_loaded(package) == 1
    for path in (package / "__pycache__").glob("some_kernels*"):
        path.unlink()
    assert n_loaded(package) == 0, "compiled for this process alone"


def test_a_user_without_a_home_gets_no_directory_of_that_name(package: Path, tmp_path: Path) -> None:
    """Without HOME and without an entry in the list of users, ``~`` stands for nothing."""
    (package / "__pycache__").write_text("")
    code = (
        "import os, pwd\n"
        "def getpwuid(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = getpwuid\n"
        "import some_kernels as s\n"
        "from periogt_ray.polymer.kernels import kernel_facts\n"
        "print(kernel_facts([s]))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG", "HOME"))}
    paths = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
    environment = {**kept, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)}
    command, work = [sys.executable, "-B", "-c", code], tmp_path / "work"
    work.mkdir()
    for facts in ("n_loaded=0, n_compiled=1, directory='", "n_loaded=1, n_compiled=0, directory=None"):
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=True)
        assert facts in done.stdout
        assert not list(work.iterdir())
