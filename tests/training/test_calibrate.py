"""Weights that predict their own test rows under one scheme: it is found, and intervals follow.

Stand-ins: the labels are what the golden networks predict under a scheme, so that scheme is the one they were made for.
"""

import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import dataset_path
from periogt_ray.artifacts.verdicts import Verdict, read_verdicts
from periogt_ray.doctor.calibration import check_calibration
from periogt_ray.doctor.report import Status
from periogt_ray.errors import CheckpointMissingError, ModelLoadError, ValidationError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR, Settings
from periogt_ray.training.calibrate import calibrate_weights, schemes_to_try
from periogt_ray.training.measured import MeasuredRow
from periogt_ray.training.own_rows import OwnRows, read_own_rows
from support.golden import ARTIFACTS

SMILES = [
    f"*{chain}{group}*"
    for chain in ("C", "CC", "CCC", "CO", "CCO", "CS", "CN", "CC(C)", "CC(F)", "CC(Cl)")
    for group in ("C(C#N)", "CO", "c1ccc(cc1)", "C(=O)O", "N")
]
SETTINGS = Settings.of_process(checkpoint_dir=ARTIFACTS, device="cpu")


def load(artifacts: ArtifactDirectory) -> Predictor:
    return Predictor(artifacts, torch.device("cpu"))


def with_data(root: Path, values: Sequence[float]) -> ArtifactDirectory:
    """Return artifacts with a data set of eps: a third of it test rows."""
    folder = (root / dataset_path("eps", "split.pkl")).parent
    folder.mkdir(parents=True)
    rows = "".join(f"{smiles},{float(value)!r}\n" for smiles, value in zip(SMILES, values, strict=True))
    (folder / "eps.csv").write_text(f"smiles,value\n{rows}")
    test = list(range(0, len(SMILES), 3))
    train = [row for row in range(len(SMILES)) if row not in test]
    (folder / "split.pkl").write_bytes(pickle.dumps([train[:-2], train[-2:], test]))
    return ArtifactDirectory.open(root)


@pytest.fixture(scope="module")
def predicted() -> dict[str, list[float]]:
    """What the golden eps network predicts under each scheme."""
    found = {}
    artifacts = ArtifactDirectory.open(ARTIFACTS)
    for scheme in schemes_to_try(artifacts.property("eps").prompt_scheme):
        info = replace(artifacts.property("eps"), prompt_scheme=scheme)
        predictor = load(replace(artifacts, properties={**artifacts.properties, "eps": info}))
        tasks = [Task(featurize(RepeatUnit.parse(smiles), scheme), "eps") for smiles in SMILES]
        found[scheme.name] = [float(outcome.value or 0.0) for outcome in predictor.predict_many(tasks)]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))


def calibrated(artifacts: ArtifactDirectory, predicting: object = load) -> Verdict:
    rows = read_own_rows(artifacts.root, "eps")
    return calibrate_weights(artifacts, "eps", rows, settings=SETTINGS, load=predicting)


@pytest.mark.parametrize("name", [name for name in ("release", "release-unshifted", "monomer") if name in SCHEMES])
def test_the_scheme_of_the_training_is_found(name: str, predicted: dict[str, list[float]], root: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01 * np.std(predicted[name]), len(SMILES))
    artifacts = with_data(root, np.array(predicted[name]) + noise)
    verdict = calibrated(artifacts)
    # Shifted paths or not, these networks predict alike to a thousandth of the noise.
    assert verdict.scheme == name or np.allclose(predicted[verdict.scheme], predicted[name], rtol=1e-4)
    assert verdict.is_recognised
    assert set(verdict.schemes) == set(predicted)
    opened = ArtifactDirectory.open(root)
    assert opened.property("eps").prompt_scheme.name == verdict.scheme
    calibration = opened.calibration("eps")
    assert calibration is not None
    n_test = len(range(0, len(SMILES), 3))
    assert int(np.isfinite(calibration.residuals).sum()) == n_test
    assert calibration.facts.n_training == len(SMILES) - n_test
    assert (calibration.facts.reference, read_verdicts(root)["eps"]) == ("training", verdict)
    card = next(card for card in read_card(opened).properties if card.id == "eps")
    assert (card.is_scheme_verified, card.n_calibration) == (True, n_test)
    assert card.test is not None
    assert card.test.n == n_test
    assert not (root / ".calibrate").exists()
    [outcome] = load(opened).predict_many([Task(featurize(RepeatUnit.parse("*CCC*"), SCHEMES[verdict.scheme]), "eps")])
    assert outcome.interval is not None
    assert outcome.domain is not None


def test_weights_that_predict_nothing_fail_and_get_no_intervals(root: Path) -> None:
    artifacts = with_data(root, np.random.default_rng(1).normal(3, 1, len(SMILES)).tolist())
    verdict = calibrated(artifacts)
    assert not verdict.is_recognised
    assert not (root / calibration_path("eps")).exists()
    [failed] = [check for check in check_calibration(ArtifactDirectory.open(root)) if check.status is Status.FAIL]
    assert "do not predict their own test set" in failed.message
    card = next(card for card in read_card(ArtifactDirectory.open(root)).properties if card.id == "eps")
    assert (card.is_scheme_verified, card.interval_scale) == (False, None)


class Dying(Predictor):
    """Ends the run at the second pass."""

    n_calls = 0

    def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Answer once, then end."""
        type(self).n_calls += 1
        if self.n_calls == 2:
            raise KeyboardInterrupt
        return super().predict_many(tasks)


def test_a_killed_run_goes_on_and_gives_the_same_file(
    predicted: dict[str, list[float]], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("periogt_ray.training.calibrate._AT_ONCE", 8)
    artifacts = with_data(root, predicted["monomer"])
    other = Path(shutil.copytree(root, tmp_path / "whole"))
    calibrated(ArtifactDirectory.open(other))
    monkeypatch.setattr(Dying, "n_calls", 0)
    with pytest.raises(KeyboardInterrupt):
        calibrated(artifacts, lambda found: Dying(found, torch.device("cpu")))
    assert list((root / ".calibrate").iterdir())
    n_tasks: list[int] = []

    class Counting(Predictor):
        def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]:
            n_tasks.append(len(tasks))
            return super().predict_many(tasks)

    calibrated(artifacts, lambda found: Counting(found, torch.device("cpu")))
    n_test = len(range(0, len(SMILES), 3))
    n_all = len(SMILES) - n_test + n_test * len(predicted)
    assert sum(n_tasks) == n_all - 8  # the first pass is not repeated
    assert (root / calibration_path("eps")).read_bytes() == (other / calibration_path("eps")).read_bytes()
    assert Calibration.load(root / calibration_path("eps")).facts.report["scheme"] == "monomer"


def test_a_test_row_of_a_known_polymer_is_left_out(root: Path) -> None:
    artifacts = with_data(root, [1.0] * len(SMILES))
    table = root / dataset_path("eps", "eps.csv")
    table.write_text(table.read_text().replace(f"{SMILES[0]},", f"{SMILES[1]},", 1))
    rows = read_own_rows(artifacts.root, "eps")
    assert len(rows.test) == len(range(0, len(SMILES), 3)) - 1


def test_a_test_row_of_a_known_chain_that_is_cut_elsewhere_is_left_out(root: Path) -> None:
    artifacts = with_data(root, [1.0] * len(SMILES))
    table = root / dataset_path("eps", "eps.csv")
    assert (SMILES[0], SMILES[16]) == ("*CC(C#N)*", "*COCO*")
    # Row 0 is a test row, row 16 a training row.
    table.write_text(table.read_text().replace(f"{SMILES[0]},", "*OC*,", 1))
    rows = read_own_rows(artifacts.root, "eps")
    assert len(rows.test) == len(range(0, len(SMILES), 3)) - 1


def test_absent_and_mismatched_rows_are_told(root: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=r"periogt setup.*--data"):
        read_own_rows(root, "eps")
    with_data(root, [1.0] * len(SMILES))
    (root / dataset_path("eps", "split.pkl")).write_bytes(pickle.dumps([[0, 1], [2], [999]]))
    with pytest.raises(ModelLoadError, match="does not belong"):
        read_own_rows(root, "eps")


def given_rows(values: Sequence[float], smiles: Sequence[str] = SMILES) -> OwnRows:
    """A user's table, of which no row is known to have trained the network."""
    rows = [
        MeasuredRow(str(i), RepeatUnit.parse(text), float(value))
        for i, (text, value) in enumerate(zip(smiles, values, strict=True))
    ]
    return OwnRows((), tuple(rows), "mine.csv")


def test_a_user_s_rows_in_another_unit_change_nothing(predicted: dict[str, list[float]], root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".calibrate" not in path.parts}
    for values in (list(reversed(predicted["release"])), [1.0] * len(SMILES)):
        with pytest.raises(ValidationError, match="nothing was changed"):
            calibrate_weights(ArtifactDirectory.open(root), "eps", given_rows(values), settings=SETTINGS, load=load)
        assert {path: path.read_bytes() for path in before} == before


def test_a_user_s_rows_have_to_be_many_and_new(predicted: dict[str, list[float]], root: Path) -> None:
    artifacts = ArtifactDirectory.open(root)
    few = given_rows(predicted["release"][:20], SMILES[:20])
    copies = given_rows([predicted["release"][0]] * 60, [SMILES[0]] * 60)
    for rows in (few, copies):
        with pytest.raises(ValidationError, match="expected at least 50"):
            calibrate_weights(artifacts, "eps", rows, settings=SETTINGS, load=load)


def test_a_user_s_rows_change_the_scheme_only_where_they_are_clear(
    predicted: dict[str, list[float]], root: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3 * np.std(predicted["release"]), len(SMILES))
    artifacts = ArtifactDirectory.open(root)
    own = artifacts.property("eps").prompt_scheme.name
    other = next(name for name in predicted if name != own)
    rows = given_rows(np.array(predicted[other]) + noise)
    verdict = calibrate_weights(artifacts, "eps", rows, settings=SETTINGS, load=load)
    best = min(verdict.schemes, key=lambda name: verdict.schemes[name]["rmse"])
    is_clear = verdict.schemes[best]["rmse"] < 0.95 * verdict.schemes[own]["rmse"]
    assert verdict.scheme == (best if is_clear else own)


def test_a_user_s_rows_keep_what_is_known_of_the_training(predicted: dict[str, list[float]], root: Path) -> None:
    calibrated(with_data(root, predicted["release"]))
    before = Calibration.load(root / calibration_path("eps"))
    trained, test = SMILES[1], SMILES[0]
    assert before.facts.reference == "training"
    assert before.is_known(chain_key(RepeatUnit.parse(trained)))

    artifacts = ArtifactDirectory.open(root)
    scheme = artifacts.property("eps").prompt_scheme
    smiles = [f"*{'C' * n}{group}*" for n in range(4, 15) for group in ("C(C#N)", "CO", "c1ccc(cc1)", "C(=O)O", "N")]
    tasks = [Task(featurize(RepeatUnit.parse(one), scheme), "eps") for one in smiles]
    values = [float(outcome.value or 0.0) for outcome in load(artifacts).predict_many(tasks)]
    calibrate_weights(artifacts, "eps", given_rows(values, smiles), settings=SETTINGS, load=load)

    after = Calibration.load(root / calibration_path("eps"))
    assert (after.facts.reference, after.facts.n_training) == ("training", before.facts.n_training)
    assert after.is_known(chain_key(RepeatUnit.parse(trained)))
    assert after.made_intervals(chain_key(RepeatUnit.parse(smiles[0])))
    assert not after.made_intervals(chain_key(RepeatUnit.parse(test))), "its residual is replaced"


def test_the_embedded_model_is_not_calibrated() -> None:
    artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    with pytest.raises(ValidationError, match="periogt setup"):
        calibrate_weights(artifacts, "eps", given_rows([1.0] * len(SMILES)), settings=SETTINGS, load=load)
