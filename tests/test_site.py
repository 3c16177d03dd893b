"""The site is made of the documents, without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.documents import DOCUMENTS, ROOT

pytestmark = pytest.mark.slow


def test_the_site_is_built_without_a_warning_and_has_every_document(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for document in DOCUMENTS:
        name = document.relative_to(ROOT)
        page = name.parent if name.name == "README.md" else name.with_suffix("")
        assert (tmp_path / "site" / page / "index.html").is_file(), name
    reference = (tmp_path / "site" / "docs" / "api" / "index.html").read_text(encoding="utf-8")
    assert "patience_s" in reference, "docstrings are in the reference"
    for html in (tmp_path / "site").rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        assert "fonts.googleapis" not in text, "nothing is loaded from elsewhere"
