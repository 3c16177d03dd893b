"""`periogt calibrate` tells the scheme of each network from all others, also where only the paths differ.

The encoder is the golden one with paths that matter ten times as much; by the golden one itself, shifted and unshifted
paths give predictions that are nearly equal.
"""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.training.calibrate import calibrate_weights
from periogt_ray.training.measured import MeasuredRow
from periogt_ray.training.own_rows import OwnRows
from support.golden import ARTIFACTS

NAMES = ("release", "release-unshifted", "monomer")
SMILES = [f"*{chain}{group}*" for chain in ("C", "CC", "CCO", "CC(F)") for group in ("CO", "c1ccc(cc1)", "C(=O)O", "N")]
CPU = torch.device("cpu")


@cache
def features(smiles: str, name: str) -> FeaturizedPolymer:
    return featurize(RepeatUnit.parse(smiles), SCHEMES[name])


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactDirectory:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    state = ArtifactDirectory.open(root).encoder_state_dict()
    (root / "pretrained_ckpt" / "base.pth").unlink()
    sensitive = {key: (10 * value if "path_attn_layer" in key else value).contiguous() for key, value in state.items()}
    save_file(sensitive, root / "pretrained_ckpt" / "base.safetensors")
    return ArtifactDirectory.open(root)


@pytest.mark.parametrize("name", NAMES)
def test_each_scheme_is_told_from_all_others(name: str, artifacts: ArtifactDirectory) -> None:
    info = replace(artifacts.property("eps"), prompt_scheme=SCHEMES[name])
    predictor = Predictor(replace(artifacts, properties={**artifacts.properties, "eps": info}), CPU)
    outcomes = predictor.predict_many([Task(features(smiles, name), "eps") for smiles in SMILES])
    values = np.array([float(outcome.value or 0) for outcome in outcomes])
    values += np.random.default_rng(0).normal(0, 1e-3 * values.std(), len(values))
    rows = [MeasuredRow(str(i), RepeatUnit.parse(SMILES[i]), float(values[i])) for i in range(len(SMILES))]
    settings = Settings.of_process(checkpoint_dir=artifacts.root, device="cpu")
    verdict = calibrate_weights(
        artifacts,
        "eps",
        OwnRows(tuple(rows[:1]), tuple(rows), "rows"),  # as of a property's own data set
        settings=settings,
        load=lambda found: Predictor(found, CPU),
    )
    r2 = {scheme: figures["r2"] for scheme, figures in verdict.schemes.items()}
    assert set(r2) == set(NAMES)
    assert verdict.scheme == name, r2
    assert r2[name] > max(value for scheme, value in r2.items() if scheme != name) + 1e-5
    assert ArtifactDirectory.open(artifacts.root).property("eps").prompt_scheme.name == name
