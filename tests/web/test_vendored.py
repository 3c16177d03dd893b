"""Scripts of others are what they say they are, and nothing is loaded from elsewhere."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from periogt_ray.serve.http.page import WEB

HERE = Path(__file__).parent
FOLDERS = [WEB / "vendor", HERE / "vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=["page", "tests"])
def test_vendored_files_are_those_of_the_named_version(folder: Path) -> None:
    entries = json.loads((folder / "versions.json").read_text())
    assert {entry["name"] for entry in entries} == {path.name for path in folder.iterdir() if path.is_dir()}
    for entry in entries:
        found = {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / entry["name"]).iterdir()}
        assert found == entry["files"]
        assert "LICENSE" in found
        assert entry["version"] in entry["source"]
        assert entry["license"] in ("MIT", "MPL-2.0")


def test_no_address_leads_elsewhere_and_none_is_absolute() -> None:
    own = [path for path in WEB.rglob("*") if path.suffix in (".html", ".js", ".css") and "vendor" not in path.parts]
    assert len(own) > 10
    for path in own:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in re.sub(r"https and localhost|HTTP,", "", text), path
        assert not re.search(r"""(?:href|src|action)=["']/""", text), path


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_there_is_no_inline_script_or_style(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_values_never_become_markup() -> None:
    for path in WEB.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
