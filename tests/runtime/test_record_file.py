"""Records in a file: what is whole is found, whatever lies around it."""

import os
import random
from pathlib import Path

import pytest

from periogt_ray.runtime.record_file import Record, RecordFile, content_of, encoded, read_at, records_in, records_of

KEYS = [bytes([n]) * 16 for n in range(5)]
CONTENTS = [b"PRec" * n + b"x" * n for n in range(5)]  # contents that look like the beginning of a record, too


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[Record]]:
    file = RecordFile(tmp_path / "records", is_synced=False)
    places = [file.append(key, content) for key, content in zip(KEYS, CONTENTS, strict=True)]
    file.close()
    return file.path, places


def by_headers(path: Path, start: int = 0) -> tuple[list[Record], int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return records_in(descriptor, start, path.stat().st_size)
    finally:
        os.close(descriptor)


def test_what_is_appended_is_found_both_ways(written: tuple[Path, list[Record]]) -> None:
    path, places = written
    content = path.read_bytes()
    assert records_of(content) == by_headers(path) == (places, len(content))
    assert [content_of(content[one.offset :][: one.n_bytes]) for one in places] == list(
        zip(KEYS, CONTENTS, strict=True)
    )


def test_a_file_cut_anywhere_holds_what_was_whole(written: tuple[Path, list[Record]]) -> None:
    path, places = written
    content = path.read_bytes()
    for n_bytes in range(len(content)):
        path.write_bytes(content[:n_bytes])
        whole = [one for one in places if one.offset + one.n_bytes <= n_bytes]
        end = whole[-1].offset + whole[-1].n_bytes if whole else 0
        assert by_headers(path) == (whole, end)
        # Whoever looks again when more is there goes on from the end.
        path.write_bytes(content)
        assert by_headers(path, end)[0] == places[len(whole) :]


def test_any_flipped_bit_costs_one_record(written: tuple[Path, list[Record]]) -> None:
    path, places = written
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        whole = [one for one in places if not one.offset <= place < one.offset + one.n_bytes]
        assert records_of(bytes(damaged))[0] == whole
        path.write_bytes(damaged)
        readable = []
        for record in by_headers(path)[0]:
            try:
                readable.append(content_of(bytes(damaged[record.offset : record.offset + record.n_bytes]))[0])
            except ValueError:
                continue
        assert readable == [one.key for one in whole]


def test_zeros_of_a_power_cut_are_no_records(written: tuple[Path, list[Record]], chance: random.Random) -> None:
    path, places = written
    content = path.read_bytes()
    for _ in range(50):
        begin = chance.randrange(len(content))
        path.write_bytes(content[:begin] + bytes(len(content) - begin + 100))
        whole = [one for one in places if one.offset + one.n_bytes <= begin]
        found = records_of(path.read_bytes())[0]
        assert [one for one in found if one not in whole] == []
        assert found == whole


def test_a_file_has_one_writer(written: tuple[Path, list[Record]]) -> None:
    with pytest.raises(FileExistsError):
        RecordFile(written[0], is_synced=False)


def test_a_record_that_does_not_fit_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordFile(tmp_path / "records", is_synced=False)
    first = file.append(KEYS[0], CONTENTS[0])
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 10:
            return write(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.append(KEYS[1], b"x" * 100)
    monkeypatch.undo()
    second = file.append(KEYS[2], CONTENTS[2])
    file.close()
    assert records_of(file.path.read_bytes())[0] == [first, second]


def test_synced_records_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    file = RecordFile(tmp_path / "records", is_synced=True)
    assert len(synced) == 1, "the directory with its name"
    file.append(KEYS[0], b"x")
    assert len(synced) == 2
    file.close()


def test_reading_beyond_the_end_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(KEYS[0], b"abc"))
    descriptor = os.open(path, os.O_RDONLY)
    assert read_at(descriptor, 1, 1000) == path.read_bytes()[1:]
    os.close(descriptor)
