"""Networks told by the names and shapes of their tensors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.errors import UnsupportedPropertyError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from support.artifact_files import ENCODER, GOLDEN, HEAD


def head_of(family: str) -> dict[str, torch.Tensor]:
    """A head whose shapes are those of a family, made of the golden one."""
    state = dict(torch.load(GOLDEN / HEAD, weights_only=True))
    width = state["node_emb.in_proj.weight"].shape[0]
    if family == "common":
        return state
    n_readouts = {"copolymer": 5, "conditions": 4}[family]
    state["predictor.0.weight"] = torch.zeros(256, n_readouts * width)
    state["node_attn.virutal_node_emb.weight"] = torch.zeros(1, width)
    if family == "copolymer":
        state["triplet_emb.embedding.weight"] = torch.zeros(3, width)
        state["triplet_emb.global_node_emb.weight"] = torch.zeros(3, width)
    else:
        state["triplet_emb.gs_proj.in_proj.weight"] = torch.zeros(width, 3)
        state["triplet_emb.gs_proj.in_proj.bias"] = torch.zeros(width)
        state["triplet_emb.gs_proj.out_proj.weight"] = torch.zeros(width, width)
        state["triplet_emb.gs_proj.out_proj.bias"] = torch.zeros(width)
    return state


def opened_with(directory: Path, property_id: str, state: dict[str, torch.Tensor]) -> ArtifactDirectory:
    (directory / "finetuned_ckpt" / property_id).mkdir()
    torch.save(state, directory / "finetuned_ckpt" / property_id / "best_model.pth")
    known = {key: {"mean": 1.0, "std": 1.0} for key in ("eps", "tg", property_id)}
    (directory / "label_stats.json").write_text(json.dumps(known))
    return ArtifactDirectory.open(directory)


@pytest.mark.parametrize(
    ("family", "kind"), [("common", "homopolymer"), ("copolymer", "copolymer"), ("conditions", "conditions")]
)
def test_the_input_of_a_property_follows_from_its_network(directory: Path, family: str, kind: str) -> None:
    info = opened_with(directory, "zeta", head_of(family)).property("zeta")
    assert (info.family, info.input_kind) == (family, InputKind(kind))
    assert info.prompt_scheme is PromptScheme.of_release(InputKind(kind))


def test_prefixed_keys_are_recognised(directory: Path) -> None:
    state = {f"module.{key}": tensor for key, tensor in head_of("copolymer").items()}
    assert opened_with(directory, "ea", state).property("ea").family == "copolymer"


Change: TypeAlias = Callable[[dict[str, torch.Tensor]], object]
OTHERS: dict[str, tuple[str, Change, str]] = {
    "another number of ratios": (
        "copolymer",
        lambda state: state.update({"triplet_emb.embedding.weight": torch.zeros(10, 48)}),
        r"triplet_emb\.embedding\.weight is \[10, 48\], expected \[3, 48\]",
    ),
    "another number of architectures": (
        "copolymer",
        lambda state: state.update({"triplet_emb.global_node_emb.weight": torch.zeros(1, 48)}),
        r"global_node_emb\.weight is \[1, 48\], expected \[3, 48\]",
    ),
    "a predictor of another width": (
        "copolymer",
        lambda state: state.update({"predictor.0.weight": torch.zeros(256, 6 * 48)}),
        r"\[256, 288\].*expected 240 inputs",
    ),
    "two outputs": (
        "conditions",
        lambda state: state.update({"predictor.3.weight": torch.zeros(2, 256)}),
        r"\[2, 256\].*one output",
    ),
    "other conditions": (
        "conditions",
        lambda state: state.update({"triplet_emb.gs_proj.in_proj.weight": torch.zeros(48, 8)}),
        r"gs_proj\.in_proj\.weight is \[48, 8\], expected \[48, 3\]",
    ),
    "both kinds of keys": (
        "copolymer",
        lambda state: state.update({"triplet_emb.gs_proj.in_proj.weight": torch.zeros(48, 3)}),
        "ratios and conditions",
    ),
    "one table only": (
        "copolymer",
        lambda state: state.pop("triplet_emb.embedding.weight"),
        r"embedding\.weight is absent, expected \[3, 48\]",
    ),
    "without the unused node": (
        "conditions",
        lambda state: state.pop("node_attn.virutal_node_emb.weight"),
        "virutal_node_emb",
    ),
    "no output layer": ("common", lambda state: state.pop("predictor.3.weight"), "not complete"),
}


@pytest.mark.parametrize(("family", "change", "reason"), OTHERS.values(), ids=OTHERS)
def test_another_network_is_listed_with_the_shape_that_differs(
    directory: Path, family: str, change: Change, reason: str
) -> None:
    state = head_of(family)
    change(state)
    opened = opened_with(directory, "opv", state)
    info = opened.properties["opv"]
    assert (info.family, info.supported) == ("unknown", False)
    assert re.search(reason, str(info.reason))
    assert opened.encoder == ENCODER
    with pytest.raises(UnsupportedPropertyError, match=r"opv.*eps, tg"):
        opened.property("opv")


def test_an_encoder_in_a_propertys_place_is_listed_and_not_served(directory: Path) -> None:
    opened = opened_with(directory, "opv", torch.load(GOLDEN / ENCODER, weights_only=True))
    assert (opened.properties["opv"].family, opened.properties["opv"].supported) == ("encoder", False)
    assert opened.encoder == ENCODER


@pytest.mark.parametrize(("property_id", "word"), [("mar1", "terpolymers"), ("mar2", "terpolymers"), ("pe", "anion")])
@pytest.mark.parametrize("family", ["common", "copolymer", "conditions"])
def test_unpublished_networks_are_never_served_whatever_their_shapes(
    directory: Path, property_id: str, word: str, family: str
) -> None:
    opened = opened_with(directory, property_id, head_of(family))
    info = opened.properties[property_id]
    assert not info.supported
    assert word in str(info.reason)
    with pytest.raises(UnsupportedPropertyError, match="not published"):
        opened.property(property_id)


def test_an_unpublished_network_of_another_shape_says_which(directory: Path) -> None:
    state = head_of("copolymer")
    state["triplet_emb.embedding.weight"] = torch.zeros(10, 48)
    reason = str(opened_with(directory, "mar1", state).properties["mar1"].reason)
    assert "terpolymers" in reason
    assert "embedding.weight is [10, 48], expected [3, 48]" in reason


def test_an_index_that_an_older_version_wrote_is_served(directory: Path) -> None:
    """It lists copolymers as unsupported, and the name of their scheme means other settings."""
    opened_with(directory, "ea", head_of("copolymer"))
    document = write_index(directory)
    document["properties"]["ea"] |= {"supported": False, "reason": "a copolymer network", "prompt_scheme": "release"}
    (directory / "index.json").write_text(json.dumps(document))
    info = ArtifactDirectory.open(directory).property("ea")
    assert (info.input_kind, info.prompt_scheme) == (InputKind.COPOLYMER, PromptScheme.RELEASE_UNSHIFTED)


def test_a_head_of_another_width_is_not_served(directory: Path) -> None:
    state = torch.load(GOLDEN / HEAD, weights_only=True)
    state["node_emb.in_proj.weight"] = torch.zeros(96, 138)
    state["predictor.0.weight"] = torch.zeros(256, 288)
    torch.save(state, directory / HEAD)
    info = ArtifactDirectory.open(directory).properties["eps"]
    assert not info.supported
    assert "96" in str(info.reason)
