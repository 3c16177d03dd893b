"""What a batch keeps on disk while it runs: finished parts, and what they were computed from.

``<output>.parts/`` holds ``record.json``, the finished parts, and a plain copy of an input that is no plain CSV. Parts
are records of ``parts-*.records``, of which each run makes one and another one every 64 MB: few files, however long the
input. A part is on the disk before its successors, and one that is cut or damaged counts as not finished, so a run that
was killed anywhere goes on from what is there. The directory is removed once the output is whole.
"""

import errno
import fcntl
import glob
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from periogt_ray.batch.results import FinishedPart
from periogt_ray.errors import ValidationError
from periogt_ray.runtime.files import write_json_atomically
from periogt_ray.runtime.record_file import KEY_BYTES, Record, RecordFile, content_of, read_at, records_of
from periogt_ray.tables.reading import COPY_NAME

__all__ = ["PartsDirectory"]

_RECORD = "record.json"
_LOCK = "lock"
# With what a killed run leaves, and what NFS makes of a file that is removed while it is open.
_OUR_PREFIXES = (_LOCK, _RECORD, COPY_NAME, "parts-", f".{_RECORD}.", f".{COPY_NAME}.", ".nfs")
_FILE_BYTES = 64 << 20  # of a file of parts; they are looked through whole when a run goes on
_PACKING = 1  # zlib's level: a fifth of the bytes, for less than a millisecond a part
_STORAGE_ERRORS = frozenset({errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})


class PartsDirectory:
    """The directory beside an output that holds its finished parts.

    Parameters
    ----------
    output : pathlib.Path
        The file that the parts will become.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self.path = output.with_name(f"{output.name}.parts")
        self._file: RecordFile | None = None  # of this run
        self._places: dict[int, tuple[Path, Record]] = {}  # by number of the part
        self._ends: dict[Path, int] = {}  # how far files are known

    def record(self) -> dict[str, Any] | None:
        """Return what the parts were computed from; None if there is no run to go on with."""
        try:
            document = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ValidationError(f"{self.path / _RECORD} is not JSON. Delete {self.path} to start over.") from error
        return dict(document)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the directory and keep other runs out of it; without a finished part it goes again.

        Raises
        ------
        ValidationError
            If it cannot be written, or another run holds it.
        """
        try:
            with self._locked() as lock:
                self._remove_leftovers()
                try:
                    yield
                finally:
                    self._close()
                    # Once it was removed, the directory may be another run's.
                    if self._is_at_its_place(lock) and not self.finished():
                        self.remove()
        except OSError as error:
            if error.errno not in _STORAGE_ERRORS or not self._is_of_output(error):
                raise
            raise ValidationError(
                f"Writing to {self.path.parent} failed: {error.strerror}. Finished parts are kept: free some space "
                "or make the directory writable, then run again with --resume; or choose another --output."
            ) from error

    def _is_of_output(self, error: OSError) -> bool:
        """Whether an error is about the output: one without a name comes from a write."""
        return error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(self.path.parent)

    def _locked(self) -> TextIO:
        """Return the open lock, once this run holds it and it is still the one in the directory."""
        while True:
            try:
                self.path.mkdir(exist_ok=True)
            except FileExistsError as error:
                raise ValidationError(
                    f"{self.path}, where finished parts are to be kept, is not a directory. Move it away, or choose "
                    "another --output."
                ) from error
            try:
                self._refuse_what_is_not_ours()
                lock = (self.path / _LOCK).open("w")
            except FileNotFoundError:
                continue  # a run that has ended has just removed the directory
            try:
                _lock(lock.fileno(), self.path)
            except BaseException:
                lock.close()
                raise
            if self._is_at_its_place(lock):
                return lock
            lock.close()

    def _refuse_what_is_not_ours(self) -> None:
        """Keep out of a directory of somebody's own, because it is removed at the end."""
        with os.scandir(self.path) as entries:
            strange = next((one.name for one in entries if not one.name.startswith(_OUR_PREFIXES)), None)
        if strange is not None:
            raise ValidationError(
                f"{self.path}, where finished parts are to be kept, holds {strange!r}, which this version does "
                "not write. Move the directory away, or choose another --output."
            )

    def _is_at_its_place(self, lock: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self.path / _LOCK).stat())
        except FileNotFoundError:
            return False

    def _remove_leftovers(self) -> None:
        """Remove what a run that was killed while it wrote a copy of the input, the output or its summary left."""
        name = glob.escape(self._output.name)
        for pattern in (f".{name}.{'[0-9a-f]' * 8}.part", f".{name}.summary.json.*.part"):
            for path in self._output.parent.glob(pattern):
                path.unlink(missing_ok=True)
        for path in self.path.glob(f".{COPY_NAME}.*.part"):
            path.unlink(missing_ok=True)

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write what the parts are going to be computed from; parts of another run go."""
        self._close()
        for path in self._files():
            path.unlink()
        self._places, self._ends = {}, {}
        write_json_atomically(self.path / _RECORD, dict(record))

    def finished(self) -> list[int]:
        """Return the numbers of finished parts, ascending."""
        found = self._files()
        for path in set(self._ends) - set(found):
            del self._ends[path]
            self._places = {number: place for number, place in self._places.items() if place[0] != path}
        for path in found:
            with path.open("rb") as file:
                start = file.seek(self._ends.get(path, 0))
                records, self._ends[path] = records_of(file.read(), offset=start)
            self._places.update((int.from_bytes(one.key, "big"), (path, one)) for one in records)
        return sorted(self._places)

    def write(self, part: FinishedPart) -> None:
        """Keep a finished part."""
        if self._file is None or self._file.n_bytes >= _FILE_BYTES:
            self._close()
            self._file = RecordFile(self._new_path(), is_synced=True)
        content = zlib.compress(part.to_json().encode(), _PACKING)
        place = self._file.append(part.number.to_bytes(KEY_BYTES, "big"), content)
        self._places[part.number] = (self._file.path, place)
        self._ends[self._file.path] = self._file.n_bytes

    def read(self, number: int) -> FinishedPart:
        """Return a finished part.

        Raises
        ------
        ValidationError
            If it was damaged since it was written.
        """
        if number not in self._places:
            self.finished()
        path, place = self._places[number]
        try:
            with path.open("rb") as file:
                _, content = content_of(read_at(file.fileno(), place.offset, place.n_bytes))
            return FinishedPart.from_json(zlib.decompress(content))
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise ValidationError(
                f"Part {number} in {path} is damaged ({error}). Run again with --resume: its rows are computed again."
            ) from error

    def remove(self) -> None:
        """Remove the directory; the output holds everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("parts-*.records"))

    def _new_path(self) -> Path:
        """Return a name behind all others, which no other run can have where no lock keeps it out."""
        return self.path / f"parts-{time.time_ns():020d}-{secrets.token_hex(4)}.records"

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            return  # Some parallel file systems are mounted without locks.
        raise ValidationError(
            f"Another run is working in {path}. Wait for it to end, or choose another --output."
        ) from error
