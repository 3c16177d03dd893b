"""Features on disk: equal to the bit, bounded, and of no harm when they are broken."""

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from periogt_ray.errors import SettingsError, ValidationError
from periogt_ray.polymer import feature_store
from periogt_ray.polymer.dimensions import FEATURE_VERSION
from periogt_ray.polymer.feature_store import FeatureStore, featurized, older_features
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.segments import segments_in
from periogt_ray.settings import Settings
from support.golden import ARTIFACTS, golden_polymers
from support.graphs import assert_equal_features

STYRENE = RepeatUnit.parse("*CC(*)c1ccccc1")
MONOMER = PromptScheme.MONOMER


def segments_of(store: Path) -> list[Path]:
    return sorted(one.path for directory in store.glob("segments/*") for one in segments_in(directory))


def chain(length: int) -> RepeatUnit:
    return RepeatUnit.parse(f"*{'C' * length}*")


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_what_is_read_is_what_was_computed(tmp_path: Path, scheme: PromptScheme) -> None:
    for golden in golden_polymers()[::8]:
        unit = RepeatUnit.parse(golden.smiles)
        first, was_there = FeatureStore(tmp_path, 1 << 30).featurize(unit, scheme, engine="native")
        assert not was_there
        again, was_there = FeatureStore(tmp_path, 1 << 30).featurize(unit, scheme, engine="native")
        assert was_there
        assert_equal_features(again, first)
        assert_equal_features(again, featurize(unit, scheme))


def test_a_scheme_and_an_engine_have_entries_of_their_own(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1 << 30)
    asked = [(MONOMER, "native"), (PromptScheme.RELEASE, "native"), (MONOMER, "mordred")]
    for scheme, engine in asked:
        assert not store.has(STYRENE, scheme, engine=engine)  # type: ignore[arg-type]
        assert not store.featurize(STYRENE, scheme, engine=engine)[1]  # type: ignore[arg-type]
        assert store.has(STYRENE, scheme, engine=engine)  # type: ignore[arg-type]
    assert store.facts(engine="native").n_entries == 2
    assert store.facts(engine="mordred").n_entries == 1


def test_many_polymers_are_in_few_files(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1 << 30)
    for length in range(2, 42):
        store.featurize(chain(length), MONOMER, engine="native")
    facts = store.facts(engine="native")
    assert (facts.n_entries, facts.n_files) == (40, 1)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    store.close()
    assert FeatureStore(tmp_path, 1 << 30).facts(engine="native").n_entries == 40


def test_a_polymer_that_is_refused_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        FeatureStore(tmp_path, 1 << 30).featurize(RepeatUnit.parse("*" + "C" * 900 + "*"), MONOMER, engine="native")
    assert not segments_of(tmp_path)


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "open"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_broken_entry_is_computed_again(tmp_path: Path, damage: str, is_sealed: bool) -> None:
    store = FeatureStore(tmp_path, 1 << 30)
    expected, _ = store.featurize(STYRENE, MONOMER, engine="native")
    if is_sealed:
        store.close()
    [path] = segments_of(tmp_path)
    content = path.read_bytes()
    place = 1000
    path.write_bytes(
        {
            "cut": content[:place],
            "flipped": content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :],
            "empty": b"",
        }[damage]
    )
    store = FeatureStore(tmp_path, 1 << 30)
    found, was_there = store.featurize(STYRENE, MONOMER, engine="native")
    assert not was_there
    assert_equal_features(found, expected)
    assert store.featurize(STYRENE, MONOMER, engine="native")[1], "there is a whole entry again"


def test_another_process_s_entries_are_seen_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = FeatureStore(tmp_path, 1 << 30), FeatureStore(tmp_path, 1 << 30)
    now_s = time.monotonic()
    for length in (4, 5, 6):
        assert not reader.has(chain(length), MONOMER, engine="native")
        writer.featurize(chain(length), MONOMER, engine="native")
        now_s += 60
        monkeypatch.setattr(time, "monotonic", lambda value=now_s: value)
        assert reader.has(chain(length), MONOMER, engine="native")
        assert reader.featurize(chain(length), MONOMER, engine="native")[1]
    writer.close()
    now_s += 60
    assert reader.featurize(chain(6), MONOMER, engine="native")[1], "also once it is sealed"


def test_features_of_another_version_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "FEATURE_VERSION", FEATURE_VERSION - 1)
    FeatureStore(tmp_path, 1 << 30).featurize(STYRENE, MONOMER, engine="native")
    monkeypatch.undo()
    assert not FeatureStore(tmp_path, 1 << 30).featurize(STYRENE, MONOMER, engine="native")[1]
    assert len(segments_of(tmp_path)) == 2


def test_a_store_with_a_file_a_polymer_is_recognised(tmp_path: Path) -> None:
    assert older_features(tmp_path) is None
    (tmp_path / "v2-native-rdkit2026.9.1" / "0a").mkdir(parents=True)
    FeatureStore(tmp_path, 1 << 30).featurize(STYRENE, MONOMER, engine="native")
    said = older_features(tmp_path)
    assert said is not None
    assert said[1].endswith(f"rm -r {tmp_path}/v2-native-rdkit2026.9.1")


def test_the_least_recently_used_go(tmp_path: Path) -> None:
    """Each polymer has a segment of its own in so small a store."""
    store = FeatureStore(tmp_path, 40_000)
    first = chain(2)
    store.featurize(first, MONOMER, engine="native")
    [kept] = segments_of(tmp_path)
    for length in range(3, 60):
        now_s = 1e9 + length
        for path in segments_of(tmp_path)[:-1]:  # the last one has a writer
            if path.stat().st_mtime > 1.5e9:
                os.utime(path, (now_s, now_s))
        assert FeatureStore(tmp_path, 40_000).featurize(first, MONOMER, engine="native")[1], "used all the time"
        assert kept.stat().st_mtime > 1.5e9
        store.featurize(chain(length), MONOMER, engine="native")
        sizes = [path.stat().st_size for path in segments_of(tmp_path)]
        assert sum(sizes) <= 1.01 * 40_000 + max(sizes)
    assert len(sizes) > 2
    assert not FeatureStore(tmp_path, 40_000).featurize(chain(3), MONOMER, engine="native")[1], "of long ago"


def test_several_at_once_agree(tmp_path: Path) -> None:
    found: list[FeaturizedPolymer] = []
    shared = FeatureStore(tmp_path, 1000)

    def work(store: FeatureStore) -> None:
        found.extend(store.featurize(STYRENE, MONOMER, engine="native")[0] for _ in range(5))

    stores = [FeatureStore(tmp_path, 1000), FeatureStore(tmp_path, 1000), shared, shared]
    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for polymer in found[1:]:
        assert_equal_features(polymer, found[0])


def test_a_directory_that_cannot_be_written_costs_no_prediction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(tmp_path / "a file", 1 << 30)
    (tmp_path / "a file").touch()
    for _ in range(2):
        assert_equal_features(store.featurize(STYRENE, MONOMER, engine="native")[0], featurize(STYRENE, MONOMER))
    assert sum("cannot be saved" in record.message for record in caplog.records) == 1


def test_a_segment_that_cannot_be_sealed_is_one_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the disk is full when the process ends."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = FeatureStore(tmp_path, 1 << 30)
    store.featurize(STYRENE, MONOMER, engine="native")
    monkeypatch.setattr("periogt_ray.polymer.segments.SegmentWriter.seal", full)
    store.close()
    assert [record.message for record in caplog.records] == [
        f"Features cannot be saved in {tmp_path}: No space left on device."
    ]
    _, was_there = FeatureStore(tmp_path, 1 << 30).featurize(STYRENE, MONOMER, engine="native")
    assert was_there


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
