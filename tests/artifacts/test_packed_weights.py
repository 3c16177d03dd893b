"""Packed weights: read like others, nearly the same, refused when damaged."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.packed_weights import pack
from periogt_ray.artifacts.weight_files import read_shapes, read_state_dict
from periogt_ray.errors import ModelLoadError
from support.artifact_files import GOLDEN, HEAD


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    tensors, metadata = pack(read_state_dict(GOLDEN / HEAD))
    path = tmp_path / "member_0.safetensors"
    save_file(tensors, path, metadata)
    return path


def test_shapes_and_tensors_are_those_of_the_network(packed: Path) -> None:
    state = read_state_dict(GOLDEN / HEAD)
    found = read_state_dict(packed)
    assert read_shapes(packed) == {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        difference = (found[key] - tensor).float()
        assert float(difference.std(correction=0)) <= 0.03 * float(tensor.float().std(correction=0)) + 1e-6, key
    assert packed.stat().st_size < 0.3 * sum(4 * tensor.numel() for tensor in state.values())


def test_packing_again_changes_little_and_zeros_stay(packed: Path) -> None:
    state = {"w": torch.zeros(3, 4), "b": torch.tensor([0.5, -1.0])}
    state["w"][1] = torch.tensor([1.0, 0.0, -2.0, 0.0])
    tensors, metadata = pack(state)
    path = packed.with_name("small.safetensors")
    save_file(tensors, path, metadata)
    found = read_state_dict(path)
    assert not found["w"][0].any()
    assert not found["w"][1, [1, 3]].any()
    torch.testing.assert_close(found["b"], state["b"])


@pytest.mark.parametrize("metadata", ['{"w": [10, 10]}', '{"w": [-1]}', '{"w": [999999, 999999]}', "[", '{"w": "x"}'])
def test_what_does_not_hold_what_it_says_is_refused(packed: Path, metadata: str) -> None:
    tensors, _ = pack({"w": torch.ones(2, 3)})
    save_file(tensors, packed, {"periogt.packed": metadata})
    with pytest.raises(ModelLoadError, match="member_0"):
        read_state_dict(packed)


def test_codes_that_are_no_compressed_bytes_are_refused(packed: Path) -> None:
    tensors, metadata = pack({"w": torch.ones(2, 3)})
    save_file({**tensors, "codes": torch.zeros(9, dtype=torch.uint8)}, packed, metadata)
    with pytest.raises(ModelLoadError, match="member_0"):
        read_state_dict(packed)
