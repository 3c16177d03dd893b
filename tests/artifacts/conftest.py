"""Fixtures of the tests of artifacts."""

import shutil
from pathlib import Path

import pytest

from support.artifact_files import GOLDEN


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A writable copy of the golden artifacts."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "artifacts"))
