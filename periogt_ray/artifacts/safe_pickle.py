"""Read the two kinds of pickle that the release consists of, without running anything in them.

A pickle is a program: loading one from elsewhere with :mod:`pickle` runs whatever its author
wrote. The unpickler here knows a handful of names (numpy arrays, dtypes and scalars, sklearn's
``StandardScaler``, a few builtins), each bound to a small stand-in of our own that only records
what the pickle says. Any other name is refused before it is looked up, so nothing is imported.
Arrays are built afterwards, from bytes and from a dtype of a fixed list, never by numpy's own
unpickling code. sklearn and joblib are not needed.
"""

import io
import pickle
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from periogt_ray.errors import ModelLoadError

__all__ = ["PICKLE_ERRORS", "PickledObject", "load_plain_pickle", "load_scaler_arrays", "load_split"]

# The scaler has 39 kB and the largest split some 100 kB; a pickle far above is none of them.
MAX_PICKLE_BYTES = 64 * 2**20
_PLAIN_DTYPE = re.compile(r"[<>=|]?(?:[fiu][1248]|b1)")
_MAX_DEPTH = 50

# What malformed pickle bytes raise, apart from pickle.UnpicklingError itself.
PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
)


class PickledObject:
    """An instance of a class that is not imported; ``state`` is what the pickle stored of it."""

    def __init__(self, *_args: object) -> None:
        self.state: Mapping[str, Any] = {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state


class _Dtype:
    """A dtype as pickled: its code, then the byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        """Return the dtype if it is a plain number or bool."""
        if not isinstance(self.code, str) or not _PLAIN_DTYPE.fullmatch(self.code):
            raise ValueError(f"an array of dtype {self.code!r}; only numbers are expected")
        dtype = np.dtype(self.code)
        if self.order in ("<", ">"):
            return dtype.newbyteorder("<" if self.order == "<" else ">")
        return dtype


class _Array:
    """An array as pickled: shape, dtype, order, bytes (or a list for an array of objects)."""

    def __init__(self, *_args: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def resolve(self, depth: int) -> Any:
        """Return a numpy array, or a list for an array of objects."""
        _version, shape, dtype, is_fortran, data = self.state
        if isinstance(data, list) and isinstance(dtype, _Dtype) and dtype.code in ("O", "O8"):
            return _resolve(data, depth)
        if not isinstance(data, bytes) or not isinstance(dtype, _Dtype):
            raise ValueError("an array without its bytes")
        flat = np.frombuffer(data, dtype=dtype.resolve())
        return flat.reshape(shape, order="F" if is_fortran else "C").copy()


class _Scalar:
    """A numpy scalar as pickled: dtype and bytes."""

    def __init__(self, dtype: _Dtype, data: bytes) -> None:
        self.dtype = dtype
        self.data = data

    def resolve(self) -> Any:
        """Return the Python number."""
        return np.frombuffer(self.data, dtype=self.dtype.resolve(), count=1)[0].item()


def _frombuffer(data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    """Stand in for numpy's function of this name, by which protocol 5 writes arrays."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(data))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


def _reconstructor(kind: Callable[..., Any], _base: object, _state: object) -> Any:
    """Stand in for ``copyreg._reconstructor``, by which protocols 0 and 1 write objects."""
    return kind()


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_SCALER_MODULES = ("sklearn.preprocessing._data", "sklearn.preprocessing.data")


def _stand_in(module: str, name: str) -> Callable[..., Any]:
    """Return a fresh stand-in for a global; made anew each time so that a pickle cannot alter it for the next."""
    table: dict[tuple[str, str], Callable[[], Callable[..., Any]]] = {
        ("numpy", "ndarray"): lambda: type("ndarray", (_Array,), {}),
        ("numpy", "dtype"): lambda: type("dtype", (_Dtype,), {}),
        ("builtins", "object"): lambda: type("object", (PickledObject,), {}),
        ("__builtin__", "object"): lambda: type("object", (PickledObject,), {}),
        ("_codecs", "encode"): lambda: partial(_encode),
        ("copyreg", "_reconstructor"): lambda: partial(_reconstructor),
        ("copy_reg", "_reconstructor"): lambda: partial(_reconstructor),
    }
    for arrays in _ARRAY_MODULES:
        table[arrays, "_reconstruct"] = lambda: partial(_Array)
        table[arrays, "scalar"] = lambda: partial(_Scalar)
    for buffers in _BUFFER_MODULES:
        table[buffers, "_frombuffer"] = lambda: partial(_frombuffer)
    for scalers in _SCALER_MODULES:
        table[scalers, "StandardScaler"] = lambda: type("StandardScaler", (PickledObject,), {})
    if (module, name) not in table:
        raise ModelLoadError(
            f"the pickle asks for {module}.{name}, which neither a descriptor scaler nor a split needs; "
            "it is refused and nothing in it was run. Fetch the file again from its publisher.",
            {"global": f"{module}.{name}"},
        )
    return table[module, name]()


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that resolves names from the table above only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a global, or refuse it."""
        return _stand_in(module, name)


def _resolve(value: Any, depth: int = 0) -> Any:
    """Turn recorded arrays and scalars into real ones, at most 50 levels deep."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(value, _Array):
        return value.resolve(depth + 1)
    if isinstance(value, _Scalar):
        return value.resolve()
    if isinstance(value, dict):
        return {key: _resolve(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(item, depth + 1) for item in value]
    if isinstance(value, PickledObject):
        value.state = _resolve(value.state, depth + 1)
    return value


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of numbers, arrays, lists, dicts and scalers.

    Parameters
    ----------
    path : pathlib.Path
        File of at most 64 MiB, any pickle protocol.

    Returns
    -------
    object
        dict, list (also for tuples), numbers, strings, ``numpy.ndarray``, :class:`PickledObject`.

    Raises
    ------
    ModelLoadError
        The file names anything else, or is not a pickle; nothing in it was executed.
    """
    size = path.stat().st_size
    if size > MAX_PICKLE_BYTES:
        raise ModelLoadError(f"{path}: {size} bytes, far more than a scaler or a split has; it is not read.")
    try:
        return _resolve(_PlainUnpickler(io.BytesIO(path.read_bytes())).load())
    except ModelLoadError as error:
        raise ModelLoadError(f"{path}: {error.message}", {**error.details, "file": str(path)}) from None
    except PICKLE_ERRORS as error:
        raise ModelLoadError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}). Fetch the file again.",
            {"file": str(path)},
        ) from error


def load_scaler_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read mean and scale of a pickled ``StandardScaler``.

    Returns
    -------
    tuple of numpy.ndarray
        float64 [n_descriptors] each.

    Raises
    ------
    ModelLoadError
        The pickle is refused or holds something else.
    """
    scaler = load_plain_pickle(path)
    state = scaler.state if isinstance(scaler, PickledObject) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(key), np.ndarray) for key in ("mean_", "scale_")):
        raise ModelLoadError(f"{path}: expected a fitted StandardScaler (mean_ and scale_), found something else.")
    return state["mean_"].astype(np.float64), state["scale_"].astype(np.float64)


def load_split(path: Path) -> list[list[int]]:
    """Read a pickled split: three lists of row numbers, for training, validation and test.

    Raises
    ------
    ModelLoadError
        The pickle is refused or holds something else.
    """
    parts = load_plain_pickle(path)
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(p, list | np.ndarray) for p in parts):
        raise ModelLoadError(f"{path}: expected three lists of row numbers (train, val, test), found something else.")
    rows = [part.tolist() if isinstance(part, np.ndarray) else part for part in parts]
    if not all(isinstance(row, int) and row >= 0 for part in rows for row in part):
        raise ModelLoadError(f"{path}: expected row numbers, found other values.")
    return rows
