"""A package as one file, to be given to others: a zip that is checked from end to end before anything of it is used.

What is not expected in it is refused: links, other directories, files that package.json does not list, other sizes or
hashes, bytes beyond what it announces, and pickles. Nothing appears under the package's name before all of it is
checked.
"""

import errno
import json
import lzma
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from periogt_ray.artifacts.architecture import identify
from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.manifest import RecordedFile
from periogt_ray.artifacts.packages import PACKAGE_NAME, Package, check_id, read_package, write_package
from periogt_ray.artifacts.properties import PROPERTIES, UNPUBLISHED
from periogt_ray.artifacts.weight_files import read_shapes
from periogt_ray.errors import ModelLoadError, ValidationError
from periogt_ray.runtime.files import (
    DIRECTORY_MODE,
    FILE_MODE,
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_MODE,
    atomic_file,
    make_directory,
)

__all__ = ["export_package", "import_package", "remove_package"]

_SUFFIXES = frozenset({".safetensors", ".npz", ".json", ".csv", ".md", ".html"})
_MOST_FILES = 1000
_MOST_JSON_BYTES = 2**20
_CHUNK_BYTES = 2**20
_MAX_RATIO = 20  # of what is unpacked to the file; an export is not compressed, and tables that are shrink to a tenth
_MOST_TEXT = 200
# They hold rows of the user's data.
_PRIVATE = frozenset({"rows.csv", "splits.csv", "predictions.csv", "report.html"})
_DATE = (1980, 1, 1, 0, 0, 0)  # the format's earliest, so that equal packages give equal files


class _Modes(NamedTuple):
    """Permissions of an imported package."""

    file: int
    directory: int


_PRIVATE_MODES = _Modes(PRIVATE_MODE, PRIVATE_DIRECTORY_MODE)
_SHARED_MODES = _Modes(FILE_MODE, DIRECTORY_MODE)


def export_package(package: Package, target: Path, *, has_rows: bool = False) -> None:
    """Write a package as one file.

    Parameters
    ----------
    package : Package
        Whose files are as they were recorded.
    target : pathlib.Path
        The file, which gets its name when it is whole.
    has_rows : bool
        Whether it holds tables of the training data, too; then only its owner can read it.

    Raises
    ------
    ModelLoadError
        A file of the package was changed.
    ValidationError
        The file exists already, or cannot be written.
    """
    if target.exists():
        raise ValidationError(f"{target} exists. Give another --output, or remove it first.")
    problems = package.problems()
    if problems:
        raise ModelLoadError(f"{package.root} was changed since it was made: {'; '.join(problems)}. Finetune again.")
    kept = {name: record for name, record in package.files.items() if has_rows or name not in _PRIVATE}
    document = json.loads((package.root / PACKAGE_NAME).read_text(encoding="utf-8"))
    document["files"] = {name: record._asdict() for name, record in kept.items()}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        mode = PRIVATE_MODE if has_rows else FILE_MODE
        with atomic_file(target, mode=mode) as file, zipfile.ZipFile(file, "w") as archive:
            _write_archive(package, archive, f"{text}\n", sorted(kept))
    except OSError as error:
        raise ValidationError(
            f"{target} cannot be written: {error.strerror or error}. Give another --output."
        ) from error


def _write_archive(package: Package, archive: zipfile.ZipFile, document: str, names: Sequence[str]) -> None:
    archive.writestr(zipfile.ZipInfo(PACKAGE_NAME, _DATE), document)
    for name in names:
        info = zipfile.ZipInfo(name, _DATE)
        with (package.root / name).open("rb") as source, archive.open(info, "w", force_zip64=True) as entry:
            shutil.copyfileobj(source, entry, _CHUNK_BYTES)


def import_package(source: Path, models: Path, *, taken: Collection[str] = (), is_shared: bool = False) -> Package:
    """Check a file that :func:`export_package` wrote, and install its package.

    Parameters
    ----------
    source : pathlib.Path
        The file.
    models : pathlib.Path
        Directory of packages; made if absent.
    taken : collection of str
        Ids that the artifacts serve themselves, beside which a package of the same id would not be used.
    is_shared : bool
        Whether everybody who can enter the directory can read the package; else only its owner.

    Raises
    ------
    ValidationError
        The file cannot be read, is no package or holds what does not belong there, the id is taken or published, or
        the directory cannot be written.
    """
    place = models / f".import-{secrets.token_hex(4)}"
    modes = _SHARED_MODES if is_shared else _PRIVATE_MODES
    try:
        _make_place(place, modes)
        with _reported(source):
            _unpack(source, place, modes)
            package = read_package(place)
            _check_content(package)
        if package.id in PROPERTIES or package.id in UNPUBLISHED:
            raise ValidationError(
                f"{source} is of the property {package.id!r}, the id of a published property, with its own unit and "
                "range. Finetune under another id, and export that."
            )
        if package.id in taken:
            raise ValidationError(
                f"{source} is of the property {package.id!r}, which the artifacts serve themselves; it would not be "
                "used. Finetune under another id, and export that."
            )
        _name_package(place, models / package.id)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return read_package(models / package.id)


def _make_place(place: Path, modes: _Modes) -> None:
    try:
        make_directory(place.parent)
        make_directory(place, mode=modes.directory)
    except OSError as error:
        raise ValidationError(
            f"{place.parent} cannot be written: {error.strerror or error}. Name another directory with PERIOGT_MODELS."
        ) from error


def _name_package(place: Path, target: Path) -> None:
    taken = ValidationError(
        f"{target} exists. Remove it first (`periogt models remove {target.name}`), or import into another "
        "directory (PERIOGT_MODELS)."
    )
    if target.exists():
        raise taken
    try:
        place.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise taken from error  # another import was faster
        raise


@contextmanager
def _reported(source: Path) -> Iterator[None]:
    """Turn whatever a hostile or damaged file causes into one error."""
    try:
        yield
    except ValidationError:
        raise
    except OSError as error:
        raise ValidationError(
            f"{source} cannot be read, or not unpacked: {error.strerror or error}. Check the path, and the room on the "
            "disk."
        ) from error
    except (
        ModelLoadError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        MemoryError,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise _refused(source, str(error)) from error


def _refused(source: Path, reason: str) -> ValidationError:
    return ValidationError(
        f"{source} is refused: {reason.rstrip('.')}. Expected a file of `periogt models export`; nothing was "
        "installed. Get an intact copy from where it was made."
    )


def _unpack(source: Path, place: Path, modes: _Modes) -> None:
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(entries) > _MOST_FILES or len(set(names)) < len(names):
            raise _refused(source, "it holds too many files, or two of one name")
        if _grows(archive, source):
            raise _refused(source, "it unpacks to far more than its size")
        listed = archive.getinfo(PACKAGE_NAME)
        if listed.file_size > _MOST_JSON_BYTES:
            raise _refused(source, f"its {PACKAGE_NAME} is too large")
        document = json.loads(_read_at_most(archive, listed, _MOST_JSON_BYTES))
        check_id(document["id"])
        files = {name: RecordedFile(int(e["size"]), str(e["sha256"])) for name, e in document.pop("files").items()}
        if set(names) != {PACKAGE_NAME, *files}:
            raise _refused(source, f"its files are not those that its {PACKAGE_NAME} lists")
        for entry in entries:
            if entry.filename != PACKAGE_NAME:
                _check_entry(entry, files[entry.filename], source)
                make_directory((place / entry.filename).parent, mode=modes.directory)
                with atomic_file(place / entry.filename, mode=modes.file, sync=False) as file:
                    _unpack_entry(archive, entry, files[entry.filename], source, file)
        write_package(place, document, files, mode=modes.file)


def _check_entry(entry: zipfile.ZipInfo, record: RecordedFile, source: Path) -> None:
    name = entry.filename
    path = PurePosixPath(name)
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    is_plain = not path.is_absolute() and not {"..", "."} & set(name.split("/")) and "\\" not in name
    if is_link or entry.is_dir() or not is_plain or "\0" in name or path.suffix not in _SUFFIXES:
        raise _refused(source, f"{name!r} is not a file that a package has")
    if entry.file_size != record.size:
        raise _refused(source, f"{name} has {entry.file_size} bytes, and {PACKAGE_NAME} says {record.size}")


def _unpack_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, record: RecordedFile, source: Path, file: IO[bytes]
) -> None:
    name = entry.filename
    digest, n_bytes = sha256(), 0
    with archive.open(entry) as content:
        while chunk := content.read(_CHUNK_BYTES):
            n_bytes += len(chunk)
            if n_bytes > record.size:
                raise _refused(source, f"{name} is longer than its {record.size} bytes")
            digest.update(chunk)
            file.write(chunk)
    if n_bytes != record.size or digest.hexdigest() != record.sha256:
        raise _refused(source, f"{name} is damaged: its SHA-256 is not that of {PACKAGE_NAME}")


def _grows(archive: zipfile.ZipFile, path: Path) -> bool:
    """Whether an archive says that it unpacks to far more than its size; more than it says is never read."""
    return sum(entry.file_size for entry in archive.infolist()) > _MAX_RATIO * path.stat().st_size + 2**20


def _read_at_most(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, n_bytes: int) -> bytes:
    with archive.open(entry) as content:
        return content.read(n_bytes)


def _check_content(package: Package) -> None:
    """Raise where texts or weights are not those of a network that is served, or the calibration cannot be read."""
    for text in (package.label, package.units, package.encoder_name):
        if len(text) > _MOST_TEXT or not text.isprintable():
            raise ValueError(f"the label, unit or encoder {text[:40]!r} is too long, or holds control characters")
    for member in package.members:
        if not member.endswith(".safetensors"):
            raise ValueError(f"{member} is not a safetensors file")
        found = identify(read_shapes(package.root / member))
        if found.family != package.family or found.dims["width"] != package.width:
            raise ValueError(f"{member} is not a finetuned network of width {package.width}")
    calibration = package.root / calibration_path(package.id)
    if calibration.is_file():
        with zipfile.ZipFile(calibration) as archive:
            if _grows(archive, calibration):
                raise ValueError(f"{calibration.name} unpacks to far more than its size")
        Calibration.load(calibration)


def remove_package(package: Package) -> None:
    """Remove a package; package.json goes first, so that a half removed one is none. Of a link only the link goes.

    Raises
    ------
    ValidationError
        It may not be changed.
    """
    try:
        if package.root.is_symlink():
            package.root.unlink()
            return
        (package.root / PACKAGE_NAME).unlink(missing_ok=True)
        shutil.rmtree(package.root)
    except OSError as error:
        raise ValidationError(
            f"{package.root} cannot be removed: {error.strerror or error}. Remove the directory as its owner."
        ) from error
