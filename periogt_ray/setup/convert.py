"""Turn ``.pth`` files into safetensors, in a child process that reads with ``weights_only``.

The child (``python -m periogt_ray.setup.convert``) takes one job a line on standard input and answers
one line a job: a file that brings a reader down takes only the child with it, and the parent
needs neither torch nor the memory.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from periogt_ray.artifacts.weight_files import read_shapes, read_state_dict
from periogt_ray.errors import CheckpointMissingError, ModelLoadError, PerioGTError
from periogt_ray.runtime.files import write_bytes_atomically

__all__ = ["Conversion", "convert_file", "convert_in_child"]

_PR_SET_PDEATHSIG = 1
# torch stores weights uncompressed; what unpacks to much more than its size is something else.
_MAX_RATIO = 2


class Conversion(NamedTuple):
    """One file to convert: from a ``.pth`` file to a safetensors file."""

    source: Path
    destination: Path


def _check_container(path: Path) -> None:
    """Hold a zip-format ``.pth`` file against its own checksums.

    torch does not check them when it reads, so a flipped bit would become a weight.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_RATIO * path.stat().st_size + 2**20:
                raise ModelLoadError(f"{path}: unpacks to far more than its size, which no checkpoint does.")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelLoadError(f"{path}: damaged ({error}). Put an intact copy in its place.") from error
    if damaged is not None:
        raise ModelLoadError(f"{path}: damaged, the checksum of {damaged} is wrong. Put an intact copy in its place.")


def convert_file(conversion: Conversion) -> int:
    """Convert one file in this process; the destination appears when it is whole.

    Equal weights give equal bytes.

    Returns
    -------
    int
        Number of tensors.

    Raises
    ------
    ModelLoadError
        The file is corrupt, holds anything but tensors, or holds values that are not finite.
    """
    from safetensors.torch import save

    source, destination = conversion
    _check_container(source)
    loaded = read_state_dict(source)
    # Clones: tensors may share storage in a .pth file, which safetensors does not allow. Each original goes at once.
    state = {key: loaded.pop(key).clone().contiguous() for key in sorted(loaded)}
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelLoadError(f"{source}: {key} holds values that are not finite. Put an intact copy in its place.")
    write_bytes_atomically(destination, save(state, metadata={"format": "pt"}))
    # The conversion counts as outdated when it is older than its source, whose date may lie in the future.
    newest = max(source.stat().st_mtime_ns, destination.stat().st_mtime_ns)
    os.utime(destination, ns=(newest, newest))
    if read_shapes(destination) != {key: tuple(value.shape) for key, value in state.items()}:
        raise ModelLoadError(f"{destination}: does not hold the same tensors as {source} after its conversion.")
    return len(state)


def convert_in_child(conversions: Iterable[Conversion], *, done: Callable[[Conversion], None]) -> None:
    """Convert files one after the other in one child process.

    Parameters
    ----------
    conversions : iterable of Conversion
        The jobs.
    done : callable
        Called after each file.

    Raises
    ------
    ModelLoadError
        A file is refused, or ended the child.
    OSError
        The disk is full or not writable.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "periogt_ray.setup.convert"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as child:
        if child.stdin is None or child.stdout is None:
            raise AssertionError("both pipes were asked for")
        try:
            for conversion in conversions:
                answer = _ask(child.stdin, child.stdout, conversion)
                if answer is None:
                    raise ModelLoadError(
                        f"{conversion.source}: the process that reads it ended (status {child.wait()}). "
                        "The file is damaged, or the memory did not suffice (about four times its size).",
                        {"file": str(conversion.source)},
                    )
                _raise_if_refused(answer)
                done(conversion)
            child.stdin.close()
            child.wait()
        except BaseException:
            child.kill()
            raise


def _ask(stdin: IO[str], stdout: IO[str], conversion: Conversion) -> dict[str, Any] | None:
    """Send one job to the child and wait for its answer; None if it ended."""
    try:
        stdin.write(json.dumps([str(path) for path in conversion]) + "\n")
        stdin.flush()
        line = stdout.readline()
    except BrokenPipeError:
        return None
    return json.loads(line) if line else None


def _raise_if_refused(answer: Mapping[str, Any]) -> None:
    """Raise the error that the child reports."""
    classes = {error.__name__: error for error in (ModelLoadError, CheckpointMissingError)}
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["file"])
    if "error" in answer:
        raise classes.get(answer["error"], ModelLoadError)(answer["message"], answer["details"])


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent is killed, so that nothing of it goes on writing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Convert files as jobs arrive on standard input, one JSON list a line."""
    _end_with_parent()
    for line in sys.stdin:
        source, destination = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            answer["n_tensors"] = convert_file(Conversion(Path(source), Path(destination)))
        except PerioGTError as error:
            answer = {"error": type(error).__name__, "message": error.message, "details": error.details}
        except OSError as error:
            answer = {"errno": error.errno or 0, "file": str(error.filename or destination)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
