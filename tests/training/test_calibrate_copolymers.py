"""`periogt calibrate` of a property of copolymers: the golden network of ea stands in for the published one."""

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import dataset_path
from periogt_ray.commands.calibrate import calibrate
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.input_features import featurized_input
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.settings import Settings
from periogt_ray.training.calibrate import calibrate_weights, schemes_to_try
from periogt_ray.training.own_rows import read_own_rows
from support.golden_copolymers import make_artifacts

MONOMERS = ("*CC*", "*CCO*", "*CC(*)C", "*CS*", "*CC(*)F", "*CC(*)Cl", "*c1ccc(*)cc1")
INPUTS = [(a, b, 0.25, "block") for i, a in enumerate(MONOMERS) for b in MONOMERS[i + 1 :]]
CPU = torch.device("cpu")


def predicted(
    artifacts: ArtifactDirectory, scheme: PromptScheme, inputs: list[tuple[str, str, float, str]]
) -> list[Outcome]:
    info = replace(artifacts.property("ea"), prompt_scheme=scheme)
    predictor = Predictor(replace(artifacts, properties={**artifacts.properties, "ea": info}), CPU)
    copolymers = (Copolymer.parse(a, b, ratio_a=ratio, architecture=how) for a, b, ratio, how in inputs)
    return predictor.predict_many(
        [Task(featurized_input(one, lambda unit: featurize(unit, scheme)), "ea") for one in copolymers]
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactDirectory:
    return ArtifactDirectory.open(make_artifacts(tmp_path / "artifacts"))


def with_data(artifacts: ArtifactDirectory, values: list[float]) -> None:
    """Write a data set in the authors' form, half of it test rows."""
    folder = (artifacts.root / dataset_path("ea", "ea.csv")).parent
    folder.mkdir(parents=True)
    with (folder / "ea.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles_A", "smiles_B", "rA", "rB", "type", "value"])
        writer.writerows(
            [a, b, ratio, 1 - ratio, how, value] for (a, b, ratio, how), value in zip(INPUTS, values, strict=True)
        )
    n = len(INPUTS)
    parts = [list(range(1, n - 2, 2)), [n - 2], list(range(0, n, 2))]
    (folder / "split.pkl").write_bytes(pickle.dumps(parts))


def test_the_scheme_of_a_copolymer_network_is_found_and_its_values_get_intervals(artifacts: ArtifactDirectory) -> None:
    values = [float(outcome.value or 0) for outcome in predicted(artifacts, PromptScheme.CURRENT, INPUTS)]
    noise = np.random.default_rng(0).normal(0, 1e-4 * np.std(values), len(values))
    with_data(artifacts, (np.array(values) + noise).tolist())
    info = artifacts.property("ea")
    rows = read_own_rows(artifacts.root, "ea", info=info)
    assert len(rows.test) == -(-len(INPUTS) // 2)
    settings = Settings.of_process(checkpoint_dir=artifacts.root, device="cpu")
    verdict = calibrate_weights(artifacts, "ea", rows, settings=settings, load=lambda found: Predictor(found, CPU))
    candidates = schemes_to_try(info.prompt_scheme, InputKind.COPOLYMER)
    assert set(verdict.schemes) == {scheme.name for scheme in candidates}
    assert verdict.is_recognised
    assert verdict.scheme.startswith("current"), verdict
    opened = ArtifactDirectory.open(artifacts.root)
    assert opened.property("ea").prompt_scheme.name == verdict.scheme
    calibration = opened.calibration("ea")
    assert calibration is not None
    assert calibration.facts.scale in ("constant", "spread")
    assert (calibration.facts.reference, calibration.facts.n_training) == ("training", len(rows.known))
    assert calibration.is_known(rows.known[0].unit.key)
    assert not calibration.is_known(rows.test[0].unit.key)
    asked = [("*CC*", "*CN*", 0.5, "random")]
    [outcome] = predicted(opened, opened.property("ea").prompt_scheme, asked)
    assert outcome.interval is not None
    assert outcome.interval.lower < (outcome.value or 0) < outcome.interval.upper
    assert outcome.domain is None


def test_a_damaged_data_set_is_told(artifacts: ArtifactDirectory) -> None:
    with_data(artifacts, [1.0] * len(INPUTS))
    table = artifacts.root / dataset_path("ea", "ea.csv")
    table.write_text(table.read_text().replace(",block,", ",star,", 1))
    with pytest.raises(ModelLoadError, match="row 0 cannot be read"):
        read_own_rows(artifacts.root, "ea", info=artifacts.property("ea"))


def test_all_are_the_properties_of_every_kind_of_input(
    artifacts: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [float(outcome.value or 0) for outcome in predicted(artifacts, PromptScheme.RELEASE, INPUTS)]
    with_data(artifacts, values)
    monkeypatch.setenv("PERIOGT_CHECKPOINT_DIR", str(artifacts.root))
    monkeypatch.setenv("PERIOGT_DEVICE", "cpu")
    done = CliRunner().invoke(calibrate, ["--json"], standalone_mode=False)
    found = json.loads(done.stdout)
    assert set(found) == {"ea", "eps", "opv", "tg"}
    assert [name for name, one in found.items() if one["ok"]] == ["ea"], "the others have no data set"
    assert isinstance(done.exception, SystemExit)
    assert done.exception.code == 1
