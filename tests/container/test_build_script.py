"""apptainer/build.sh and the definition, without building anything."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.sif_image import ROOT

SCRIPT = ROOT / "apptainer" / "build.sh"
DEFINITION = (ROOT / "apptainer" / "periogt.def").read_text(encoding="utf-8")
FAKE = """#!/bin/sh
# Stands in for apptainer: knows `build` alone, writes down how it was called, and makes the image.
[ "$1" = build ] || exit 64
if [ "$2" = --help ]; then echo "  --fakeroot  build as an ordinary user"; exit 0; fi
printf '%s\\n' "$PWD" "$APPTAINER_TMPDIR" "$APPTAINER_CACHEDIR" "$@" >"$RECORD"
while [ $# -gt 2 ]; do shift; done
[ -z "$FAILS" ] || exit 1
echo image >"$1"
"""


def build(
    tmp_path: Path, *arguments: str, before: tuple[str, ...] = (), has_apptainer: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    if has_apptainer:
        (folder / "apptainer").write_text(FAKE)
        (folder / "apptainer").chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "RECORD": str(tmp_path / "record"),
        **variables,
    }
    command = [*before, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)


def called(tmp_path: Path) -> list[str]:
    return (tmp_path / "record").read_text().splitlines()


def test_builds_from_the_repository_and_prints_path_and_hash(tmp_path: Path) -> None:
    done = build(tmp_path, "--torch-version", "2.7.1", "--torch-index", "https://host/whl/cu126", "--", "--nv")
    assert done.returncode == 0, done.stderr
    image = tmp_path / "periogt.sif"
    digest = subprocess.run(["sha256sum", image], capture_output=True, text=True, check=True).stdout.split()[0]
    assert done.stdout == f"{image}\nsha256 {digest}\n"
    assert Path(f"{image}.sha256").read_text() == f"{digest}  periogt.sif\n"
    directory, tmp, cache, *words = called(tmp_path)
    assert directory == str(ROOT)
    assert {tmp, cache} == {f"{tmp_path}/.apptainer/tmp", f"{tmp_path}/.apptainer/cache"}
    assert words[-1] == "apptainer/periogt.def"
    assert {"--nv", "TORCH_VERSION=2.7.1", "TORCH_INDEX=https://host/whl/cu126"} <= set(words)
    assert not list(tmp_path.glob(".periogt-*")), "nothing half made stays"


def test_ordinary_users_build_with_fakeroot(tmp_path: Path) -> None:
    assert build(tmp_path).returncode == 0
    assert ("--fakeroot" in called(tmp_path)) == (os.geteuid() != 0)
    # In a user namespace without a mapping everybody is an ordinary user.
    assert build(tmp_path, "--force", before=("unshare", "--user")).returncode == 0
    assert "--fakeroot" in called(tmp_path)
    assert build(tmp_path, "--force", "--no-fakeroot", before=("unshare", "--user")).returncode == 0
    assert "--fakeroot" not in called(tmp_path)


def test_cache_is_never_in_the_home_directory(tmp_path: Path) -> None:
    base = tmp_path / "projects"
    base.mkdir()
    assert build(tmp_path, HOME=str(tmp_path), PERIOGT_BASE_DIR=str(base.parent / "projects")).returncode == 0
    assert called(tmp_path)[1].startswith("/var/tmp/apptainer-"), "the output is below HOME"
    assert build(tmp_path, "--force", HOME="/root", PERIOGT_BASE_DIR=str(base)).returncode == 0
    assert called(tmp_path)[1] == f"{base}/.apptainer/tmp"
    assert build(tmp_path, "--force", APPTAINER_TMPDIR="/proc/x").returncode == 2
    given = {"APPTAINER_TMPDIR": "/tmp", "APPTAINER_CACHEDIR": str(tmp_path / "cache")}
    assert build(tmp_path, "--force", **given).returncode == 0
    assert called(tmp_path)[1:3] == list(given.values())


REFUSED: list[tuple[list[str], str]] = [
    (["--output"], "needs a value"),
    (["--torch-version", ""], "needs a value"),
    (["--bogus"], "unknown option --bogus"),
    (["--output", "/proc/periogt.sif"], "another --output"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_refuses_with_what_to_do(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = build(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "record").exists()


def test_refuses_without_apptainer_and_over_an_image(tmp_path: Path) -> None:
    done = build(tmp_path, has_apptainer=False)
    assert done.returncode == 2
    assert "apptainer is not on PATH" in done.stderr
    (tmp_path / "periogt.sif").write_text("mine")
    done = build(tmp_path)
    assert done.returncode == 2
    assert "--force replaces it" in done.stderr
    assert (tmp_path / "periogt.sif").read_text() == "mine"


def test_a_build_that_fails_leaves_the_old_image(tmp_path: Path) -> None:
    (tmp_path / "periogt.sif").write_text("old")
    done = build(tmp_path, "--force", FAILS="1")
    assert done.returncode == 2
    assert "the build failed" in done.stderr
    assert (tmp_path / "periogt.sif").read_text() == "old"
    assert not list(tmp_path.glob(".periogt-*"))


def test_definition_starts_from_the_specified_base_and_torch() -> None:
    assert DEFINITION.startswith("Bootstrap: docker\nFrom: nvidia/cuda:12.6.0-runtime-ubuntu22.04\n")
    assert "TORCH_VERSION=2.6.0\n" in DEFINITION
    assert "TORCH_INDEX=https://download.pytorch.org/whl/cu126\n" in DEFINITION
    assert DEFINITION.count("export DGLBACKEND=pytorch") == 2


@pytest.mark.parametrize(
    ("candidate", "is_taken"),
    [
        ("3.11.2-6+deb12u9", True),
        ("3.11.14-1+jammy1", True),
        ("3.11.0~rc1-1~22.04.1", False),
        ("3.11.0~b3-1", False),
        ("(none)", False),
        ("", False),
    ],
)
def test_python_of_the_distribution_is_taken_only_if_it_is_a_release(candidate: str, is_taken: bool) -> None:
    found = re.search(r'case "\$candidate" in\n(.*?)\)\n', DEFINITION, re.DOTALL)
    assert found is not None
    script = f'case "$1" in\n{found[1]}) echo other ;;\n*) echo taken ;;\nesac'
    done = subprocess.run(["sh", "-c", script, "sh", candidate], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("taken" if is_taken else "other")


def test_every_file_of_the_definition_is_there() -> None:
    section = DEFINITION.split("%files\n")[1].split("\n\n")[0]
    for line in section.splitlines():
        if line.strip().startswith("#"):
            continue
        assert (ROOT / line.split()[0]).exists(), line
    arguments = DEFINITION.split("%arguments\n")[1].split("\n\n")[0]
    defined = {line.split("=")[0].strip() for line in arguments.splitlines()}
    assert set(re.findall(r"{{ (\w+) }}", DEFINITION)) == defined
