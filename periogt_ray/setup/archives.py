"""Unpack archives of weights that come from elsewhere: no path leaves the directory, nothing explodes."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from periogt_ray.artifacts.weight_files import WEIGHT_SUFFIXES
from periogt_ray.errors import ModelLoadError

__all__ = ["extract_weights", "unpacked_bytes"]

_MAX_MEMBERS = 10_000
# Weights compress by some 7 %; eight times is far beyond any archive of them.
_MAX_RATIO = 8
_FREE_BYTES = 16 * 2**20
_ENCRYPTED = 0x1
_UNIX = 3
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


def _refuse(archive: Path, reason: str) -> ModelLoadError:
    """Make the error for an archive that is not unpacked."""
    return ModelLoadError(
        f"{archive}: {reason}. It was not unpacked; put the published archive in its place.", {"file": str(archive)}
    )


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a member that is not a plain file or directory below the root."""
    # ZipInfo.filename is cleaned; the name as stored is what the archive's maker wrote.
    for name in (member.filename, member.orig_filename):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in path.parts[:1]:
            raise _refuse(archive, f"member {name!r} would be written outside the directory")
    mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refuse(archive, f"member {member.filename!r} is a link or a special file")
    if member.flag_bits & _ENCRYPTED:
        raise _refuse(archive, f"member {member.filename!r} is encrypted")


def _members(archive: Path, opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Check all members of an archive, then return those that are weight files."""
    members = opened.infolist()
    if len(members) > _MAX_MEMBERS:
        raise _refuse(archive, f"{len(members)} members, more than {_MAX_MEMBERS}")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise _refuse(archive, "two members of the same name")
    for member in members:
        _check_member(archive, member)
    n_bytes = sum(member.file_size for member in members)
    if n_bytes > archive.stat().st_size * _MAX_RATIO + _FREE_BYTES:
        raise _refuse(archive, f"{archive.stat().st_size} bytes would unpack to {n_bytes}")
    return [member for member in members if _is_weight_file(member)]


def _is_weight_file(member: zipfile.ZipInfo) -> bool:
    """Whether a member is wanted; archives made on a Mac hold ``__MACOSX/._*.pth`` beside each file."""
    parts = PurePosixPath(member.filename).parts
    is_hidden = any(part.startswith((".", "__")) for part in parts)
    return not member.is_dir() and member.filename.endswith(WEIGHT_SUFFIXES) and not is_hidden


def unpacked_bytes(archive: Path) -> int:
    """Return what the weight files of an archive take unpacked.

    Raises
    ------
    ModelLoadError
        The archive is damaged, or refused.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return sum(member.file_size for member in _members(archive, opened))
    except _ZIP_ERRORS as error:
        raise _refuse(archive, f"not a readable zip archive ({error})") from error


def extract_weights(archive: Path, directory: Path) -> list[str]:
    """Unpack the weight files of an archive into a directory that does not exist yet.

    Parameters
    ----------
    archive : pathlib.Path
        A zip file.
    directory : pathlib.Path
        Made by this function.

    Returns
    -------
    list of str
        Paths of the files relative to ``directory``, sorted.

    Raises
    ------
    ModelLoadError
        A path that leaves the directory, a link, an absurd size, an encrypted or damaged member; the
        whole archive is judged before the first file is written.
    """
    directory.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(archive, opened)
            for member in members:
                target = directory.joinpath(*PurePosixPath(member.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("xb") as content:
                    shutil.copyfileobj(source, content, 2**20)
    except _ZIP_ERRORS as error:
        raise _refuse(archive, f"not a readable zip archive ({error})") from error
    return sorted(member.filename for member in members)
