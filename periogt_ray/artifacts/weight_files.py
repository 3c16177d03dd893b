"""Weight files: their names and shapes without reading them, what network they are, their tensors.

Shapes come from the header of a safetensors file, or from the small pickle inside a ``.pth``
file read by an unpickler that builds nothing; neither needs torch and both take milliseconds.
A network is told by the names and shapes of its tensors, never by the name of its file.
"""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from periogt_ray.artifacts.safe_pickle import PICKLE_ERRORS
from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.dimensions import N_ATOM_FEATURES, N_BOND_FEATURES, N_DESCRIPTORS, N_FINGERPRINT_BITS

if TYPE_CHECKING:
    import torch

__all__ = [
    "WEIGHT_SUFFIXES",
    "Architecture",
    "Shapes",
    "identify",
    "read_shapes",
    "read_state_dict",
]

Shapes = dict[str, tuple[int, ...]]

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")

# Names and shapes of the 117 M parameter model take 30 kB; its pickle 20 kB.
_MAX_HEADER_BYTES = 32 * 2**20
_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."

_EXPECTED_INPUTS = {
    "node_emb.in_proj.weight": N_ATOM_FEATURES,
    "edge_emb.in_proj.weight": N_BOND_FEATURES,
    "triplet_emb.fp_proj.in_proj.weight": N_FINGERPRINT_BITS,
    "triplet_emb.md_proj.in_proj.weight": N_DESCRIPTORS,
}
_ENCODER_KEYS = (
    *_EXPECTED_INPUTS,
    "triplet_emb.in_proj.in_proj.weight",
    "model.path_len_emb.weight",
    "model.dist_attn_layer.2.weight",
    "model.path_attn_layer.0.weight",
    "model.mol_T_layers.0.qkv.weight",
)
_HEAD_KEYS = ("node_attn.cls_token", "predictor.0.weight", "predictor.3.weight")
# Tensors that only the networks of the release's other two programs have.
_COPOLYMER_PREFIXES = ("triplet_emb.embedding.", "triplet_emb.global_node_emb.")
_CONDITIONS_PREFIXES = ("triplet_emb.gs_proj.",)


@dataclass(frozen=True)
class Architecture:
    """What a state dict's names and shapes say it is.

    Attributes
    ----------
    family : str
        ``encoder`` (pretrained), ``common`` (one property of a homopolymer), ``copolymer``,
        ``conditions`` or ``unknown``.
    dims : dict
        Sizes read off the shapes; empty for ``unknown``.
    reason : str or None
        Why a property with these weights is not served; None for ``encoder`` and ``common``.
    """

    family: str
    dims: dict[str, int]
    reason: str | None = None


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
    return {key: tuple(entry["shape"]) for key, entry in entries.items()}


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
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return _strip_prefix(load_file(path))
        document = _unwrap(torch.load(path, map_location="cpu", weights_only=True))
    except (*PICKLE_ERRORS, OSError, RuntimeError, SafetensorError, struct.error) as error:
        raise _unreadable(path, error) from error
    return _strip_prefix({key: value for key, value in document.items() if isinstance(value, torch.Tensor)})


def _dims(shapes: Shapes) -> dict[str, int]:
    """Read the sizes of the encoder off its shapes."""
    layers = {key.split(".")[2] for key in shapes if key.startswith("model.mol_T_layers.")}
    return {
        "width": shapes["node_emb.in_proj.weight"][0],
        "n_layers": len(layers),
        "n_heads": shapes["model.dist_attn_layer.2.weight"][0],
        "path_length": shapes["model.path_len_emb.weight"][0] - 1,
        "path_width": shapes["model.path_attn_layer.0.weight"][0],
        "n_fingerprint_bits": shapes["triplet_emb.fp_proj.in_proj.weight"][1],
        "n_descriptors": shapes["triplet_emb.md_proj.in_proj.weight"][1],
    }


def identify(shapes: Shapes) -> Architecture:
    """Tell which network a state dict belongs to.

    Parameters
    ----------
    shapes : dict
        From :func:`read_shapes`.
    """
    missing = [key for key in _ENCODER_KEYS if len(shapes.get(key, ())) != 2]
    if missing:
        return Architecture("unknown", {}, f"not the network of PerioGT: no usable {missing[0]}")
    for key, n_inputs in _EXPECTED_INPUTS.items():
        if shapes[key][1] != n_inputs:
            return Architecture("unknown", {}, f"{key} takes {shapes[key][1]} inputs, expected {n_inputs}")
    dims = _dims(shapes)
    if any(key.startswith(_COPOLYMER_PREFIXES) for key in shapes):
        return Architecture("copolymer", dims, "a copolymer network; one repeat unit is not its input")
    if any(key.startswith(_CONDITIONS_PREFIXES) for key in shapes):
        return Architecture("conditions", dims, "a network with further inputs (conditions) besides the repeat unit")
    return Architecture(*_identify_head(shapes, dims))


def _identify_head(shapes: Shapes, dims: dict[str, int]) -> tuple[str, dict[str, int], str | None]:
    """Tell an encoder alone from one with the property head of a homopolymer."""
    n_head_keys = sum(key in shapes for key in _HEAD_KEYS)
    if n_head_keys == 0 and not any(key.startswith(("node_attn.", "predictor.")) for key in shapes):
        return "encoder", dims, None
    if n_head_keys < len(_HEAD_KEYS):
        return "unknown", dims, "its property head is not complete"
    hidden, output = shapes["predictor.0.weight"], shapes["predictor.3.weight"]
    if hidden[1:] != (3 * dims["width"],) or output != (1, hidden[0]):
        return "unknown", dims, f"its property head has shapes {hidden} and {output}"
    return "common", dims, None
