"""Features on disk: equal to the bit, bounded, and of no harm when they are broken."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from periogt_ray.errors import SettingsError, ValidationError
from periogt_ray.polymer import feature_store
from periogt_ray.polymer.feature_store import FeatureFiles, featurized
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from support.golden import ARTIFACTS, golden_polymers

STYRENE = RepeatUnit.parse("*CC(*)c1ccccc1")
MONOMER = PromptScheme.MONOMER


def assert_equal(found: FeaturizedPolymer, expected: FeaturizedPolymer) -> None:
    assert (found.smiles, found.scheme, found.n_units) == (expected.smiles, expected.scheme, expected.n_units)
    assert list(found.oligomers) == list(expected.oligomers)
    pairs = list(zip(found.graphs, expected.graphs, strict=True))
    pairs += [(found.oligomers[n_units], expected.oligomers[n_units]) for n_units in expected.oligomers]
    for one, other in pairs:
        assert type(one) is type(other)
        for mine, theirs in zip(one, other, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_what_is_read_is_what_was_computed(tmp_path: Path, scheme: PromptScheme) -> None:
    for golden in golden_polymers()[::4]:
        unit = RepeatUnit.parse(golden.smiles)
        first, was_there = FeatureFiles(tmp_path, 1 << 30).featurize(unit, scheme, engine="native")
        assert not was_there
        again, was_there = FeatureFiles(tmp_path, 1 << 30).featurize(unit, scheme, engine="native")
        assert was_there
        assert_equal(again, first)
        assert_equal(again, featurize(unit, scheme))


def test_a_scheme_and_an_engine_have_files_of_their_own(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, 1 << 30)
    asked = [(MONOMER, "native"), (PromptScheme.RELEASE, "native"), (MONOMER, "mordred")]
    for scheme, engine in asked:
        assert not files.featurize(STYRENE, scheme, engine=engine)[1]  # type: ignore[arg-type]
    assert len(files_of(tmp_path)) == len(asked)


def test_a_polymer_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        FeatureFiles(tmp_path, 1 << 30).featurize(RepeatUnit.parse("*" + "C" * 900 + "*"), MONOMER, engine="native")
    assert not files_of(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another"])
def test_a_broken_file_is_computed_again(tmp_path: Path, damage: str) -> None:
    files = FeatureFiles(tmp_path, 1 << 30)
    expected, _ = files.featurize(STYRENE, MONOMER, engine="native")
    [path] = files_of(tmp_path)
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "another":
        files.featurize(RepeatUnit.parse("*CC*"), MONOMER, engine="native")
        [other] = [one for one in files_of(tmp_path) if one != path]
        broken = other.read_bytes()
    else:
        broken = {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
            "empty": b"",
        }[damage]
    path.write_bytes(broken)
    found, was_there = files.featurize(STYRENE, MONOMER, engine="native")
    assert not was_there
    assert_equal(found, expected)
    assert files.featurize(STYRENE, MONOMER, engine="native")[1], "the file is whole again"


def test_the_least_recently_used_go(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, 100_000)
    first = RepeatUnit.parse("*CC*")
    files.featurize(first, MONOMER, engine="native")
    [kept] = files_of(tmp_path)
    for length in range(3, 60):
        now_s = 1e9 + length
        for path in files_of(tmp_path):
            if path.stat().st_mtime > 1.5e9:  # just written
                os.utime(path, (now_s, now_s))
        assert files.featurize(first, MONOMER, engine="native")[1], "used all the time"
        assert kept.stat().st_mtime > 1.5e9
        files.featurize(RepeatUnit.parse("*" + "C" * length + "*"), MONOMER, engine="native")
        largest = max(path.stat().st_size for path in files_of(tmp_path))
        assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 1.01 * 100_000 + largest
    assert not files.featurize(RepeatUnit.parse("*CCC*"), MONOMER, engine="native")[1], "of long ago"


def test_several_at_once_agree(tmp_path: Path) -> None:
    found: list[FeaturizedPolymer] = []

    def work() -> None:
        found.extend(FeatureFiles(tmp_path, 1000).featurize(STYRENE, MONOMER, engine="native")[0] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for polymer in found[1:]:
        assert_equal(polymer, found[0])


def test_a_directory_that_cannot_be_written_costs_no_prediction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = FeatureFiles(tmp_path / "a file", 1 << 30)
    (tmp_path / "a file").touch()
    for _ in range(2):
        assert_equal(files.featurize(STYRENE, MONOMER, engine="native")[0], featurize(STYRENE, MONOMER))
    assert sum("not kept" in record.message for record in caplog.records) == 1


def test_settings_name_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "features"
    directory.mkdir(mode=0o700)
    given = {"HOME": str(tmp_path), "PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_FEATURE_STORE": str(directory)}
    settings = Settings.from_env({**given, "PERIOGT_FEATURE_STORE_GB": "0.5"})
    assert (settings.feature_store, settings.feature_store_bytes) == (directory, 1 << 29)
    assert not featurized(STYRENE, MONOMER, settings)[1]
    monkeypatch.setattr(feature_store, "featurize", None)
    assert featurized(STYRENE, MONOMER, settings)[1]
    with pytest.raises(TypeError):
        featurized(STYRENE, MONOMER, replace(settings, feature_store=None))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(SettingsError, match=r"mkdir -m 700"):
        Settings.from_env({"HOME": str(tmp_path), "PERIOGT_FEATURE_STORE": str(directory)})
