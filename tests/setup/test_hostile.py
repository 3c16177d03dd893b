"""Archives and checkpoints made to harm: refused with the right code, nothing executed, nothing outside written."""

import dataclasses
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from periogt_ray.artifacts.weight_files import read_state_dict
from periogt_ray.errors import ModelLoadError, PerioGTError
from periogt_ray.setup.archives import extract_weights
from periogt_ray.setup.convert import Conversion
from periogt_ray.setup.published import PublishedFile
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from support.published_site import (
    ENCODER,
    HEADS,
    LAYOUTS,
    Behaviour,
    Site,
    convert_here,
    golden_files,
    snapshot,
    zip_bytes,
)

HEAD_MEMBER = "finetuned_ckpt/eps/best_model.pth"
CANARY = Path("canary")


class Payload:
    """Pickles to a call that makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def heads() -> dict[str, bytes]:
    """Members of a good archive of heads."""
    return {LAYOUTS["directories"][1].format(name): path.read_bytes() for name, path in HEADS.items()}


def saved(state: object, *, zipped: bool = True) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def with_link(folder: Path) -> bytes:
    """A good archive with a link to a file outside, and a file written through it."""
    buffer = io.BytesIO(zip_bytes(heads()))
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("finetuned_ckpt/tm")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(folder))
        archive.writestr("finetuned_ckpt/tm/best_model.pth", HEADS["eps"].read_bytes())
    return buffer.getvalue()


def path_escape(_folder: Path) -> bytes:
    """A member above the root."""
    return zip_bytes(heads() | {"../escaped.pth": HEADS["eps"].read_bytes()})


def absolute_path(folder: Path) -> bytes:
    """A member with an absolute path."""
    return zip_bytes(heads() | {f"{folder}/escaped.pth": HEADS["eps"].read_bytes()})


def backslashes(_folder: Path) -> bytes:
    """A member above the root, as Windows writes it."""
    return zip_bytes(heads() | {"finetuned_ckpt\\..\\..\\..\\escaped.pth": HEADS["eps"].read_bytes()})


def bomb(_folder: Path) -> bytes:
    """64 MB in 64 kB."""
    return zip_bytes({"finetuned_ckpt/eps/best_model.pth": bytes(64 * 2**20)})


def bomb_that_lies(_folder: Path) -> bytes:
    """The same, declared as 1 kB."""
    content = bomb(_folder)
    return content.replace(struct.pack("<L", 64 * 2**20), struct.pack("<L", 1024))


def pickle_payload(folder: Path) -> bytes:
    """A checkpoint that runs a command when it is unpickled."""
    state = dict(torch.load(HEADS["eps"], weights_only=True))
    state["extra"] = Payload(folder / CANARY)
    return zip_bytes(heads() | {HEAD_MEMBER: saved(state)})


def old_pickle_payload(folder: Path) -> bytes:
    """The same in the format of old versions of torch, which is a bare pickle."""
    return zip_bytes(heads() | {HEAD_MEMBER: saved({"a": Payload(folder / CANARY)}, zipped=False)})


def bare_pickle_payload(folder: Path) -> bytes:
    """Any pickle under a checkpoint's name."""
    return zip_bytes(heads() | {HEAD_MEMBER: pickle.dumps(Payload(folder / CANARY))})


def encoder_as_head(_folder: Path) -> bytes:
    """The encoder under a property's name."""
    return zip_bytes(heads() | {HEAD_MEMBER: ENCODER.read_bytes()})


def checkpoint_bit_flip(_folder: Path) -> bytes:
    """A good archive of a checkpoint with one flipped bit among its weights."""
    content = bytearray(HEADS["eps"].read_bytes())
    content[len(content) // 2] ^= 4
    return zip_bytes(heads() | {HEAD_MEMBER: bytes(content)})


def no_archive(_folder: Path) -> bytes:
    """A page of HTML, as portals send it."""
    return b"<html>log in</html>"


def two_of_a_name(_folder: Path) -> bytes:
    """One name, two contents."""
    buffer = io.BytesIO(zip_bytes(heads()))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr(HEAD_MEMBER, b"other")
    return buffer.getvalue()


def no_heads(_folder: Path) -> bytes:
    """Nothing of use."""
    return zip_bytes({"README.md": b"weights"})


HOSTILE = [
    path_escape,
    absolute_path,
    backslashes,
    with_link,
    bomb,
    bomb_that_lies,
    pickle_payload,
    old_pickle_payload,
    bare_pickle_payload,
    encoder_as_head,
    checkpoint_bit_flip,
    no_archive,
    two_of_a_name,
    no_heads,
]


def outside_of(directory: Path, folder: Path) -> set[Path]:
    """Everything in a folder but a directory and what is in it."""
    return {path for path in folder.rglob("*") if directory not in (path, *path.parents)}


def assert_refused(options: SetupOptions, folder: Path, code: str) -> PerioGTError:
    """Setup fails with this code, leaves no marker, and nothing outside its directory."""
    outside = outside_of(options.directory, folder)
    with pytest.raises(PerioGTError) as caught:
        run_setup(options)
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    assert not (folder / CANARY).exists()
    assert not (options.directory / ".ready").exists()
    assert not list(options.directory.glob("finetuned_ckpt/**/*.safetensors"))
    assert not list(options.directory.rglob("*escaped*"))
    assert outside_of(options.directory, folder) == outside
    return caught.value


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_archive_is_refused(
    make: Callable[[Path], bytes],
    options: SetupOptions,
    publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]],
    tmp_path: Path,
    finished: dict[str, str],
) -> None:
    """The archive is the published one by its hash; its content is judged all the same."""
    files = golden_files() | {"finetuned_ckpt.zip": make(tmp_path)}
    error = assert_refused(dataclasses.replace(options, files=publish(files)), tmp_path, "model_load_failed")
    assert "finetuned_ckpt.zip" in error.message
    # With the right archive in its place the same directory completes.
    run_setup(dataclasses.replace(options, files=publish(golden_files())))
    assert snapshot(options.directory) == finished


@pytest.mark.parametrize("make", [path_escape, with_link, bomb, two_of_a_name])
def test_an_archive_is_judged_before_its_first_file_is_written(make: Callable[[Path], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make(tmp_path))
    with pytest.raises(ModelLoadError, match=r"a\.zip"):
        extract_weights(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


def truncated(content: bytes) -> bytes:
    """Two thirds of a file."""
    return content[: len(content) * 2 // 3]


def bit_flipped(content: bytes) -> bytes:
    """One bit of a file changed."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("damage", [truncated, bit_flipped])
@pytest.mark.parametrize("name", ["pretrained_ckpt.zip", "finetuned_ckpt.zip", "scaler_all.pkl", "eps/split.pkl"])
def test_a_damaged_file_is_refused_by_its_hash(
    name: str,
    damage: Callable[[bytes], bytes],
    options: SetupOptions,
    site: Site,
    tmp_path: Path,
    finished: dict[str, str],
) -> None:
    good = golden_files()[name]
    site.behaviours[f"/files/{name}"] = Behaviour(damage(good))
    error = assert_refused(options, tmp_path, "checksum_mismatch")
    assert name in error.message
    site.behaviours[f"/files/{name}"] = Behaviour(good)
    run_setup(options)
    assert snapshot(options.directory) == finished


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_head_in_the_place_of_the_encoder_is_refused(
    layout: str,
    options: SetupOptions,
    publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]],
    tmp_path: Path,
) -> None:
    files = golden_files(layout)
    files["pretrained_ckpt.zip"] = zip_bytes({LAYOUTS[layout][0]: HEADS["eps"].read_bytes()})
    error = assert_refused(dataclasses.replace(options, files=publish(files)), tmp_path, "model_load_failed")
    assert "pretrained encoder" in error.message
    assert "common" in error.message


@pytest.mark.parametrize("name", ["scaler_all.pkl", "eps/split.pkl"])
def test_a_published_pickle_with_a_payload_is_refused(
    name: str,
    options: SetupOptions,
    publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]],
    tmp_path: Path,
) -> None:
    files = golden_files() | {name: pickle.dumps(Payload(tmp_path / CANARY))}
    error = assert_refused(dataclasses.replace(options, files=publish(files)), tmp_path, "model_load_failed")
    assert "system" in error.message


def test_hand_placed_weights_with_a_payload_are_refused(options: SetupOptions, tmp_path: Path) -> None:
    path = options.directory / HEAD_MEMBER
    path.parent.mkdir(parents=True)
    path.write_bytes(saved({"a": Payload(tmp_path / CANARY)}))
    assert_refused(dataclasses.replace(options, skip_download=True), tmp_path, "model_load_failed")
    assert path.exists()


def test_a_checkpoint_that_unpacks_to_far_more_than_its_size(tmp_path: Path) -> None:
    state = read_state_dict(HEADS["eps"])
    state["predictor.0.weight"] = torch.zeros(256, 144 * 100)
    with zipfile.ZipFile(io.BytesIO(saved(state))) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    (tmp_path / "eps.pth").write_bytes(zip_bytes(members))
    with pytest.raises(ModelLoadError, match="far more than its size"):
        convert_here([Conversion(tmp_path / "eps.pth", tmp_path / "eps.safetensors")], done=lambda _job: None)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"eps.pth": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ModelLoadError, match="encrypted"):
        extract_weights(tmp_path / "a.zip", tmp_path / "out")
