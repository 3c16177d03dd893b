"""What nothing that predicts needs may be missing or broken, and takes nothing else down."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.golden import ARTIFACTS
from support.without import How

TESTS = Path(__file__).parent
DRAWING = ("rdkit.Chem.Draw.rdMolDraw2D",)
OTHERS = ("dgl", "dgllife", "mordred")
# Each part of the package that a user starts, as its process does it; prints what it found.
CODE = """
import json, os, sys, types
from pathlib import Path
from support.without import hide
for names, how in json.loads(sys.argv[1]):
    hide(*names, how=how)
from periogt_ray.settings import Settings
settings = Settings.from_env(os.environ)
said = {}

from periogt_ray.predict import PerioGT
said["predict"] = PerioGT.of_settings(settings).outcomes("*CC*", ["eps"])["eps"].value

from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.application import application
from periogt_ray.serve.featurizer_replica import FeaturizerReplica
application(settings, n_cpus=2, n_gpus=0)
featurizer = FeaturizerReplica(settings)
unit = RepeatUnit.parse("*CC*")
said["featurize"] = featurizer.featurize(unit, PromptScheme.MONOMER, 1e12).n_triplets
drawn = featurizer.draw(unit, "light")
said["draw"] = drawn[:4] if isinstance(drawn, str) else [drawn.code, drawn.http_status, drawn.message]

import periogt_ray.batch.run
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.featurize_stage import FeaturizePart
from periogt_ray.batch.ledger import Ledger
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.batch.predict_stage import PredictPart
scheme = ArtifactDirectory.open(settings.checkpoint_dir).property("eps").prompt_scheme
from periogt_ray.tables.columns import Columns
from periogt_ray.tables.csv_table import CsvTable
table = CsvTable(Path("in.csv"), Path("in.csv"), ",", Columns(("smiles",), 0), 1)
spec = BatchSpec(table, (("eps", scheme),), settings)
key = unit.smiles
polymers = {key: FeaturizePart(spec, None)._features(unit)}
guard = types.SimpleNamespace(is_careful=False)
stage = PredictPart(spec, None)
said["batch"] = len(stage._answers(stage._loaded.take(), polymers, guard)[key])

from periogt_ray.doctor.run import run_checks
said["doctor"] = {check.name: check.status.name for check in run_checks(os.environ)}
print(json.dumps(said))
"""


def run_without(*hidden: tuple[tuple[str, ...], How], home: Path) -> tuple[dict, str]:
    variables = {"PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_DEVICE": "cpu", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(hidden)],
        capture_output=True,
        text=True,
        env={**os.environ, "DGLBACKEND": "pytorch", "HOME": str(home), **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("drawing", "others"), [("broken", "missing"), ("os_error", "os_error")])
def test_everything_else_works_without_the_extras(drawing: How, others: How, tmp_path: Path) -> None:
    said, log = run_without((DRAWING, drawing), (OTHERS, others), home=tmp_path)
    assert isinstance(said["predict"], float)
    assert said["featurize"] > 0
    assert said["batch"] == 1
    checks = said["doctor"]
    assert "FAIL" not in checks.values(), checks
    assert checks["drawings"] == "WARN"
    code, status, message = said["draw"]
    assert (code, status) == ("internal_error", 501)
    assert "Drawings are off" in message
    assert "/" not in message, "no path of the machine goes to a client"
    assert log.count("Drawings are off") == 1
    assert "libxrender1" in log
