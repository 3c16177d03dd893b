"""What doctor says of versions, the lock file and variables."""

from importlib.metadata import PackageNotFoundError

import pytest

from periogt_ray.doctor import installation
from periogt_ray.doctor.installation import (
    check_drawings,
    check_embedded,
    check_environment,
    check_kernels,
    check_lock,
    check_lock_file,
    check_versions,
    parse_lock,
)
from periogt_ray.doctor.report import Status
from periogt_ray.polymer.drawing import DrawingProblem
from periogt_ray.polymer.kernels import KernelFacts


def test_versions_that_are_locked_pass_whatever_torch_is() -> None:
    check = check_lock({"numpy": "2.4.6", "torch": "2.6.0+cu126"}, {"numpy": "2.4.6", "torch": "2.13.0"})
    assert (check.status, check.remedy) == (Status.PASS, "")
    assert "torch is 2.6.0+cu126 (locked: 2.13.0)" in check.message


def test_another_version_is_told_with_the_locked_one() -> None:
    check = check_lock({"numpy": "1.26.0"}, {"numpy": "2.4.6"})
    assert check.status is Status.WARN
    assert "numpy 1.26.0 (locked: 2.4.6)" in check.message
    assert "scripts/install" in check.remedy


def test_of_many_other_versions_a_few_are_shown() -> None:
    names = [f"package-{number}" for number in range(8)]
    check = check_lock(dict.fromkeys(names, "1"), dict.fromkeys(names, "2"))
    assert check.message.count("(locked: 2)") == 5
    assert check.message.endswith("and 3 more")


def test_lock_file_names_are_compared_as_indexes_do() -> None:
    locked = parse_lock('# comment\nJinja2==3.1.6\ntyping_extensions==4.16.0\ndgl==1.1.3; python_version < "3.12"\n')
    assert locked == {"jinja2": "3.1.6", "typing-extensions": "4.16.0", "dgl": "1.1.3"}


def test_the_lock_file_of_this_checkout_is_found() -> None:
    [check] = check_lock_file()
    assert check.name == "lock file"


def test_a_missing_package_fails_unless_nothing_that_predicts_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package in ("torch", "dgl"):
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(installation.importlib.metadata, "version", version)
    found = {check.name: check.status for check in check_versions()}
    assert (found["torch"], found["dgl"], found["ray"]) == (Status.FAIL, Status.WARN, Status.PASS)


@pytest.mark.parametrize(
    ("version", "python", "dgl"),
    [
        ((3, 11), Status.PASS, Status.WARN),
        ((3, 12), Status.PASS, Status.PASS),
        ((3, 13), Status.PASS, Status.PASS),
        ((3, 14), Status.WARN, Status.PASS),
    ],
)
def test_dgl_is_expected_where_it_installs(
    version: tuple[int, int], python: Status, dgl: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(package: str) -> str:
        if package in ("dgl", "dgllife"):
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(installation.importlib.metadata, "version", installed)
    monkeypatch.setattr(installation.sys, "version_info", (*version, 0))
    found = {check.name: check for check in check_versions()}
    assert (found["python"].status, found["dgl"].status, found["dgllife"].status) == (python, dgl, dgl)
    assert "not installed" in found["dgl"].message


def test_drawings_that_are_off_are_a_warning() -> None:
    check = check_drawings(DrawingProblem("libXrender.so.1: cannot open shared object file"))
    assert (check.status, "libXrender.so.1" in check.message) == (Status.WARN, True)
    assert "libxrender1 libxext6" in check.remedy
    assert check_drawings(None).status is Status.PASS


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        (KernelFacts(40, 0, None), Status.PASS, "40 kernels are compiled for this processor"),
        (
            KernelFacts(38, 2, "/x/__pycache__"),
            Status.PASS,
            "2 of 40 kernels were compiled for this processor just now",
        ),
        (KernelFacts(0, 40, None), Status.WARN, "each process compiles them again"),
    ],
)
def test_kernels_that_cannot_be_kept_are_a_warning(facts: KernelFacts, status: Status, words: str) -> None:
    check = check_kernels(facts)
    assert (check.status, words in check.message) == (status, True)
    assert bool(check.remedy) is (status is Status.WARN)


def test_variables_of_the_older_layout_are_a_note() -> None:
    env = {"PERIOGT_SRC_DIR": "/src", "PERIOGT_RUNTIME_PACKAGE_DIR": "/runtime"}
    [_, _, check] = check_environment(env)
    assert (check.status, check.remedy) == (Status.PASS, "")
    assert "PERIOGT_RUNTIME_PACKAGE_DIR and PERIOGT_SRC_DIR" in check.message


def test_variables_that_nobody_reads_are_told() -> None:
    [backend, _, unknown] = check_environment({"PERIOGT_DEVISE": "cpu"})
    assert (backend.status, backend.remedy) == (Status.WARN, "export DGLBACKEND=pytorch")
    assert (unknown.status, "PERIOGT_DEVISE" in unknown.message) == (Status.WARN, True)
    [backend, _] = check_environment({"DGLBACKEND": "pytorch", "PERIOGT_DEVICE": "cpu"})
    assert backend.status is Status.PASS


def test_the_file_of_the_site_is_named() -> None:
    [_, site] = check_environment({"PERIOGT_SITE_ENV": "/lab/periogt_ray/slurm/site.env"})
    assert (site.name, site.status, site.remedy) == ("site", Status.PASS, "")
    assert "/lab/periogt_ray/slurm/site.env" in site.message
    [_, site] = check_environment({"PERIOGT_SITE_ENV": ""})
    assert "no site.env was read" in site.message


def test_the_embedded_model_computes_what_is_stored_beside_it() -> None:
    [check] = check_embedded()
    assert check.status is Status.PASS, check.message


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_another_value_than_the_stored_one_fails(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    values = dict(installation._stored_predictions()["*CC*"])
    values["egc"] *= factor
    monkeypatch.setattr(installation, "_stored_predictions", lambda: {"*CC*": values})
    [check] = check_embedded()
    assert check.status is Status.FAIL
    assert "scripts/install" in check.remedy
