"""Segments and what is made of them: writers that are killed, readers beside them, compaction, a maximum."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from periogt_ray.polymer import compaction, segments
from periogt_ray.polymer.compaction import compact, trim
from periogt_ray.polymer.segments import LEASE_S, SegmentIndex, SegmentWriter, entries_of, is_sealed, segments_in
from support.segment_writer import content_of, key_of

SEGMENT_BYTES = 20_000


def written(directory: Path, numbers: range, *, is_sealed: bool = True) -> Path:
    writer = SegmentWriter(directory)
    for number in numbers:
        writer.append(key_of(number), content_of(number))
    if is_sealed:
        writer.seal()
    return writer.path


def abandon(path: Path) -> None:
    """Make a segment as old as one whose writer must be dead."""
    then_s = time.time() - LEASE_S - 60
    os.utime(path, (then_s, then_s))


def assert_found(directory: Path, numbers: range) -> None:
    index = SegmentIndex(directory)
    for number in numbers:
        assert index.find(key_of(number)) == content_of(number)
    assert index.find(key_of(1_000_000)) is None
    index.close()


def test_entries_are_found_in_sealed_and_open_segments(tmp_path: Path) -> None:
    written(tmp_path, range(50))
    written(tmp_path, range(50, 80), is_sealed=False)
    assert_found(tmp_path, range(80))
    assert [is_sealed(one.path) for one in segments_in(tmp_path)] == [True, False]


def test_more_entries_and_segments_than_are_kept_in_a_dictionary_or_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_MOST_RECENT", 10)
    monkeypatch.setattr(segments, "_MOST_OPEN", 3)
    index = SegmentIndex(tmp_path)
    for start in range(0, 200, 20):
        written(tmp_path, range(start, start + 20), is_sealed=start % 40 == 0)
        index.look(is_forced=True)
        for number in range(start + 20):
            assert index.find(key_of(number)) == content_of(number)
    assert len(index) == 200
    index.close()


def test_an_index_grows_with_what_others_append(tmp_path: Path) -> None:
    index, writer = SegmentIndex(tmp_path), SegmentWriter(tmp_path)
    for number in range(20):
        writer.append(key_of(number), content_of(number))
        index.look(is_forced=True)
        assert index.find(key_of(number)) == content_of(number)
    writer.seal()
    index.look(is_forced=True)
    assert len(index) == 20
    assert index.find(key_of(3)) == content_of(3)
    index.close()


def test_looking_again_waits(tmp_path: Path) -> None:
    index = SegmentIndex(tmp_path)
    assert index.look()
    assert not index.look()


def test_a_fork_does_not_write_into_its_parent_s_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path)
    assert writer.is_usable
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not writer.is_usable
    writer.seal()
    assert not is_sealed(writer.path), "its parent goes on writing it"


def test_a_segment_left_alone_for_long_is_not_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path)
    now_s = time.time()
    for later_s, is_usable in ((LEASE_S / 2 - 60, True), (LEASE_S / 2 + 60, False), (-60, False)):
        monkeypatch.setattr(time, "time", lambda value=now_s + later_s: value)
        assert writer.is_usable == is_usable


# Compaction.


def test_small_segments_become_one_and_readers_go_on(tmp_path: Path) -> None:
    for start in range(0, 100, 5):
        written(tmp_path, range(start, start + 5))
    reader = SegmentIndex(tmp_path)
    assert reader.find(key_of(7)) == content_of(7)
    assert compact(tmp_path, segment_bytes=1 << 20, least=21) == 0
    assert compact(tmp_path, segment_bytes=1 << 20, least=20) == 20
    [merged] = segments_in(tmp_path)
    assert is_sealed(merged.path)
    assert_found(tmp_path, range(100))
    # One who knows the old ones, some of which it has open.
    for number in range(100):
        assert reader.find(key_of(number)) == content_of(number)
    assert [path.name for path in tmp_path.iterdir()] == [merged.path.name]
    reader.close()


def test_segments_of_their_size_stay_and_duplicates_go(tmp_path: Path) -> None:
    large = written(tmp_path, range(100))
    before = large.stat()
    for _ in range(3):
        written(tmp_path, range(100, 110))
    assert compact(tmp_path, segment_bytes=SEGMENT_BYTES, least=2) == 3
    assert large.stat().st_mtime_ns == before.st_mtime_ns
    [_, merged] = segments_in(tmp_path)
    assert len(entries_of(merged.path)) == 10
    assert_found(tmp_path, range(110))


def test_what_may_have_a_writer_is_left_alone(tmp_path: Path) -> None:
    live = written(tmp_path, range(10), is_sealed=False)
    dead = written(tmp_path, range(10, 20), is_sealed=False)
    abandon(dead)
    torn = written(tmp_path, range(20, 30), is_sealed=False)
    torn.write_bytes(torn.read_bytes()[:-1])
    abandon(torn)
    assert compact(tmp_path, segment_bytes=1 << 20, least=1) == 2
    assert live.exists()
    assert not dead.exists()
    assert not torn.exists()
    assert_found(tmp_path, range(29))


def test_one_process_compacts_and_the_lock_of_a_killed_one_ends(tmp_path: Path) -> None:
    for start in range(4):
        written(tmp_path, range(start, start + 1))
    lock, left = tmp_path / "compacting", tmp_path / ".1.segment.00000000.part"
    lock.touch()
    left.touch()
    assert compact(tmp_path, segment_bytes=1 << 20, least=2) == 0
    abandon(lock)
    abandon(left)
    assert compact(tmp_path, segment_bytes=1 << 20, least=2) == 4
    assert not lock.exists()
    assert not left.exists()


def test_the_oldest_segments_go_and_one_with_a_writer_stays(tmp_path: Path) -> None:
    paths = [written(tmp_path, range(n, n + 10)) for n in range(0, 50, 10)]
    live = written(tmp_path, range(100, 110), is_sealed=False)
    for age, path in enumerate([paths[3], paths[1], paths[0], paths[2], paths[4]]):
        os.utime(path, (1e9 + age, 1e9 + age))
    size = sum(one.n_bytes for one in segments_in(tmp_path))
    assert trim([tmp_path], max_bytes=size) == 0
    assert trim([tmp_path], max_bytes=int(size * 0.8)) == 2
    assert not paths[3].exists()
    assert not paths[1].exists()
    assert trim([tmp_path], max_bytes=1) == 3
    assert [one.path for one in segments_in(tmp_path)] == [live]


# Kills.


def test_writers_killed_at_any_moment_lose_nothing_and_leave_nothing_wrong(
    tmp_path: Path, chance: random.Random, is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at a time, which also compact; whatever one said that it had written is there, now and at the end."""
    reader = SegmentIndex(tmp_path)
    acknowledged: list[int] = []
    n_torn = 0
    for round_number in range(25 if is_full else 6):
        processes = [start_writer(tmp_path, 100_000 * (3 * round_number + n)) for n in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        # By what they have done, not by the clock: on a busy machine they would have done nothing.
        for process in processes:
            acknowledged += [int(process.stdout.readline()) for _ in range(chance.randrange(1, 150))]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            assert process.stdout is not None
            lines = process.stdout.read().split()
            acknowledged += [int(line) for line in lines if line.isdigit()]
            process.wait()
            process.stdout.close()
        reader.look(is_forced=True)
        for number in acknowledged:
            assert reader.find(key_of(number)) == content_of(number)
        # The lock of a killed compaction holds the next one up for an hour; here no longer.
        (tmp_path / "compacting").unlink(missing_ok=True)
        # What a power cut does besides: the end of a file is lost.
        for one in segments_in(tmp_path):
            if not is_sealed(one.path):
                with one.path.open("ab") as file:
                    file.write(bytes(chance.randrange(50)))
                n_torn += 1
    assert len(acknowledged) > 100
    assert n_torn > 0
    monkeypatch.setattr(compaction, "LEASE_S", -1e6)
    compact(tmp_path, segment_bytes=1 << 24, least=1)
    assert_all(tmp_path, acknowledged)
    assert all(is_sealed(one.path) for one in segments_in(tmp_path))
    reader.close()


def assert_all(directory: Path, numbers: list[int]) -> None:
    index = SegmentIndex(directory)
    for number in numbers:
        assert index.find(key_of(number)) == content_of(number)
    index.close()


def start_writer(directory: Path, start: int) -> "subprocess.Popen[str]":
    program = Path(__file__).parents[1] / "support" / "segment_writer.py"
    return subprocess.Popen(
        [sys.executable, str(program), str(directory), str(start)], stdout=subprocess.PIPE, text=True
    )
