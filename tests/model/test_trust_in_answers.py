"""Interval and domain of answers, from a calibration beside the weights to tables and JSON."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.answers import answer_of, predict_response
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property
from periogt_ray.polymer.given import GivenInput
from periogt_ray.predict import PerioGT
from periogt_ray.settings import EMBEDDED_DIR
from periogt_ray.tables.predictions import CsvOutput, OutputLayout

SMILES = tuple(f"*{'C' * n}*" for n in range(2, 9)) + tuple(f"*{'C' * n}O*" for n in range(1, 9))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with a calibration of egc from a few polymers, and none of the other properties."""
    root = Path(shutil.copytree(EMBEDDED_DIR, tmp_path_factory.mktemp("trust") / "artifacts"))
    for path in root.glob("finetuned_ckpt/*/calibration.npz"):
        path.unlink()
    model = PerioGT(root, device="cpu")
    predictions = model.predict(SMILES, "egc").prediction_value.to_numpy()
    values = predictions + np.random.default_rng(0).normal(0, 0.3, len(predictions))
    polymers = model._read([GivenInput.of_smiles(one) for one in SMILES], {model._loaded().scheme("egc")}, "raise")
    fingerprints = [next(iter(one.features.values())).oligomers[1].fingerprint for one in polymers]
    known = KnownPolymers(
        SMILES, np.stack(fingerprints), model.embed(SMILES), values, predictions, np.ones(len(SMILES), bool)
    )
    calibrate_property("egc", known).save(root / calibration_path("egc"))
    return root


@pytest.fixture(scope="module")
def model(calibrated: Path) -> PerioGT:
    return PerioGT(calibrated, device="cpu")


def test_a_calibrated_property_has_intervals_and_a_domain_and_others_have_none(model: PerioGT) -> None:
    frame = model.predict(["*CCC*", "*[Pb](C)(C)*", "*CC"], ["egc", "nc"]).set_index(["id", "property"])
    known = frame.loc["0", "egc"]
    assert known.domain == "inside"
    assert known.interval_lower < known.prediction_value < known.interval_upper
    assert frame.loc["1", "egc"].domain == "far_outside"
    assert "Pb occurs in no training polymer" in frame.loc["1", "egc"].warnings
    for row in (frame.loc["0", "nc"], frame.loc["2", "egc"]):
        assert (row.domain, np.isnan(row.interval_lower)) == ("", True)


def test_a_higher_level_is_wider_and_one_that_needs_more_rows_is_none(model: PerioGT) -> None:
    frames = {level: model.predict("*CCC*", "egc", level=level).iloc[0] for level in (0.5, 0.8, 0.9, 0.95)}
    widths = [row.interval_upper - row.interval_lower for row in frames.values()]
    assert widths[0] < widths[1] < widths[2]
    assert np.isnan(widths[3])
    assert "it needs 19 calibration polymers, there are 15" in frames[0.95].warnings
    with pytest.raises(ValueError, match=r"level is 0\.7"):
        model.predict("*CCC*", "egc", level=0.7)


def test_the_wide_table_has_columns_for_each_property(model: PerioGT) -> None:
    frame = model.predict(["*CCC*"], ["egc", "nc"], wide=True)
    behind = ["egc_interval_lower", "egc_interval_upper", "egc_domain", "nc_interval_lower", "nc_interval_upper"]
    assert list(frame.columns)[:7] == ["id", "smiles", "egc", "nc", "ok", "error_code", "error_message"]
    assert list(frame.columns)[7:] == [*behind, "nc_domain", "warnings", "request_id"]
    assert frame.egc_interval_lower.dtype == float
    assert (frame.egc_domain[0], frame.nc_domain[0]) == ("inside", "")


def test_json_and_csv_hold_the_same_interval(calibrated: Path) -> None:
    model = PerioGT(calibrated, device="cpu")
    outcomes = model.outcomes("*CCC*", ["egc"], level=0.8)
    response = predict_response(
        outcomes["egc"], model.artifacts, given=GivenInput.of_smiles("*CCC*"), property_id="egc", request_id="r"
    )
    assert response.interval is not None
    assert response.domain is not None
    assert response.interval.level == 0.8
    assert response.domain.model_dump() == {"status": "inside", "similarity": 1.0, "percentile": 0.0, "reasons": []} | {
        "percentile": response.domain.percentile
    }
    text = io.StringIO()
    output = CsvOutput(text)
    layout = OutputLayout(("egc",))
    output.write(layout.columns)
    for row in layout.rows("7", "*CCC*", [answer_of(outcomes["egc"])]):
        output.write(row)
    [record] = csv.DictReader(io.StringIO(text.getvalue()))
    assert float(record["interval_lower"]) == response.interval.lower
    assert float(record["interval_upper"]) == response.interval.upper
    assert len(record["interval_lower"]) <= 12  # float32's shortest form


def test_an_answer_does_not_depend_on_its_company(model: PerioGT) -> None:
    alone = [model.predict(smiles, "egc").iloc[0] for smiles in SMILES[:4]]
    together = model.predict(SMILES, "egc")
    for one, (_, other) in zip(alone, together.iterrows(), strict=False):
        assert (one.interval_lower, one.interval_upper, one.domain) == (
            other.interval_lower,
            other.interval_upper,
            other.domain,
        )


def test_a_damaged_calibration_is_the_error_of_its_property(calibrated: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(calibrated, tmp_path / "damaged"))
    (root / calibration_path("egc")).write_bytes(b"rubbish")
    outcomes = PerioGT(root, device="cpu").outcomes("*CCC*", ["egc", "nc"])
    assert isinstance(outcomes["egc"].error, ModelLoadError)
    assert outcomes["nc"].error is None


def test_artifacts_return_the_calibration(calibrated: Path) -> None:
    artifacts = ArtifactDirectory.open(calibrated)
    assert isinstance(artifacts.calibration("egc"), Calibration)
    assert artifacts.calibration("nc") is None
