"""Finetuned properties beside the published ones, and packages as files."""

import errno
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.package_archive import export_package, import_package, remove_package
from periogt_ray.artifacts.packages import PACKAGE_NAME, check_id, find_packages, read_package
from periogt_ray.errors import ModelLoadError, UnsupportedPropertyError, ValidationError
from periogt_ray.predict import PerioGT
from periogt_ray.settings import Settings
from support.golden import ARTIFACTS
from support.packages import FACTOR, write_small_package


def opened(models: Path) -> ArtifactDirectory:
    return ArtifactDirectory.open(ARTIFACTS).with_packages(models)


def test_a_package_is_served_beside_the_published_properties(tmp_path: Path) -> None:
    write_small_package(tmp_path)
    artifacts = opened(tmp_path)
    assert "my_eps" in artifacts.supported
    info = artifacts.property("my_eps")
    assert (info.label, info.units) == ("My constant", "eV")
    assert info.checkpoint == "models/my_eps/finetuned_ckpt/my_eps/member_0.safetensors"
    card = next(card for card in read_card(artifacts).properties if card.id == "my_eps")
    assert card.test is not None
    assert (card.test.r2, card.n_train) == (0.5, 40)


def test_its_values_are_those_of_its_networks(tmp_path: Path) -> None:
    write_small_package(tmp_path / "models")
    settings = Settings.from_env(
        {"PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_MODELS": str(tmp_path / "models"), "PERIOGT_DEVICE": "cpu"}
    )
    outcomes = PerioGT.of_settings(settings).outcomes("*CC(*)c1ccccc1", ["eps", "my_eps"])
    assert outcomes["my_eps"].value == pytest.approx(FACTOR * (outcomes["eps"].value or 0), rel=1e-6)
    assert outcomes["my_eps"].units == "eV"


def test_a_package_of_another_encoder_is_listed_with_the_reason(tmp_path: Path) -> None:
    write_small_package(tmp_path, encoder={"name": "Another model", "sha256": "f" * 64, "width": 48})
    artifacts = opened(tmp_path)
    assert "my_eps" not in artifacts.supported
    with pytest.raises(UnsupportedPropertyError, match="encoder of Another model"):
        artifacts.property("my_eps")


def test_a_property_that_is_served_already_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_small_package(tmp_path, "eps")
    artifacts = opened(tmp_path)
    assert artifacts.packages == {}
    assert "eps" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:100],
        lambda text: text.replace('"version": 1', '"version": 9'),
        lambda text: text.replace("finetuned_ckpt/my_eps/member_0", "../my_eps/member_0"),
        lambda text: text.replace('"id": "my_eps"', '"id": "../x"'),
        lambda text: text.replace('"scheme": "', '"scheme": "no-'),
        lambda text: text.replace(text, "[]"),
    ],
)
def test_a_damaged_package_is_left_out_and_the_others_are_served(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = write_small_package(tmp_path)
    write_small_package(tmp_path, "other")
    path = bad.root / PACKAGE_NAME
    path.write_text(damage(path.read_text()))
    assert list(opened(tmp_path).packages) == ["other"]
    assert "left out" in caplog.text


def test_an_unfinished_package_is_none(tmp_path: Path) -> None:
    package = write_small_package(tmp_path)
    (package.root / PACKAGE_NAME).unlink()
    assert list(find_packages(tmp_path)) == []
    assert list(find_packages(tmp_path / "absent")) == []


def test_changed_files_are_told(tmp_path: Path) -> None:
    package = write_small_package(tmp_path)
    assert package.problems() == []
    with (package.root / "rows.csv").open("a") as file:
        file.write("x")
    assert package.problems() == ["rows.csv: 20 bytes"]
    with pytest.raises(ModelLoadError, match="changed"):
        export_package(package, tmp_path / "file.zip")


@pytest.mark.parametrize("text", ["all", "tm", "My", "a b", "", "../x", "x" * 65, "a,b"])
def test_ids_have_few_characters(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be the id"):
        check_id(text)


def exported(tmp_path: Path) -> Path:
    target = tmp_path / "my_eps.periogt.zip"
    export_package(write_small_package(tmp_path / "from"), target)
    return target


def test_a_package_travels_as_one_file_without_rows(tmp_path: Path) -> None:
    source = exported(tmp_path)
    package = import_package(source, tmp_path / "to")
    assert package.problems() == []
    assert "my_eps" in opened(tmp_path / "to").supported
    assert not (package.root / "rows.csv").exists()
    again = tmp_path / "again.zip"
    export_package(package, again)
    assert again.read_bytes() == source.read_bytes()
    with pytest.raises(ValidationError, match="exists"):
        import_package(source, tmp_path / "to")
    remove_package(package)
    assert list((tmp_path / "to").iterdir()) == []


def rewritten(source: Path, change: Any) -> None:
    """Write an archive anew from its entries, changed by a function."""
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    changed = change(entries) or list(entries.items())
    with zipfile.ZipFile(source, "w") as archive:
        for info, content in changed:
            archive.writestr(info, content)


def listing(entries: dict[str, bytes], name: str, content: bytes) -> None:
    """Put a file into the archive and into its list."""
    from hashlib import sha256

    document = json.loads(entries[PACKAGE_NAME])
    document["files"][name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    entries[PACKAGE_NAME] = json.dumps(document).encode()
    entries[name] = content


def link(entries: dict[str, bytes]) -> list[tuple[Any, bytes]]:
    listing(entries, "link.csv", b"/etc/passwd")
    info = zipfile.ZipInfo("link.csv")
    info.external_attr = 0o120777 << 16
    return [(name, content) for name, content in entries.items() if name != "link.csv"] + [(info, b"/etc/passwd")]


def as_pickle(entries: dict[str, bytes]) -> None:
    listing(entries, "extra.pth", pickle.dumps({}))


def pickled_arrays(entries: dict[str, bytes]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, facts=np.array([{}], dtype=object))
    listing(entries, "finetuned_ckpt/my_eps/calibration.npz", buffer.getvalue())


def arrays_beyond_memory(entries: dict[str, bytes]) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("facts.npy", b"\x93NUMPY\x01\x00v\x00" + header)
    listing(entries, "finetuned_ckpt/my_eps/calibration.npz", buffer.getvalue())


def arrays_that_grow(entries: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("facts.npy", bytes(20_000_000))
    listing(entries, "finetuned_ckpt/my_eps/calibration.npz", buffer.getvalue())


def terminal_codes(entries: dict[str, bytes]) -> None:
    entries[PACKAGE_NAME] = entries[PACKAGE_NAME].replace(b"My constant", b"My\\u001b[2Jconstant")


def a_long_unit(entries: dict[str, bytes]) -> None:
    entries[PACKAGE_NAME] = entries[PACKAGE_NAME].replace(b'"eV"', b'"' + b"eV" * 1000 + b'"')


def with_damage(entries: dict[str, bytes]) -> None:
    name = "finetuned_ckpt/my_eps/member_1.safetensors"
    entries[name] = entries[name][:-1] + b"x"


def no_network(entries: dict[str, bytes]) -> None:
    listing(entries, "finetuned_ckpt/my_eps/member_0.safetensors", b"\x02\0\0\0\0\0\0\0{}")


def a_bomb(entries: dict[str, bytes]) -> None:
    listing(entries, "bomb.csv", b"0" * 10)
    entries["bomb.csv"] = b"0" * 10_000_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: listing(e, "../evil.csv", b"x"), "not a file that a package has|members"),
        (lambda e: listing(e, "/tmp/evil.csv", b"x"), "not a file that a package has"),
        (lambda e: listing(e, "a\\b.csv", b"x"), "not a file that a package has"),
        (lambda e: listing(e, "run.sh", b"x"), "not a file that a package has"),
        (lambda e: e.update({"unlisted.csv": b"x"}), "are not those"),
        (lambda e: e.pop("label_stats.json") and None, "are not those"),
        (lambda e: e.pop(PACKAGE_NAME) and None, PACKAGE_NAME),
        (lambda e: e.update({PACKAGE_NAME: b"{"}), "refused"),
        (lambda e: e.update({PACKAGE_NAME: b"[" * 100_000}), "refused"),
        (lambda e: e.update({PACKAGE_NAME: e[PACKAGE_NAME].replace(b"my_eps", b"../eps")}), "refused"),
        (link, "not a file that a package has"),
        (as_pickle, "not a file that a package has"),
        (pickled_arrays, "not a calibration"),
        (with_damage, "damaged"),
        (no_network, "not a finetuned network"),
        (a_bomb, "bytes"),
        (arrays_beyond_memory, "allocate"),
        (arrays_that_grow, "unpacks to far more"),
        (terminal_codes, "control characters"),
        (a_long_unit, "too long"),
    ],
)
def test_a_hostile_archive_installs_nothing(tmp_path: Path, change: Any, reason: str) -> None:
    source = exported(tmp_path)
    rewritten(source, change)
    with pytest.raises(ValidationError, match=reason):
        import_package(source, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
    assert not (tmp_path / "evil.csv").exists()


def test_an_archive_that_fills_the_disk_is_refused(tmp_path: Path) -> None:
    source = exported(tmp_path)
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    listing(entries, "zeros.csv", bytes(50_000_000))
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValidationError, match="unpacks to far more"):
        import_package(source, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_damaged_lzma_is_told(tmp_path: Path) -> None:
    source = exported(tmp_path)
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    content = bytearray(source.read_bytes())
    begin = content.find(b"label_stats.json") + len(b"label_stats.json")
    for place in (6, 10, 20):
        content[begin + place] ^= 0xFF
    source.write_bytes(content)
    with pytest.raises(ValidationError, match="refused"):
        import_package(source, tmp_path / "to")


def test_an_archive_with_a_published_id_is_refused(tmp_path: Path) -> None:
    export_package(write_small_package(tmp_path / "from", "tg"), tmp_path / "tg.zip")
    with pytest.raises(ValidationError, match="published property"):
        import_package(tmp_path / "tg.zip", tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"smiles,value\n", None])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes | None) -> None:
    source = tmp_path / "file.zip"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(ValidationError, match=r"refused|cannot be read"):
        import_package(source, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_archive_installs_nothing(tmp_path: Path, share: float) -> None:
    source = exported(tmp_path)
    content = source.read_bytes()
    source.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValidationError, match="refused"):
        import_package(source, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_the_name_of_an_archive_says_nothing(tmp_path: Path) -> None:
    renamed = exported(tmp_path).rename(tmp_path / "other.periogt.zip")
    assert import_package(renamed, tmp_path / "to").root.name == "my_eps"


def test_an_archive_of_a_served_property_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="serve themselves"):
        import_package(exported(tmp_path), tmp_path / "to", taken={"my_eps"})
    assert list((tmp_path / "to").iterdir()) == []


def test_an_import_that_another_one_overtakes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = exported(tmp_path)
    first = import_package(source, tmp_path / "to")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self != first.root and exists(self))
    with pytest.raises(ValidationError, match="exists"):
        import_package(source, tmp_path / "to")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["my_eps"]
    assert first.problems() == []


@pytest.mark.parametrize("models", ["/proc/models", "/dev/null/models"])
def test_models_that_cannot_be_written_are_told(tmp_path: Path, models: str) -> None:
    with pytest.raises(ValidationError, match="cannot be written"):
        import_package(exported(tmp_path), Path(models))


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "thesis.zip"
    target.write_text("mine")
    package = write_small_package(tmp_path / "from")
    with pytest.raises(ValidationError, match="exists"):
        export_package(package, target)
    assert target.read_text() == "mine"
    with pytest.raises(ValidationError, match="cannot be written"):
        export_package(package, tmp_path / "absent" / "my.zip")


def test_a_package_that_is_removed_while_packages_are_listed_is_none(tmp_path: Path) -> None:
    packages = {name: write_small_package(tmp_path, name) for name in ("my_a", "my_b")}
    found = find_packages(tmp_path)
    assert next(found).id == "my_a"
    remove_package(packages["my_b"])
    assert list(found) == []


def test_removing_a_link_to_a_package_leaves_the_package(tmp_path: Path) -> None:
    package = write_small_package(tmp_path / "shared")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my_eps").symlink_to(package.root)
    [linked] = find_packages(tmp_path / "models")
    remove_package(linked)
    assert list((tmp_path / "models").iterdir()) == []
    assert package.problems() == []


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The umask of a user who keeps nothing from others."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes_of(root: Path) -> tuple[set[int], set[int]]:
    """Return the permissions of all files and of all directories, ``root`` included."""
    paths = [root, *root.rglob("*")]
    return (
        {path.stat().st_mode & 0o777 for path in paths if path.is_file()},
        {path.stat().st_mode & 0o777 for path in paths if path.is_dir()},
    )


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize(("is_shared", "expected"), [(False, ({0o600}, {0o700})), (True, ({0o644}, {0o755}))])
def test_an_import_is_for_its_owner_unless_it_is_shared(
    tmp_path: Path, is_shared: bool, expected: tuple[set[int], set[int]]
) -> None:
    package = import_package(exported(tmp_path), tmp_path / "to", is_shared=is_shared)
    assert modes_of(package.root) == expected
    assert (tmp_path / "to").stat().st_mode & 0o777 == 0o755, "others may look for packages that are theirs"


@pytest.mark.usefixtures("open_umask")
def test_an_export_with_rows_is_for_its_owner(tmp_path: Path) -> None:
    package = write_small_package(tmp_path / "from")
    found = {}
    for name, has_rows in (("with.zip", True), ("without.zip", False)):
        export_package(package, tmp_path / name, has_rows=has_rows)
        found[name] = (tmp_path / name).stat().st_mode & 0o777
    assert found == {"with.zip": 0o600, "without.zip": 0o644}


def test_a_package_of_another_user_is_left_out_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers = write_small_package(tmp_path, "hers").root
    write_small_package(tmp_path, "mine")
    read_text = Path.read_text

    def refused(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.is_relative_to(hers):
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    assert list(opened(tmp_path).packages) == ["mine"]
    assert f"{hers} can be read by its owner only" in caplog.text
    assert "--shared" in caplog.text


def test_a_package_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = write_small_package(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ValidationError, match="cannot be removed: Read-only"):
        remove_package(package)
    assert read_package(package.root).id == "my_eps"
