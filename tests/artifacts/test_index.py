"""index.json: relative, read back, and ignored where it is another machine's."""

import json
from pathlib import Path

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.errors import CheckpointMissingError, ModelLoadError
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import write_json_atomically
from support.artifact_files import GOLDEN, HEAD


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
    with pytest.raises(ModelLoadError, match=r"index\.json.*'eps'.*'dimer'; expected release, .*mirror-invariant"):
        ArtifactDirectory.open(directory)


def test_with_an_index_no_weight_file_is_touched_on_opening(directory: Path) -> None:
    write_index(directory)
    (directory / HEAD).write_bytes(b"rubbish")
    opened = ArtifactDirectory.open(directory)
    assert opened.supported == ["eps", "tg"]
    with pytest.raises(ModelLoadError, match=r"best_model\.pth"):
        opened.property_state_dict("eps")


def test_a_file_that_the_index_lists_and_is_gone_is_named(directory: Path) -> None:
    write_index(directory)
    (directory / HEAD).unlink()
    with pytest.raises(CheckpointMissingError, match=HEAD):
        ArtifactDirectory.open(directory)


def test_statistics_added_later_count_without_a_new_index(directory: Path) -> None:
    stats = (directory / "label_stats.json").read_text()
    (directory / "label_stats.json").write_text("{}")
    write_index(directory)
    assert ArtifactDirectory.open(directory).supported == []
    (directory / "label_stats.json").write_text(stats)
    assert ArtifactDirectory.open(directory).supported == ["eps", "tg"]


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_json_atomically(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json_atomically(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
