"""Rounding networks to what is stored, so that every figure is measured with the weights that are shipped."""

from pathlib import Path

import torch
from safetensors.torch import save

from periogt_ray.artifacts.packed_weights import pack
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.runtime.files import write_bytes_atomically

__all__ = ["to_half_precision", "write_packed"]


def to_half_precision(network: PerioGTEncoder) -> None:
    """Round a network's weights to float16."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.to(torch.float16).float())


def write_packed(path: Path, network: PerioGTEncoder) -> None:
    """Write a network's weights in about a byte each."""
    tensors, metadata = pack(network.state_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, save(tensors, metadata))
