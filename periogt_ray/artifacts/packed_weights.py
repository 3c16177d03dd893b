"""Weights in a quarter of float32's size: whole steps of a row's standard deviation, compressed.

A matrix is stored as int8 multiples of a step that each row has for itself, a 24th of the row's standard deviation, so
that rounding changes a weight by about one percent of it; vectors are stored as float16. The file is a safetensors
file of two tensors, ``codes`` and ``plain``, and its metadata say what they hold.
"""

import json
import zlib
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["pack", "packed_shapes", "unpack"]

_KEY = "periogt.packed"
_STEPS_PER_DEVIATION = 24
_LARGEST_CODE = 127
_MOST_CODES = 1 << 30


def pack(state: "Mapping[str, torch.Tensor]") -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """Return tensors and metadata of a packed file.

    Parameters
    ----------
    state : Mapping
        Float32 tensors by key.
    """
    import torch

    codes: list[np.ndarray] = []
    plain: list[np.ndarray] = []
    for tensor in state.values():
        values = tensor.detach().float().numpy()
        if values.ndim != 2:
            plain.append(values.ravel())
            continue
        steps = np.maximum(values.std(axis=1) / _STEPS_PER_DEVIATION, np.abs(values).max(axis=1) / _LARGEST_CODE)
        steps = steps.astype(np.float16).astype(np.float32)
        safe = np.where(steps > 0, steps, 1)[:, None]
        codes.append(np.clip(np.rint(values / safe), -_LARGEST_CODE, _LARGEST_CODE).astype(np.int8).ravel())
        plain.append(steps)
    compressed = zlib.compress(np.concatenate(codes).tobytes(), 9)
    # The wider numbers come first, so that they are aligned.
    tensors = {
        "plain": torch.from_numpy(np.concatenate(plain).astype(np.float16)),
        "codes": torch.frombuffer(bytearray(compressed), dtype=torch.uint8),
    }
    return tensors, {_KEY: json.dumps({key: list(tensor.shape) for key, tensor in state.items()})}


def packed_shapes(metadata: Mapping[str, str] | None) -> dict[str, tuple[int, ...]] | None:
    """Return the shapes that the metadata of a safetensors file name; None if it is not a packed one.

    Raises
    ------
    ValueError
        They are damaged.
    """
    if not metadata or _KEY not in metadata:
        return None
    document = json.loads(metadata[_KEY])
    shapes = {str(key): tuple(int(n) for n in shape) for key, shape in document.items()}
    if any(n < 0 for shape in shapes.values() for n in shape) or sum(map(prod, shapes.values())) > _MOST_CODES:
        raise ValueError("shapes of packed tensors that cannot be right")
    return shapes


def unpack(tensors: "Mapping[str, torch.Tensor]", shapes: Mapping[str, tuple[int, ...]]) -> "dict[str, torch.Tensor]":
    """Return the float32 tensors of a packed file.

    Raises
    ------
    ValueError
        The file does not hold what its metadata say.
    """
    import torch

    n_codes = sum(prod(shape) for shape in shapes.values() if len(shape) == 2)
    engine = zlib.decompressobj()
    raw = engine.decompress(tensors["codes"].numpy().tobytes(), n_codes + 1)
    codes, plain = np.frombuffer(raw, np.int8), tensors["plain"].float().numpy()
    n_plain = sum(shape[0] if len(shape) == 2 else prod(shape) for shape in shapes.values())
    if len(codes) != n_codes or plain.shape != (n_plain,):
        raise ValueError(f"{len(codes)} codes and {len(plain)} numbers; expected {n_codes} and {n_plain}")
    state, code_at, plain_at = {}, 0, 0
    for key, shape in shapes.items():
        n = shape[0] if len(shape) == 2 else prod(shape)
        values = plain[plain_at : plain_at + n]
        plain_at += n
        if len(shape) == 2:
            steps, n = values, prod(shape)
            values = codes[code_at : code_at + n].reshape(shape).astype(np.float32) * steps[:, None]
            code_at += n
        state[key] = torch.from_numpy(np.ascontiguousarray(values.reshape(shape)))
    return state
