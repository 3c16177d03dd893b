"""The mean over members, in normalised units."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.members import member_path
from periogt_ray.artifacts.weight_files import read_state_dict
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import ARTIFACTS, golden_polymers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Golden artifacts in which eps has three members that differ."""
    root = Path(shutil.copytree(ARTIFACTS, tmp_path_factory.mktemp("members") / "artifacts"))
    state = read_state_dict(root / "finetuned_ckpt/eps/best_model.pth")
    generator = torch.Generator().manual_seed(1)
    for number in range(3):
        save_file(
            {key: tensor + 0.02 * torch.randn(tensor.shape, generator=generator) for key, tensor in state.items()},
            root / member_path("eps", number),
        )
    return root


def single(root: Path, destination: Path, number: int) -> Predictor:
    """Return a predictor whose eps is one of the members."""
    shutil.copytree(root, destination)
    state = read_state_dict(destination / member_path("eps", number))
    for path in (destination / "finetuned_ckpt/eps").iterdir():
        path.unlink()
    save_file(state, destination / "finetuned_ckpt/eps/best_model.safetensors")
    return Predictor(ArtifactDirectory.open(destination), CPU)


def test_a_prediction_is_the_mean_of_its_members(root: Path, tmp_path: Path) -> None:
    tasks = [Task(featurize(RepeatUnit.parse(golden.smiles)), "eps") for golden in golden_polymers()[:4]]
    found = [outcome.value for outcome in Predictor(ArtifactDirectory.open(root), CPU).predict_many(tasks)]
    each = [
        [outcome.value for outcome in single(root, tmp_path / str(number), number).predict_many(tasks)]
        for number in range(3)
    ]
    assert len({values[0] for values in each}) == 3
    for value, members in zip(found, zip(*each, strict=True), strict=True):
        assert None not in members
        assert value == pytest.approx(sum(members) / 3, abs=1e-5)  # type: ignore[arg-type]


def test_members_do_not_make_an_answer_depend_on_its_company(root: Path) -> None:
    tasks = [Task(featurize(RepeatUnit.parse(golden.smiles)), "eps") for golden in golden_polymers()[:12]]
    answers = [
        [outcome.value for outcome in Predictor(ArtifactDirectory.open(root), CPU, packing=packing).predict_many(tasks)]
        for packing in (Packing(1, 0.0), Packing(10_000, 0.0))
    ]
    assert answers[0] == answers[1]


def test_members_are_kept_and_dropped_together(root: Path) -> None:
    predictor = Predictor(ArtifactDirectory.open(root), CPU, weights_bytes=1)
    polymer = featurize(RepeatUnit.parse("*CC*"))
    predictor.predict_many([Task(polymer, "eps"), Task(polymer, "tg")])
    assert predictor._heads.loaded == ("tg",)
