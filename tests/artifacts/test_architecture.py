"""Networks told by the names and shapes of their tensors."""

import json
from pathlib import Path

import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import UnsupportedPropertyError
from support.artifact_files import ENCODER, GOLDEN, HEAD


def other_network(family: str) -> dict[str, torch.Tensor]:
    """The golden head with the tensors that mark the release's other programs."""
    state = torch.load(GOLDEN / HEAD, weights_only=True)
    if family == "copolymer":
        state["triplet_emb.embedding.weight"] = torch.zeros(100, 48)
        state["triplet_emb.global_node_emb.weight"] = torch.zeros(1, 48)
    elif family == "conditions":
        state["triplet_emb.gs_proj.in_proj.weight"] = torch.zeros(48, 8)
    elif family == "unknown":
        del state["predictor.3.weight"]
    return dict(state)


@pytest.mark.parametrize("family", ["copolymer", "conditions", "unknown", "encoder"])
def test_networks_of_another_kind_are_listed_and_not_served(directory: Path, family: str) -> None:
    (directory / "finetuned_ckpt" / "opv").mkdir()
    state = torch.load(GOLDEN / ENCODER, weights_only=True) if family == "encoder" else other_network(family)
    torch.save(state, directory / "finetuned_ckpt" / "opv" / "best_model.pth")
    (directory / "label_stats.json").write_text(
        json.dumps({key: {"mean": 1.0, "std": 1.0} for key in ("eps", "tg", "opv")})
    )
    opened = ArtifactDirectory.open(directory)
    info = opened.properties["opv"]
    assert (info.family, info.supported) == (family, False)
    assert info.reason
    assert opened.encoder == ENCODER
    with pytest.raises(UnsupportedPropertyError, match=r"opv.*eps, tg"):
        opened.property("opv")


def test_a_head_of_another_width_is_not_served(directory: Path) -> None:
    state = torch.load(GOLDEN / HEAD, weights_only=True)
    state["node_emb.in_proj.weight"] = torch.zeros(96, 138)
    state["predictor.0.weight"] = torch.zeros(256, 288)
    torch.save(state, directory / HEAD)
    info = ArtifactDirectory.open(directory).properties["eps"]
    assert not info.supported
    assert "96" in str(info.reason)
