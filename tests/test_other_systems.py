"""Only Slurm and the start of a Ray need Linux; simulated, because there is no other system here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.golden import ARTIFACTS

# Libraries are those of this system, so they are loaded before it is made to look like another one.
CODE = """
import importlib, json, os, pkgutil, signal, sys
import fastapi, numba, numpy, pandas, pyarrow, pydantic, ray, ray.data, ray.serve, scipy, torch, uvicorn
import rdkit.Chem.Draw
from ray.serve import schema

for name in ("sched_getaffinity", "sched_setaffinity", "waitid", "pidfd_open", "posix_fadvise", "memfd_create"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo"):
    delattr(signal, name)

def hide(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "not on this system", arguments[0])

sys.addaudithook(hide)
linux, sys.platform = sys.platform, "darwin"
import periogt_ray
names = [module.name for module in pkgutil.walk_packages(periogt_ray.__path__, "periogt_ray.")]
skipped = ("periogt_ray.slurm", "periogt_ray.embedded", "periogt_ray.web")
for name in names:
    if not name.startswith(skipped) and not name.endswith("__main__"):
        importlib.import_module(name)
sys.platform = linux

from periogt_ray.doctor.run import run_checks
from periogt_ray.predict import PerioGT
from periogt_ray.runtime.cpus import usable_cpus
from periogt_ray.settings import Settings
outcome = PerioGT.of_settings(Settings.from_env(os.environ)).outcomes("*CC*", ["eps"])["eps"]
died = [check.message for check in run_checks(os.environ) if "the check itself failed" in check.message]
print(json.dumps([len(names), outcome.value, usable_cpus({}).n, died]))
"""


@pytest.mark.slow
def test_a_system_without_linux_functions_imports_and_predicts(tmp_path: Path) -> None:
    variables = {"PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_DEVICE": "cpu", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "DGLBACKEND": "pytorch", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    n_modules, value, n_cpus, died = json.loads(done.stdout.splitlines()[-1])
    assert n_modules > 100
    assert isinstance(value, float)
    assert n_cpus == os.cpu_count()
    assert died == []
