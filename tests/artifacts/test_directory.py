"""The opened directory: what it holds, and what is missing."""

from pathlib import Path

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import CheckpointMissingError, ModelLoadError, UnsupportedPropertyError
from periogt_ray.polymer.prompt_scheme import PromptScheme
from support.artifact_files import ENCODER, GOLDEN, HEAD


def files_of(root: Path) -> dict[str, bytes]:
    """All files under a directory with their content."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_opens_the_golden_directory_as_it_is() -> None:
    before = files_of(GOLDEN)
    opened = ArtifactDirectory.open(GOLDEN)
    assert opened.supported == ["eps", "tg"]
    assert opened.encoder == ENCODER
    assert opened.encoder_dims["width"] == 48
    assert opened.encoder_dims["n_layers"] == 3
    assert opened.encoder_dims["n_heads"] == 12
    tg = opened.property("tg")
    assert (tg.label, tg.units, tg.prompt_scheme) == ("Glass transition temperature", "degC", PromptScheme.RELEASE)
    assert tg.checkpoint == "finetuned_ckpt/tg/best_model.pth"
    assert opened.label_stats("tg") == LabelStats(410.0, 105.0)
    assert files_of(GOLDEN) == before


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ([ENCODER], "pretrained_ckpt/base.safetensors"),
        ([HEAD, "finetuned_ckpt/tg/best_model.pth"], "finetuned_ckpt/<property>"),
        (["label_stats.json"], "label_stats.json"),
        (["descriptor_scaler.npz", "descriptor_scaler.pkl"], "descriptor_scaler.npz"),
    ],
)
def test_a_missing_piece_is_named(directory: Path, removed: list[str], named: str) -> None:
    for name in removed:
        (directory / name).unlink()
    with pytest.raises(CheckpointMissingError) as caught:
        ArtifactDirectory.open(directory)
    assert f"{directory}/{named}" in caught.value.message
    assert len(caught.value.details["missing"]) == 1


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=str(tmp_path / "nowhere")):
        ArtifactDirectory.open(tmp_path / "nowhere")


def test_unknown_property_lists_the_supported_ones() -> None:
    with pytest.raises(UnsupportedPropertyError) as caught:
        ArtifactDirectory.open(GOLDEN).property("nonsense")
    assert caught.value.details["supported"] == ["eps", "tg"]


def test_model_card(directory: Path) -> None:
    (directory / "model_card.json").write_text('{"name": "compact"}')
    opened = ArtifactDirectory.open(directory)
    assert opened.name == "compact"
    assert opened.model_card == {"name": "compact"}
    (directory / "model_card.json").write_text("not json")
    with pytest.raises(ModelLoadError, match=r"model_card\.json"):
        ArtifactDirectory.open(directory)
