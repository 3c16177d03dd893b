"""Weight files: names and shapes of their tensors without reading them, and the tensors.

Shapes come from the header of a safetensors file, or from the small pickle inside a ``.pth``
file read by an unpickler that builds nothing; neither needs torch and both take milliseconds.
"""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from periogt_ray.artifacts.packed_weights import packed_shapes, unpack
from periogt_ray.artifacts.safe_pickle import PICKLE_ERRORS
from periogt_ray.errors import ModelLoadError

if TYPE_CHECKING:
    import torch

__all__ = [
    "WEIGHT_SUFFIXES",
    "Shapes",
    "read_shapes",
    "read_state_dict",
]

Shapes = dict[str, tuple[int, ...]]

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")

# Names and shapes of the 117 M parameter model take 30 kB; its pickle 20 kB.
_MAX_HEADER_BYTES = 32 * 2**20
_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."


class _TensorStub:
    """Stands for a tensor of a ``.pth`` file: only its shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def _rebuild_stub(*args: Any) -> _TensorStub:
    """Record the shape of ``torch._utils._rebuild_tensor_v2(storage, offset, size, ...)``."""
    return _TensorStub(tuple(int(n) for n in args[2]))


class _ShapeUnpickler(pickle.Unpickler):
    """Reads ``data.pkl`` of a ``.pth`` file; tensors become stubs and any unexpected name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stub for what a state dict consists of."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return partial(_rebuild_stub)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_args: data
        if module == "torch" and (name.endswith("Storage") or name == "Size"):
            return tuple
        raise ModelLoadError(
            f"the checkpoint asks for {module}.{name}, which weights do not need; it is refused and nothing in it was "
            "run. Fetch the file again from its publisher.",
            {"global": f"{module}.{name}"},
        )

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage reference as it is; the data are not read."""
        return pid


def _shapes_of_zip(path: Path) -> Shapes:
    """Read the names and shapes of a ``.pth`` file in torch's zip format."""
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if len(members) != 1 or members[0].file_size > _MAX_HEADER_BYTES:
            raise ValueError("a zip file without the one data.pkl that torch writes")
        document = _ShapeUnpickler(io.BytesIO(archive.read(members[0]))).load()
    return {key: value.shape for key, value in _unwrap(document).items() if isinstance(value, _TensorStub)}


def _shapes_of_safetensors(path: Path) -> Shapes:
    """Read the names and shapes from the header of a safetensors file, and hold its length against them."""
    with path.open("rb") as file:
        (n_header,) = struct.unpack("<Q", file.read(8))
        if n_header > _MAX_HEADER_BYTES:
            raise ValueError(f"a header of {n_header} bytes")
        header = json.loads(file.read(n_header))
    entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
    expected_bytes = 8 + n_header + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if path.stat().st_size != expected_bytes:
        raise ValueError(f"{path.stat().st_size} bytes where its header says {expected_bytes}")
    packed = packed_shapes(header.get("__metadata__"))
    return packed or {key: tuple(entry["shape"]) for key, entry in entries.items()}


def _read_safetensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read the tensors of a safetensors file, of a packed one those that it stands for."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        packed = packed_shapes(file.metadata())
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors if packed is None else unpack(tensors, packed)


def _unwrap(document: Any) -> dict[str, Any]:
    """Return the state dict inside a checkpoint, which may hold it beside an optimizer's state."""
    if isinstance(document, dict):
        for key in _WRAPPER_KEYS:
            if isinstance(document.get(key), dict):
                return dict(document[key])
        return dict(document)
    raise TypeError(f"a {type(document).__name__} where a state dict was expected")


def _strip_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the ``module.`` that data-parallel training puts before every key."""
    if state and all(key.startswith(_PREFIX) for key in state):
        return {key.removeprefix(_PREFIX): value for key, value in state.items()}
    return dict(state)


def _unreadable(path: Path, error: Exception) -> ModelLoadError:
    """Make the error for a weight file that cannot be read."""
    return ModelLoadError(
        f"{path}: not a readable checkpoint ({type(error).__name__}: {error}). "
        "Put an intact copy in its place, or remove it and run `periogt setup`.",
        {"file": str(path)},
    )


def read_shapes(path: Path) -> Shapes:
    """Return name and shape of every tensor of a weight file, without reading the weights.

    Parameters
    ----------
    path : pathlib.Path
        ``.safetensors``, or ``.pth``/``.pt`` as ``torch.save`` writes them. The older ``.pth``
        format (torch before 1.6) has no separate header and is read whole.

    Returns
    -------
    dict
        Names without ``module.``.

    Raises
    ------
    ModelLoadError
        The file is corrupt, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return _strip_prefix(_shapes_of_safetensors(path))
        if zipfile.is_zipfile(path):
            return _strip_prefix(_shapes_of_zip(path))
    except ModelLoadError as error:
        raise ModelLoadError(f"{path}: {error.message}", {**error.details, "file": str(path)}) from None
    except (*PICKLE_ERRORS, OSError, struct.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise _unreadable(path, error) from error
    return {key: tuple(value.shape) for key, value in read_state_dict(path).items()}


def read_state_dict(path: Path) -> "dict[str, torch.Tensor]":
    """Load the tensors of a weight file to CPU memory; never runs code from the file.

    Returns
    -------
    dict
        Names without ``module.``.

    Raises
    ------
    ModelLoadError
        The file is corrupt, or holds anything but tensors.
    """
    import torch
    from safetensors import SafetensorError

    try:
        if path.suffix == ".safetensors":
            return _strip_prefix(_read_safetensors(path))
        document = _unwrap(torch.load(path, map_location="cpu", weights_only=True))
    except (*PICKLE_ERRORS, OSError, RuntimeError, SafetensorError, struct.error, zlib.error) as error:
        raise _unreadable(path, error) from error
    return _strip_prefix({key: value for key, value in document.items() if isinstance(value, torch.Tensor)})
