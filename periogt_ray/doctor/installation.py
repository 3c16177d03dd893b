"""What is installed: versions, the lock file, variables, and whether it computes correctly."""

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from periogt_ray.doctor.report import Check, Status
from periogt_ray.errors import PerioGTError
from periogt_ray.settings import EMBEDDED_DIR, Settings, older_variables, unknown_variables

if TYPE_CHECKING:
    from periogt_ray.polymer.drawing import DrawingProblem
    from periogt_ray.polymer.kernels import KernelFacts

__all__ = [
    "check_drawings",
    "check_embedded",
    "check_environment",
    "check_kernels",
    "check_lock",
    "check_lock_file",
    "check_versions",
    "parse_lock",
]

_PACKAGES = ("torch", "numpy", "rdkit", "mordredcommunity", "dgl", "dgllife", "numba", "safetensors", "pydantic", "ray")
# The network runs on torch, so predictions work without a graph library.
_OPTIONAL_PACKAGES = frozenset({"dgl", "dgllife", "mordredcommunity"})
_PYTHONS = ((3, 11), (3, 12), (3, 13))
# Those without a release for later Pythons.
_LAST_PYTHON = {"dgl": (3, 11), "dgllife": (3, 11)}
_TOLERANCE = 1e-4  # relative, between builds of torch and processors
_N_SHOWN = 5
# torch is chosen at installation, and sympy comes with it.
_FREE_PACKAGES = frozenset({"sympy", "torch"})
# Beside the package in a checkout, and where a wheel puts it.
_LOCK_FILES = (
    Path(__file__).parents[2] / "requirements.lock",
    Path(sys.prefix) / "share" / "periogt" / "requirements.lock",
)


def check_versions() -> Iterator[Check]:
    """Say which versions of Python and of the main packages are installed."""
    found = platform.python_version()
    python = sys.version_info[:2]
    is_right = python in _PYTHONS
    yield Check(
        "python",
        Status.PASS if is_right else Status.WARN,
        f"{found} ({platform.platform()})",
        "" if is_right else "The package needs Python 3.11, 3.12 or 3.13; use scripts/install or the container.",
    )
    for package in _PACKAGES:
        try:
            yield Check(package, Status.PASS, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            if python > _LAST_PYTHON.get(package, python):
                none = "not installed: it has no release for this Python, and predictions do not need it"
                yield Check(package, Status.PASS, none)
                continue
            status = Status.WARN if package in _OPTIONAL_PACKAGES else Status.FAIL
            yield Check(package, status, "not installed", "Run scripts/install, which installs the locked versions.")


def check_environment(env: Mapping[str, str]) -> Iterator[Check]:
    """Check DGL's variable, name the site's file, and look for misspelt PERIOGT_* variables."""
    backend = env.get("DGLBACKEND", "")
    is_set = backend == "pytorch"
    yield Check(
        "DGLBACKEND",
        Status.PASS if is_set else Status.WARN,
        backend or "not set",
        "" if is_set else "export DGLBACKEND=pytorch",
    )
    site = env.get("PERIOGT_SITE_ENV")
    read = f"{site}, read by slurm/env.sh" if site else "no site.env was read; see slurm/site.env.example"
    yield Check("site", Status.PASS, read)
    for warning in unknown_variables(env):
        yield Check("environment", Status.WARN, warning, "Correct or unset the variable.")
    if (note := older_variables(env)) is not None:
        yield Check("environment", Status.PASS, note)


def check_drawings(problem: "DrawingProblem | None") -> Check:
    """Say whether structures can be drawn."""
    if problem is None:
        return Check("drawings", Status.PASS, "RDKit can draw")
    message = f"structures cannot be drawn, but predictions work: {problem.reason}"
    return Check("drawings", Status.WARN, message, problem.remedy)


def check_kernels(facts: "KernelFacts") -> Check:
    """Say whether the compiled kernels of this processor are on disk: compiling takes half a minute."""
    n = facts.n_loaded + facts.n_compiled
    if not facts.n_compiled:
        return Check("kernels", Status.PASS, f"{n} kernels are compiled for this processor")
    if facts.directory is not None:
        kept = f"{facts.n_compiled} of {n} kernels were compiled for this processor just now and saved in"
        return Check("kernels", Status.PASS, f"{kept} {facts.directory}")
    remedy = "Set NUMBA_CACHE_DIR to a directory that you can write to and the nodes see."
    message = (
        f"{facts.n_compiled} of {n} kernels were compiled just now and not saved: each process compiles them again"
    )
    return Check("kernels", Status.WARN, message, remedy)


def check_lock_file() -> Iterator[Check]:
    """Compare what is installed with the lock file, where there is one."""
    for path in _LOCK_FILES:
        if path.is_file():
            found = {
                _normalised(package.metadata["Name"]): package.version for package in importlib.metadata.distributions()
            }
            yield check_lock(found, parse_lock(path.read_text(encoding="utf-8")))
            return


def parse_lock(text: str) -> dict[str, str]:
    """Return version by normalised name from lines of ``name==version``, with or without a marker."""
    # What follows a semicolon says for which Pythons the line is.
    lines = (line.partition(";")[0] for line in text.splitlines() if not line.startswith("#"))
    pairs = (line.split("==", 1) for line in lines if "==" in line)
    return {_normalised(name): version.strip() for name, version in pairs}


def _normalised(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def check_lock(installed: Mapping[str, str], locked: Mapping[str, str]) -> Check:
    """Compare what is installed with the lock file; both are versions by normalised name.

    torch is left out: its build is chosen at installation. What is not installed is another check's.
    """
    shared: Sequence[str] = sorted((installed.keys() & locked.keys()) - _FREE_PACKAGES)
    # What follows the plus sign names a build of the same version.
    other = [name for name in shared if installed[name].partition("+")[0] != locked[name]]
    if not other:
        torch = f"; torch is {installed['torch']} (locked: {locked.get('torch')})" if "torch" in installed else ""
        return Check("lock file", Status.PASS, f"{len(shared)} packages have their locked versions{torch}")
    shown = ", ".join(f"{name} {installed[name]} (locked: {locked[name]})" for name in other[:_N_SHOWN])
    more = f" and {len(other) - _N_SHOWN} more" if len(other) > _N_SHOWN else ""
    remedy = "Run scripts/install or deploy/conda/install.sh again, or rebuild the image, if the self-test fails."
    return Check("lock file", Status.WARN, f"{shown}{more}", remedy)


def check_embedded() -> Iterator[Check]:
    """Compare predictions of the embedded model with those stored beside it: tells whether the stack computes right."""
    # Here, because doctor also runs where what these need is missing.
    import numpy as np

    from periogt_ray.predict import PerioGT

    try:
        model = PerioGT.of_settings(Settings(EMBEDDED_DIR, EMBEDDED_DIR, EMBEDDED_DIR, device="cpu"))
        stored = _stored_predictions()
        names = list(next(iter(stored.values())))  # of every polymer the same
        # Together, which takes half the time.
        found = model.predict(list(stored), names, wide=True, on_error="raise")
        expected = np.array([[values[name] for name in names] for values in stored.values()])
        worst = float(np.abs(found[names].to_numpy(dtype=float) / expected - 1).max())
    except PerioGTError as error:
        message = f"the embedded model does not run: {error.message}"
        yield Check("self-test", Status.FAIL, message, "Run scripts/install again, or rebuild the image.")
        return
    is_right = worst <= _TOLERANCE
    yield Check(
        "self-test",
        Status.PASS if is_right else Status.FAIL,
        f"the embedded model's predictions differ from the stored ones by at most {worst:.1e}",
        "" if is_right else "The installed versions compute other values; run scripts/install for the locked ones.",
    )


def _stored_predictions() -> dict[str, dict[str, float]]:
    """Return value by property by SMILES, from the embedded model's card."""
    from periogt_ray.artifacts.directory import ArtifactDirectory

    card = ArtifactDirectory.open(EMBEDDED_DIR).model_card or {}
    entries = card["well_known"].values()
    return {entry["smiles"]: {key: entry[key] for key in entry if key != "smiles"} for entry in entries}
