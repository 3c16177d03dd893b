"""What setup made predicts what the reference predicts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from periogt_ray.setup.trial_load import load_everything
from support.golden import golden_polymers
from support.published_site import GOLDEN, as_modal_leaves_it

N_POLYMERS = 3


def assert_predicts(directory: Path) -> None:
    """Predictions from a directory equal the reference's, in label units, to 1e-5 of a standard deviation."""
    statistics = ArtifactDirectory.open(GOLDEN).statistics
    predictor = Predictor(ArtifactDirectory.open(directory), torch.device("cpu"))
    small = sorted(golden_polymers(), key=lambda golden: len(golden.smiles))[:N_POLYMERS]
    for golden in small:
        for name, labels in statistics.items():
            polymer = featurize(RepeatUnit.parse(golden.smiles), predictor.scheme(name))
            [outcome] = predictor.predict_many([Task(polymer, name)])
            assert outcome.error is None
            expected = golden.record["raw_prediction"][name] * labels.std + labels.mean
            assert outcome.value == pytest.approx(expected, abs=1e-5 * labels.std)
            assert outcome.checkpoint == ArtifactDirectory.open(directory).property(name).checkpoint


def test_archives_of_the_golden_weights(with_options: Callable[..., SetupOptions]) -> None:
    report = run_setup(with_options(check=load_everything))
    assert_predicts(report.directory)


@pytest.mark.parametrize("layout", ["directories", "light"])
def test_a_directory_as_modal_leaves_it_predicts(with_options: Callable[..., SetupOptions], layout: str) -> None:
    chosen = with_options(skip_download=True, check=load_everything)
    as_modal_leaves_it(chosen.directory, layout)
    run_setup(chosen)
    assert_predicts(chosen.directory)
