"""The reading side of the artifact directory: layouts, index, statistics, scaler, weights, what is missing."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.architecture import identify
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.artifacts.inventory import file_property_id, take_inventory
from periogt_ray.artifacts.properties import PROPERTIES
from periogt_ray.artifacts.safe_pickle import PickledObject, load_plain_pickle, load_scaler_arrays, load_split
from periogt_ray.artifacts.scaler import read_scaler
from periogt_ray.artifacts.statistics import LabelStats, read_label_stats
from periogt_ray.artifacts.weight_files import read_shapes, read_state_dict
from periogt_ray.errors import (
    CheckpointMissingError,
    ChecksumMismatchError,
    ModelLoadError,
    UnsupportedPropertyError,
)
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import write_json_atomically

GOLDEN = Path(__file__).parents[1] / "golden" / "artifacts"
HEAD = "finetuned_ckpt/eps/best_model.pth"
ENCODER = "pretrained_ckpt/base.pth"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A writable copy of the golden artifacts."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "artifacts"))


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
    assert (tg.label, tg.units, tg.prompt_scheme) == ("Glass transition temperature", "K", PromptScheme.RELEASE)
    assert tg.checkpoint == "finetuned_ckpt/tg/best_model.pth"
    assert opened.label_stats("tg") == LabelStats(410.0, 105.0)
    assert files_of(GOLDEN) == before


def test_weights_come_without_the_module_prefix() -> None:
    opened = ArtifactDirectory.open(GOLDEN)
    encoder = opened.encoder_state_dict()
    assert encoder["node_emb.in_proj.weight"].shape == (48, 138)
    stored = torch.load(GOLDEN / ENCODER, weights_only=True)
    assert torch.equal(encoder["model.path_len_emb.weight"], stored["module.model.path_len_emb.weight"])
    assert opened.property_state_dict("eps")["predictor.3.weight"].shape == (1, 256)


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


def test_an_index_of_another_machine_is_not_used(directory: Path) -> None:
    index = {"eps": {"checkpoint": "/vol/checkpoints/finetuned_ckpt/eps/best_model.pth", "label": "x", "units": ""}}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / ".ready").write_text("ready")
    assert ArtifactDirectory.open(directory).property("eps").checkpoint == HEAD


def test_an_index_that_leaves_the_directory_is_not_used(directory: Path) -> None:
    document = write_index(directory)
    document["properties"]["eps"]["checkpoint"] = "../elsewhere/eps.pth"
    write_json_atomically(directory / "index.json", document)
    assert ArtifactDirectory.open(directory).property("eps").checkpoint == HEAD


def test_index_is_relative_and_read_back(directory: Path) -> None:
    write_index(directory, scheme=PromptScheme.MONOMER, name="small")
    text = (directory / "index.json").read_text()
    assert str(directory) not in text
    inventoried = ArtifactDirectory.open(GOLDEN)
    moved = directory.rename(directory.with_name("moved"))
    opened = ArtifactDirectory.open(moved)
    assert opened.name == "small"
    assert opened.property("eps").prompt_scheme == PromptScheme.MONOMER
    assert opened.encoder_dims == inventoried.encoder_dims
    assert write_index(moved, scheme=PromptScheme.MONOMER, name="small") == json.loads(text)


def test_an_index_with_an_unknown_prompt_scheme_is_an_error(directory: Path) -> None:
    document = write_index(directory)
    document["properties"]["eps"]["prompt_scheme"] = "dimer"
    write_json_atomically(directory / "index.json", document)
    with pytest.raises(ModelLoadError, match=r"index\.json.*'eps'.*'dimer'; expected release or monomer"):
        ArtifactDirectory.open(directory)


def test_with_an_index_no_weight_file_is_touched_on_opening(directory: Path) -> None:
    write_index(directory)
    (directory / HEAD).write_bytes(b"rubbish")
    opened = ArtifactDirectory.open(directory)
    assert opened.supported == ["eps", "tg"]
    with pytest.raises(ModelLoadError, match=r"best_model\.pth"):
        opened.property_state_dict("eps")


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


def test_a_file_that_the_index_lists_and_is_gone_is_named(directory: Path) -> None:
    write_index(directory)
    (directory / HEAD).unlink()
    with pytest.raises(CheckpointMissingError, match=HEAD):
        ArtifactDirectory.open(directory)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=str(tmp_path / "nowhere")):
        ArtifactDirectory.open(tmp_path / "nowhere")


def test_without_statistics_a_property_is_listed_with_the_reason(directory: Path) -> None:
    (directory / "label_stats.json").write_text('{"tg": {"mean": 410.0, "std": 105.0}}')
    opened = ArtifactDirectory.open(directory)
    assert opened.supported == ["tg"]
    assert "label_stats.json" in str(opened.properties["eps"].reason)
    for call in (opened.property, opened.label_stats, opened.property_state_dict):
        with pytest.raises(CheckpointMissingError, match=r"label_stats\.json.*'eps'"):
            call("eps")


def test_statistics_added_later_count_without_a_new_index(directory: Path) -> None:
    stats = (directory / "label_stats.json").read_text()
    (directory / "label_stats.json").write_text("{}")
    write_index(directory)
    assert ArtifactDirectory.open(directory).supported == []
    (directory / "label_stats.json").write_text(stats)
    assert ArtifactDirectory.open(directory).supported == ["eps", "tg"]


@pytest.mark.parametrize(
    "entry", ['{"mean": 1.0}', '{"mean": 1.0, "std": 0}', '{"mean": NaN, "std": 1}', "3", '{"mean": "1", "std": true}']
)
def test_statistics_that_cannot_be(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "label_stats.json"
    path.write_text(f'{{"eps": {entry}}}')
    with pytest.raises(ModelLoadError, match="eps"):
        read_label_stats(path)


def test_unknown_property_lists_the_supported_ones() -> None:
    with pytest.raises(UnsupportedPropertyError) as caught:
        ArtifactDirectory.open(GOLDEN).property("nonsense")
    assert caught.value.details["supported"] == ["eps", "tg"]


def test_an_id_outside_the_table_is_served_under_its_own_name(directory: Path) -> None:
    (directory / "finetuned_ckpt" / "eps").rename(directory / "finetuned_ckpt" / "zeta")
    (directory / "label_stats.json").write_text('{"zeta": {"mean": 0, "std": 1}}')
    info = ArtifactDirectory.open(directory).property("zeta")
    assert (info.label, info.units) == ("zeta", "")
    assert "zeta" not in PROPERTIES


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


def test_a_head_in_the_encoders_place_is_refused(directory: Path) -> None:
    shutil.copy(directory / HEAD, directory / ENCODER)
    with pytest.raises(ModelLoadError, match=r"base\.pth.*'common'"):
        ArtifactDirectory.open(directory)


def test_a_head_of_another_width_is_not_served(directory: Path) -> None:
    state = torch.load(GOLDEN / HEAD, weights_only=True)
    state["node_emb.in_proj.weight"] = torch.zeros(96, 138)
    state["predictor.0.weight"] = torch.zeros(256, 288)
    torch.save(state, directory / HEAD)
    info = ArtifactDirectory.open(directory).properties["eps"]
    assert not info.supported
    assert "96" in str(info.reason)


def test_safetensors_are_preferred_and_equal(directory: Path) -> None:
    state = read_state_dict(directory / HEAD)
    save_file(state, directory / "finetuned_ckpt" / "eps" / "best_model.safetensors")
    opened = ArtifactDirectory.open(directory)
    assert opened.property("eps").checkpoint.endswith(".safetensors")
    loaded = opened.property_state_dict("eps")
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert take_inventory(directory).unused == (HEAD,)


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


def test_a_size_other_than_recorded(directory: Path) -> None:
    write_json_atomically(directory / "manifest.json", {"files": {HEAD: {"size": 12, "sha256": "0"}}})
    opened = ArtifactDirectory.open(directory)
    with pytest.raises(ChecksumMismatchError, match="1268672 bytes"):
        opened.property_state_dict("eps")
    assert opened.property_state_dict("tg")


def test_another_hash_than_recorded_is_found_on_request(directory: Path) -> None:
    size = (directory / HEAD).stat().st_size
    write_json_atomically(directory / "manifest.json", {"files": {HEAD: {"size": size, "sha256": "0"}}})
    assert ArtifactDirectory.open(directory).property_state_dict("eps")
    with pytest.raises(ChecksumMismatchError, match="SHA-256"):
        ArtifactDirectory.open(directory, verify_hashes=True).property_state_dict("eps")


class Payload:
    """Pickles to a call that writes a canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "descriptor_scaler.pkl"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "canary"), protocol=protocol))
    with pytest.raises(ModelLoadError, match=r"(posix|os)\.system"):
        read_scaler(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_weights_that_run_a_command_are_refused(directory: Path) -> None:
    state = torch.load(directory / HEAD, weights_only=True)
    state["extra"] = Payload(directory / "canary")
    torch.save(state, directory / HEAD)
    for call in (read_shapes, read_state_dict, lambda _path: ArtifactDirectory.open(directory)):
        with pytest.raises(ModelLoadError, match=r"system"):
            call(directory / HEAD)
    assert not (directory / "canary").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"csklearn.utils\nBunch\n.",
        b"\x80\x05",
    ],
)
def test_other_names_and_malformed_pickles_are_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "split.pkl"
    path.write_bytes(text)
    with pytest.raises(ModelLoadError, match=r"split\.pkl"):
        load_split(path)


def test_a_pickle_cannot_alter_the_unpickler(tmp_path: Path) -> None:
    path = tmp_path / "split.pkl"
    # BUILD on the global itself, which would set attributes of whatever find_class returned.
    path.write_bytes(b"c_codecs\nencode\nN}V__name__\nVchanged\ns\x86b.")
    with pytest.raises(ModelLoadError):
        load_split(path)
    good = [np.arange(3), np.arange(3, 5), np.arange(5, 9)]
    path.write_bytes(pickle.dumps(good, protocol=2))
    assert load_split(path) == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("as_array", [True, False])
def test_splits_of_every_protocol(tmp_path: Path, protocol: int, as_array: bool) -> None:
    parts = [[4, 1, 2], [0], [3, 5]]
    path = tmp_path / "split.pkl"
    path.write_bytes(pickle.dumps([np.array(part) if as_array else part for part in parts], protocol=protocol))
    assert load_split(path) == parts


def test_scaler_from_pickle_equals_the_arrays(directory: Path) -> None:
    (directory / "descriptor_scaler.npz").rename(directory / "kept.npz")
    from_pickle = read_scaler(directory)
    with np.load(directory / "kept.npz") as arrays:
        np.testing.assert_array_equal(from_pickle.mean, arrays["mean"])
        np.testing.assert_array_equal(from_pickle.scale, arrays["scale"])
    assert from_pickle.mean.dtype == np.float64


def test_scaler_of_an_old_sklearn_and_numpy(tmp_path: Path) -> None:
    content = (GOLDEN / "descriptor_scaler.pkl").read_bytes()
    plain = load_plain_pickle(GOLDEN / "descriptor_scaler.pkl")
    assert isinstance(plain, PickledObject)
    assert b"numpy.core.multiarray" in content
    path = tmp_path / "scaler.pkl"
    # Names of the same length, so that the pickle's length bytes stay right.
    old, new = b"\x8c\x1bsklearn.preprocessing._data", b"\x8c\x1asklearn.preprocessing.data"
    assert old in content
    unframed = content[:2] + content[11:]
    path.write_bytes(unframed.replace(old, new))
    np.testing.assert_array_equal(load_scaler_arrays(path)[0], plain.state["mean_"])


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.zeros(1613)},
        {"mean": np.zeros(1612), "scale": np.ones(1612)},
        {"mean": np.zeros(1613), "scale": np.zeros(1613)},
        {"mean": np.full(1613, np.nan), "scale": np.ones(1613)},
        {"mean": np.array([Ellipsis] * 1613, dtype=object), "scale": np.ones(1613)},
    ],
)
def test_a_scaler_that_cannot_be(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "descriptor_scaler.npz", **arrays)
    with pytest.raises(ModelLoadError, match=r"descriptor_scaler\.npz"):
        read_scaler(tmp_path)


def test_a_damaged_scaler_file(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04rubbish", b"rubbish"):
        (tmp_path / "descriptor_scaler.npz").write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"descriptor_scaler\.npz"):
            read_scaler(tmp_path)


def test_model_card(directory: Path) -> None:
    (directory / "model_card.json").write_text('{"name": "compact"}')
    opened = ArtifactDirectory.open(directory)
    assert opened.name == "compact"
    assert opened.model_card == {"name": "compact"}
    (directory / "model_card.json").write_text("not json")
    with pytest.raises(ModelLoadError, match=r"model_card\.json"):
        ArtifactDirectory.open(directory)


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_json_atomically(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json_atomically(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_two_pickles_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO((GOLDEN / HEAD).read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    (tmp_path / "eps.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ModelLoadError):
        read_shapes(tmp_path / "eps.pth")
