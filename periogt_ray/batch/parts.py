"""What a batch keeps on disk while it runs: finished parts, and what they were computed from.

``<output>.parts/`` holds ``manifest.json`` and one file a finished part. A part's file appears whole
or not at all, so a run that was killed anywhere goes on from what is there. The output is put
together from the parts under another name, renamed, and the directory removed.
"""

import csv
import errno
import fcntl
import glob
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO, TypedDict
from uuid import uuid4

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import LABEL_STATS_NAME, SCALER_NAMES
from periogt_ray.batch.csv_input import OUTPUT_COLUMNS
from periogt_ray.errors import ValidationError
from periogt_ray.runtime.files import sha256_of, write_bytes_atomically, write_json_atomically

__all__ = ["Answer", "OutcomeStore", "PartResult", "PartsDirectory", "Tally", "artifacts_digest", "write_output"]

_MANIFEST = "manifest.json"
_LOCK = "lock"
# With what a killed run leaves, and what NFS makes of a file that is removed while it is open.
_OUR_PREFIXES = (_LOCK, _MANIFEST, "part-", ".part-", f".{_MANIFEST}.", ".nfs")
_STORAGE_ERRORS = frozenset({errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})


class Answer(TypedDict, total=False):
    """One property of one polymer: value and units, or code and message."""

    value: float
    units: str
    code: str
    message: str


class PartResult(TypedDict):
    """A finished part, as in its file.

    ``rows`` are ``[id, smiles, key]``, or ``[id, smiles, None, code, message]`` where the SMILES is
    not a repeat unit; ``key`` is the canonical SMILES. ``answers`` has those keys that this part
    computed, one answer a property in the order of the manifest; other keys are in other parts.
    """

    part: int
    rows: list[list[str | None]]
    answers: dict[str, list[Answer]]
    device: str


@dataclass
class Tally:
    """Counts of output rows; a row is one polymer and one property."""

    n_rows: int
    failures: Counter[str]

    @property
    def n_failed(self) -> int:
        """Rows that are errors."""
        return self.failures.total()


def artifacts_digest(artifacts: ArtifactDirectory, property_ids: Sequence[str]) -> str:
    """Return a digest of every file that the predictions follow from."""
    names = [artifacts.encoder, *(artifacts.property(name).checkpoint for name in property_ids)]
    names += [name for name in (LABEL_STATS_NAME, *SCALER_NAMES) if (artifacts.root / name).is_file()]
    digest = sha256()
    for name in names:
        digest.update(f"{name} {sha256_of(artifacts.root / name)}\n".encode())
    return digest.hexdigest()


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

    def manifest(self) -> dict[str, Any] | None:
        """Return what the parts were computed from; None if there is no run to go on with."""
        try:
            document = json.loads((self.path / _MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ValidationError(f"{self.path / _MANIFEST} is not JSON. Delete {self.path} to start over.") from error
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
                    # Once it was removed, the directory may be another run's.
                    if self._is_at_its_place(lock) and not self.finished():
                        self.remove()
        except OSError as error:
            if error.errno not in _STORAGE_ERRORS:
                raise
            raise ValidationError(
                f"Writing to {self.path.parent} failed: {error.strerror}. Finished parts are kept: make room or the "
                "directory writable and run again with --resume, or choose another --output."
            ) from error

    def _locked(self) -> TextIO:
        """Return the open lock, once it is ours and still the one in the directory."""
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
                f"{self.path}, where finished parts are to be kept, holds {strange!r}, which no batch wrote. "
                "Move the directory away, or choose another --output."
            )

    def _is_at_its_place(self, lock: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self.path / _LOCK).stat())
        except FileNotFoundError:
            return False

    def _remove_leftovers(self) -> None:
        """Remove what a run that was killed while it wrote the output or its summary left beside them."""
        name = glob.escape(self._output.name)
        for pattern in (f".{name}.part", f".{name}.summary.json.*.part"):
            for path in self._output.parent.glob(pattern):
                path.unlink(missing_ok=True)

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Write what the parts are going to be computed from; parts of another run go."""
        for path in self.path.glob("part-*"):
            path.unlink()
        write_json_atomically(self.path / _MANIFEST, dict(manifest))

    def finished(self) -> list[int]:
        """Return the indices of finished parts, ascending."""
        return sorted(int(path.stem.removeprefix("part-")) for path in self.path.glob("part-*.json"))

    def write(self, result: PartResult) -> None:
        """Keep a finished part."""
        content = json.dumps(result, ensure_ascii=True, allow_nan=False).encode()
        write_bytes_atomically(self._file(result["part"]), content)

    def read(self, index: int) -> PartResult:
        """Return a finished part.

        Raises
        ------
        ValidationError
            If its file was damaged since it was written.
        """
        path = self._file(index)
        try:
            result: PartResult = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValidationError(
                f"{path} is damaged ({error}). Delete it and run again with --resume: its rows are computed again."
            ) from error
        return result

    def remove(self) -> None:
        """Remove the directory; the output holds everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, index: int) -> Path:
        return self.path / f"part-{index:08d}.json"


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            return  # Some parallel file systems are mounted without locks.
        raise ValidationError(
            f"Another run is working in {path}. Wait for it to end, or choose another --output."
        ) from error


class OutcomeStore:
    """Answers by canonical SMILES; they spill to an unnamed temporary file, so memory is bounded."""

    def __init__(self) -> None:
        # The empty name is SQLite's private database, unlinked as soon as it is open.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answers TEXT) WITHOUT ROWID")

    def add(self, answers: Mapping[str, list[Answer]]) -> None:
        """Keep answers; those that are there already stay."""
        rows = [(key, json.dumps(value)) for key, value in answers.items()]
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)

    def get(self, key: str) -> list[Answer]:
        """Return the answers of a polymer; KeyError if there are none."""
        found = self._database.execute("SELECT answers FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        answers: list[Answer] = json.loads(found[0])
        return answers

    def close(self) -> None:
        """Drop everything."""
        self._database.close()


def write_output(
    output: Path, parts: Iterable[PartResult], *, property_ids: Sequence[str], store: OutcomeStore
) -> Tally:
    """Write the output in input order; its name appears when it is whole.

    Returns
    -------
    Tally
        Output rows and failures by code.
    """
    temporary = output.with_name(f".{output.name}.part")
    tally = Tally(0, Counter())
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            plain = csv.writer(file, lineterminator="\n")
            # The csv module leaves a lone carriage return without quotes, and takes it for a line's end when it reads.
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            plain.writerow(OUTPUT_COLUMNS)
            for result in parts:
                for row in _output_rows(result, property_ids, store):
                    writer = quoted if any("\r" in field for field in row) else plain
                    writer.writerow([*row, str(uuid4())])
                    tally.n_rows += 1
                    if row[5] == "false":
                        tally.failures[row[6]] += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return tally


def _output_rows(result: PartResult, property_ids: Sequence[str], store: OutcomeStore) -> Iterator[list[str]]:
    """Yield the rows of a part, all columns but the request id."""
    for identifier, smiles, key, *failure in result["rows"]:
        if key is None:
            code, message = failure
            answers = [Answer(code=str(code), message=str(message))] * len(property_ids)
        else:
            answers = result["answers"].get(key) or store.get(key)
        for property_id, answer in zip(property_ids, answers, strict=True):
            shown = [str(identifier), str(smiles), property_id]
            if "code" in answer:
                yield [*shown, "", "", "false", answer["code"], answer["message"]]
            else:
                yield [*shown, repr(answer["value"]), answer["units"], "true", "", ""]
