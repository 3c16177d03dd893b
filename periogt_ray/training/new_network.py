"""A network at the start of its training: the pretrained encoder, and a head with new values."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor

__all__ = ["new_network", "untrained_extras"]

_WEIGHT_STD = 0.02
_ALPHA = 0.5
# The encoder's files may hold them. Nothing computes with them, but the authors' programs want them in finetuned files.
_EXTRAS = ("mask_emb.weight", "model.mask_emb.weight")


def new_network(encoder: PerioGTEncoder, *, dropout: float, seed: int) -> PerioGTRegressor:
    """Make a network to be trained.

    The new parts get the values that PerioGT's authors give them: linear weights normal with a standard deviation of
    0.02, the attentions' inputs uniform (Xavier), the class token standard normal, alpha 0.5, biases 0.

    Parameters
    ----------
    encoder : PerioGTEncoder
        The pretrained network, whose tensors are copied.
    dropout : float
        Acts in training mode.
    seed : int
        Of the new values.

    Examples
    --------
    >>> from periogt_ray.artifacts.directory import ArtifactDirectory
    >>> from periogt_ray.model.network import load_encoder
    >>> from periogt_ray.settings import EMBEDDED_DIR
    >>> artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    >>> encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    >>> new_network(encoder, dropout=0.1, seed=0).node_attn.alpha.item()
    0.5
    """
    sizes: ModelSizes = encoder.sizes
    with torch.random.fork_rng(devices=[]):
        network = PerioGTRegressor(sizes, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    head = network.node_attn
    with torch.no_grad():
        for part in (head, network.predictor):
            for module in part.modules():
                _initialize(module, generator)
        head.cls_token.normal_(generator=generator)
        head.alpha.fill_(_ALPHA)
    missing, unknown = network.load_state_dict(encoder.state_dict(), strict=False)
    if unknown or any(not key.startswith(("node_attn.", "predictor.")) for key in missing):
        raise ValueError(f"not a pretrained encoder: missing {missing}, unknown {unknown}")
    return network.requires_grad_(True)


def _initialize(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.MultiheadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
        nn.init.zeros_(module.in_proj_bias)
    elif isinstance(module, nn.Linear):
        module.weight.normal_(std=_WEIGHT_STD, generator=generator)
        nn.init.zeros_(module.bias)


def untrained_extras(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of an encoder's file that a finetuned file carries along untrained."""
    return {key: state[key].float() for key in _EXTRAS if key in state}
