"""Members: found, indexed, and refused where their average would not be that of the training."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.artifacts.inventory import file_property_id, take_inventory
from periogt_ray.artifacts.members import member_path
from periogt_ray.artifacts.weight_files import read_state_dict
from periogt_ray.errors import CheckpointMissingError, UnsupportedPropertyError
from periogt_ray.runtime.files import write_json_atomically
from support.artifact_files import HEAD


@pytest.fixture
def members(directory: Path) -> list[Path]:
    """Three members of eps in a copy of the golden artifacts, beside the single form."""
    paths = [directory / member_path("eps", number) for number in range(3)]
    state = read_state_dict(directory / HEAD)
    for number, path in enumerate(paths):
        save_file({key: tensor + 0.01 * number for key, tensor in state.items()}, path)
    return paths


def test_a_member_stands_for_its_directorys_property() -> None:
    assert file_property_id(member_path("eps", 0)) == "eps"
    assert file_property_id("member_0.safetensors") is None


@pytest.mark.usefixtures("members")
def test_members_are_one_property_and_come_before_the_single_form(directory: Path) -> None:
    info = ArtifactDirectory.open(directory).property("eps")
    assert info.members == tuple(member_path("eps", number) for number in range(3))
    assert info.checkpoint == info.members[0]
    assert take_inventory(directory).unused == (HEAD,)


def test_the_index_holds_members_and_misses_them(directory: Path, members: list[Path]) -> None:
    document = write_index(directory)
    assert document["properties"]["eps"]["members"] == [member_path("eps", number) for number in range(3)]
    assert "members" not in document["properties"]["tg"]
    for path in members:
        path.write_bytes(b"")  # the index alone is read
    assert len(ArtifactDirectory.open(directory).property("eps").members) == 3
    members[2].unlink()
    with pytest.raises(CheckpointMissingError, match="member_2"):
        ArtifactDirectory.open(directory)


@pytest.mark.usefixtures("members")
def test_an_index_whose_members_leave_the_directory_is_not_used(directory: Path) -> None:
    document = write_index(directory)
    document["properties"]["eps"]["members"][1] = "../elsewhere/member_1.safetensors"
    write_json_atomically(directory / "index.json", document)
    assert ArtifactDirectory.open(directory).property("eps").members[1] == member_path("eps", 1)


def test_a_gap_is_refused_with_the_number_that_is_missing(directory: Path, members: list[Path]) -> None:
    (directory / HEAD).unlink()
    members[1].unlink()
    with pytest.raises(UnsupportedPropertyError, match="member_1 is missing"):
        ArtifactDirectory.open(directory).property("eps")


def test_a_member_of_another_size_is_refused(directory: Path, members: list[Path]) -> None:
    (directory / HEAD).unlink()
    state = read_state_dict(members[1])
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("model.mol_T_layers.2.")}
    assert len(kept) < len(state)
    save_file(kept, members[1])
    with pytest.raises(UnsupportedPropertyError, match=r"member_1\.safetensors holds another network"):
        ArtifactDirectory.open(directory).property("eps")


@pytest.mark.usefixtures("members")
def test_each_members_tensors_are_read(directory: Path) -> None:
    opened = ArtifactDirectory.open(directory)
    bias = [float(opened.property_state_dict("eps", member=number)["predictor.3.bias"][0]) for number in range(3)]
    assert bias == pytest.approx([bias[0], bias[0] + 0.01, bias[0] + 0.02], abs=1e-6)


def test_without_the_directory_form_nothing_changes(directory: Path) -> None:
    shutil.rmtree(directory / "finetuned_ckpt" / "tg")
    info = ArtifactDirectory.open(directory).property("eps")
    assert (info.checkpoint, info.members, info.weight_paths) == (HEAD, (), (HEAD,))
