"""Weights of every layout, told by path and content."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.inventory import file_property_id, take_inventory
from periogt_ray.artifacts.properties import PROPERTIES
from periogt_ray.artifacts.weight_files import read_state_dict
from periogt_ray.errors import ModelLoadError
from support.artifact_files import ENCODER, HEAD


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("finetuned_ckpt/eps/best_model.pth", "eps"),
        ("finetuned_ckpt/eps/best_model_fold_3.safetensors", "eps"),
        ("finetuned_ckpt/light/eps.pth", "eps"),
        ("finetuned_ckpt/eps/light/best_model.pth", "eps"),
        ("finetuned_ckpt/eps/light.pth", "eps"),
        ("finetuned_ckpt/eps/epoch_12.pth", "eps"),
        ("finetuned_ckpt/best_model_eps.pth", "eps"),
        ("eps.pth", "eps"),
        ("finetuned_ckpt/mar1/best_model.pth", "mar1"),
        ("finetuned_ckpt/best_model.pth", None),
    ],
)
def test_property_id_of_a_path(path: str, expected: str | None) -> None:
    assert file_property_id(path) == expected


def test_every_layout_gives_the_same_properties(directory: Path) -> None:
    heads = directory / "finetuned_ckpt"
    (heads / "light").mkdir()
    (heads / "eps" / "best_model.pth").rename(heads / "light" / "eps.pth")
    (heads / "tg" / "best_model.pth").rename(directory / "tg.pth")
    (directory / ENCODER).rename(directory / "base.pth")
    opened = ArtifactDirectory.open(directory)
    assert opened.supported == ["eps", "tg"]
    assert opened.encoder == "base.pth"
    assert opened.property("eps").checkpoint == "finetuned_ckpt/light/eps.pth"


def test_an_id_outside_the_table_is_served_under_its_own_name(directory: Path) -> None:
    (directory / "finetuned_ckpt" / "eps").rename(directory / "finetuned_ckpt" / "zeta")
    (directory / "label_stats.json").write_text('{"zeta": {"mean": 0, "std": 1}}')
    info = ArtifactDirectory.open(directory).property("zeta")
    assert (info.label, info.units) == ("zeta", "")
    assert "zeta" not in PROPERTIES


def test_a_head_in_the_encoders_place_is_refused(directory: Path) -> None:
    shutil.copy(directory / HEAD, directory / ENCODER)
    with pytest.raises(ModelLoadError, match=r"base\.pth.*'common'"):
        ArtifactDirectory.open(directory)


def test_safetensors_are_preferred_and_equal(directory: Path) -> None:
    state = read_state_dict(directory / HEAD)
    save_file(state, directory / "finetuned_ckpt" / "eps" / "best_model.safetensors")
    opened = ArtifactDirectory.open(directory)
    assert opened.property("eps").checkpoint.endswith(".safetensors")
    loaded = opened.property_state_dict("eps")
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert take_inventory(directory).unused == (HEAD,)
