"""Weight files of every format, whole, damaged and hostile."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.architecture import identify
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.weight_files import read_shapes, read_state_dict
from periogt_ray.errors import ModelLoadError
from support.artifact_files import ENCODER, GOLDEN, HEAD, Payload


def test_weights_come_without_the_module_prefix() -> None:
    opened = ArtifactDirectory.open(GOLDEN)
    encoder = opened.encoder_state_dict()
    assert encoder["node_emb.in_proj.weight"].shape == (48, 138)
    stored = torch.load(GOLDEN / ENCODER, weights_only=True)
    assert torch.equal(encoder["model.path_len_emb.weight"], stored["module.model.path_len_emb.weight"])
    assert opened.property_state_dict("eps")["predictor.3.weight"].shape == (1, 256)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_formats_of_torch_save(tmp_path: Path, legacy: bool, wrapped: bool) -> None:
    state = torch.load(GOLDEN / ENCODER, weights_only=True)
    document = {"state_dict": state, "epoch": 3} if wrapped else state
    path = tmp_path / "base.pth"
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    shapes = read_shapes(path)
    assert shapes == {key: tuple(value.shape) for key, value in read_state_dict(path).items()}
    assert identify(shapes).family == "encoder"


def truncated(content: bytes) -> bytes:
    """The first two thirds."""
    return content[: len(content) * 2 // 3]


def emptied(_content: bytes) -> bytes:
    """Nothing at all."""
    return b""


def garbled(_content: bytes) -> bytes:
    """No checkpoint."""
    return b"<html>404</html>" * 100


@pytest.mark.parametrize("damage", [truncated, emptied, garbled])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_corrupt_weights(directory: Path, damage: Callable[[bytes], bytes], suffix: str) -> None:
    path = (directory / HEAD).with_suffix(suffix)
    if suffix == ".safetensors":
        save_file(read_state_dict(directory / HEAD), path)
        (directory / HEAD).unlink()
    path.write_bytes(damage(path.read_bytes()))
    for call in (read_shapes, read_state_dict):
        with pytest.raises(ModelLoadError, match=path.name):
            call(path)
    with pytest.raises(ModelLoadError, match=path.name):
        ArtifactDirectory.open(directory)


def test_weights_that_run_a_command_are_refused(directory: Path) -> None:
    state = torch.load(directory / HEAD, weights_only=True)
    state["extra"] = Payload(directory / "canary")
    torch.save(state, directory / HEAD)
    for call in (read_shapes, read_state_dict, lambda _path: ArtifactDirectory.open(directory)):
        with pytest.raises(ModelLoadError, match=r"system"):
            call(directory / HEAD)
    assert not (directory / "canary").exists()


def test_two_pickles_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO((GOLDEN / HEAD).read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    (tmp_path / "eps.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ModelLoadError):
        read_shapes(tmp_path / "eps.pth")
