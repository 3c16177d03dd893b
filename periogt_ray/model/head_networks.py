"""The finetuned networks that are kept in memory."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import InternalError
from periogt_ray.model.composite_network import load_head
from periogt_ray.model.network import PerioGTRegressor

__all__ = ["HeadNetworks"]

logger = logging.getLogger(__name__)


class HeadNetworks:
    """The finetuned networks, loaded on first use; the least recently used ones go when memory is full.

    The members of a property are loaded, and go, together.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        Where the weights are.
    device : torch.device
        Where the networks run.
    width : int
        Width of the encoder, which theirs has to equal.
    max_bytes : int
        Memory for all of them; one is always kept.
    """

    def __init__(self, artifacts: ArtifactDirectory, device: torch.device, *, width: int, max_bytes: int) -> None:
        self._artifacts = artifacts
        self._device = device
        self._width = width
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[str, list[PerioGTRegressor]] = OrderedDict()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Properties whose networks are in memory, the least recently used one first."""
        return tuple(self._loaded)

    def get(self, info: PropertyInfo) -> list[PerioGTRegressor]:
        """Return the network of a property, or its members.

        Raises
        ------
        CheckpointMissingError, ModelLoadError
            If its weights are absent or cannot be used.
        InternalError
            If it does not belong to the encoder.
        """
        if info.id in self._loaded:
            self._loaded.move_to_end(info.id)
            return self._loaded[info.id]
        networks = [self._load(info, member, path) for member, path in enumerate(info.weight_paths)]
        needed = _n_bytes(networks)
        while self._loaded and needed + sum(map(_n_bytes, self._loaded.values())) > self._max_bytes:
            dropped, _ = self._loaded.popitem(last=False)
            logger.info("dropped the weights of %s to make room for %s", dropped, info.id)
        self._loaded[info.id] = [network.to(self._device) for network in networks]
        return self._loaded[info.id]

    def _load(self, info: PropertyInfo, member: int, path: str) -> PerioGTRegressor:
        network = load_head(info.family, self._artifacts.property_state_dict(info.id, member=member), path)
        if network.sizes.width != self._width:
            raise InternalError(
                f"{path} has width {network.sizes.width}, the encoder {self._width}; they are not of one release."
            )
        return network


def _n_bytes(networks: Sequence[torch.nn.Module]) -> int:
    tensors = (tensor for network in networks for tensor in network.state_dict().values())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
