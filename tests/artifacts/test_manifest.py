"""Files held against what setup recorded."""

from pathlib import Path

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.manifest import hash_of
from periogt_ray.errors import ChecksumMismatchError, ModelLoadError
from periogt_ray.runtime.files import write_json_atomically
from support.artifact_files import HEAD


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


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"{tmp_path} cannot be read: Is a directory. Ask its owner"):
        hash_of(tmp_path)
