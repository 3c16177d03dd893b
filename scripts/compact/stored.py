"""Rounding networks to what is stored, so that every figure is measured with the weights that are shipped."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

from periogt_ray.artifacts.packed_weights import pack, packed_shapes, unpack
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.runtime.files import write_bytes_atomically

__all__ = ["to_half_precision", "write_packed"]

_KINDS = {torch.uint8: "U8", torch.float16: "F16"}


def to_half_precision(network: PerioGTEncoder) -> None:
    """Round a network's weights to float16."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.to(torch.float16).float())


def write_packed(path: Path, network: PerioGTEncoder) -> None:
    """Write a network's weights in about a byte each, and round the network to what the file holds."""
    tensors, metadata = pack(network.state_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, _safetensors(tensors, metadata))
    network.load_state_dict(unpack(tensors, packed_shapes(metadata) or {}))


def _safetensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file; the library need not be installed where networks are trained."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    content = b""
    for name, tensor in tensors.items():
        data = tensor.numpy().tobytes()
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content
