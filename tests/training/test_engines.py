"""Networks as tasks of a Ray are those that this process trains."""

from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.model.network import load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.training.engines import LocalEngine, RayEngine
from periogt_ray.training.members import Context, Job, Member, read_member
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import encode
from periogt_ray.training.recipe import Recipe
from periogt_ray.training.splits import Fold
from periogt_ray.training.trainer import Epoch, Rows, Stopped
from support.golden import ARTIFACTS

N = 8


def context_of(directory: Path) -> Context:
    artifacts = ArtifactDirectory.open(ARTIFACTS)
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    device = torch.device("cpu")
    packing = Packing.for_device(device, width=24)
    polymers = [featurize(RepeatUnit.parse(f"*{'C' * n}O*"), PromptScheme.MONOMER) for n in range(2, 2 + N)]
    encoded = encode(encoder, polymers, artifacts.scaler(), packing=packing, device=device)
    prompts = [each.prompts for each in encoded]
    directory.mkdir()
    return Context(
        encoder=artifacts.encoder_state_dict(),
        source=artifacts.encoder,
        polymers=PolymerSet.of(polymers, prompts, artifacts.scaler(), packing=packing, device=device),
        labels=np.arange(N) * 1.5 + 3,
        weights=np.ones(N, np.float32),
        statistics=LabelStats(5.0, 2.0),
        directory=directory,
    )


def jobs() -> list[Job]:
    recipe = Recipe(1e-3, epochs=2, batch_size=4, is_frozen=True)
    rows = Rows((0, 1, 2, 3, 4), (5, 6))
    return [Job(Fold(f"member-{k}", rows, (7,)), recipe, seed=k, asked=(7, 0)) for k in range(3)]


def never() -> bool:
    return False


def train_here(context: Context) -> list[Member]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return LocalEngine().train_all(jobs(), context, on_epoch=lambda *_: None, is_stopping=never, ends_at=None)
    finally:
        torch.set_num_threads(threads)


def test_finished_networks_are_not_trained_again(tmp_path: Path) -> None:
    context = context_of(tmp_path / "networks")
    first = train_here(context)
    epochs: list[Epoch] = []
    again = LocalEngine().train_all(
        jobs(), context, on_epoch=lambda _, epoch: epochs.append(epoch), is_stopping=never, ends_at=None
    )
    assert epochs == []
    assert [member.predictions.tolist() for member in again] == [member.predictions.tolist() for member in first]
    assert len({member.predictions[0] for member in first}) == 3, "each network has a seed of its own"


def test_a_damaged_network_is_trained_again(tmp_path: Path) -> None:
    context = context_of(tmp_path / "networks")
    first = train_here(context)
    path = context.directory / "member-1.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    assert read_member(jobs()[1], context) is None
    assert [m.predictions.tolist() for m in train_here(context)] == [m.predictions.tolist() for m in first]


def test_rescaled_networks_predict_in_the_common_statistics(tmp_path: Path) -> None:
    context = context_of(tmp_path / "networks")
    member = train_here(context)[0]
    # The labels that it learned from have another mean and deviation than those that all members share.
    assert member.label_std == pytest.approx(float(np.std(context.labels[:5])))
    assert abs(member.predictions[1] - context.labels[0]) < 4 * member.label_std


@pytest.mark.ray
def test_tasks_of_a_ray_train_the_same_networks(tmp_path: Path) -> None:
    expected = train_here(context_of(tmp_path / "here"))
    context = context_of(tmp_path / "there")
    epochs: list[tuple[str, int]] = []
    found = RayEngine(None, has_gpus=False).train_all(
        jobs(),
        context,
        on_epoch=lambda job, epoch: epochs.append((job.name, epoch.number)),
        is_stopping=never,
        ends_at=None,
    )
    assert [member.predictions.tobytes() for member in found] == [member.predictions.tobytes() for member in expected]
    assert sorted(epochs) == [(f"member-{k}", epoch) for k in range(3) for epoch in (1, 2)]
    (context.directory / "member-2.safetensors").unlink()
    with pytest.raises(Stopped):
        RayEngine(None, has_gpus=False).train_all(
            jobs(), context, on_epoch=lambda *_: None, is_stopping=lambda: True, ends_at=None
        )
