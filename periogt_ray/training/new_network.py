"""A network at the start of its training: the pretrained encoder, and a head with new values."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.model.composite_network import CopolymerRegressor
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor
from periogt_ray.polymer.input_kinds import InputKind

__all__ = ["FAMILIES", "new_network", "new_parts", "untrained_extras"]

# By what a network is for: its family, as artifacts name it.
FAMILIES: Mapping[InputKind, str] = {InputKind.HOMOPOLYMER: "common", InputKind.COPOLYMER: "copolymer"}

_WEIGHT_STD = 0.02
_NEW_KEYS = ("node_attn.", "predictor.", "triplet_emb.embedding.", "triplet_emb.global_node_emb.")
_ALPHA = 0.5
# The encoder's files may hold them. Nothing computes with them, but the authors' programs want them in finetuned files.
_EXTRAS = ("mask_emb.weight", "model.mask_emb.weight")


def new_network(
    encoder: PerioGTEncoder, *, dropout: float, seed: int, kind: InputKind = InputKind.HOMOPOLYMER
) -> PerioGTRegressor:
    """Make a network to be trained.

    The new parts get the values that PerioGT's authors give them: linear weights normal with a standard deviation of
    0.02, the attentions' inputs uniform (Xavier), the class token standard normal, alpha 0.5, biases 0. States of
    ratios and architectures are normal with 0.02, too; those of the authors are not known.

    Parameters
    ----------
    encoder : PerioGTEncoder
        The pretrained network, whose tensors are copied.
    dropout : float
        Acts in training mode.
    seed : int
        Of the new values.
    kind : InputKind
        Whether it is for repeat units or for copolymers.

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
        network = (CopolymerRegressor if kind is InputKind.COPOLYMER else PerioGTRegressor)(sizes, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    head = network.node_attn
    with torch.no_grad():
        for part in (head, network.predictor):
            for module in part.modules():
                _initialize(module, generator)
        head.cls_token.normal_(generator=generator)
        head.alpha.fill_(_ALPHA)
        if isinstance(network, CopolymerRegressor):
            for table in _tables(network):
                table.weight.normal_(std=_WEIGHT_STD, generator=generator)
            head.get_parameter("virutal_node_emb.weight").zero_()  # without effect
    missing, unknown = network.load_state_dict(encoder.state_dict(), strict=False)
    if unknown or any(not key.startswith(_NEW_KEYS) for key in missing):
        raise ValueError(f"not a pretrained encoder: missing {missing}, unknown {unknown}")
    return network.requires_grad_(True)


def new_parts(network: PerioGTRegressor) -> Iterator[nn.Module]:
    """Yield what of a network is not the pretrained encoder's."""
    yield network.node_attn
    yield network.predictor
    if isinstance(network, CopolymerRegressor):
        yield from _tables(network)


def _tables(network: CopolymerRegressor) -> tuple[nn.Embedding, nn.Embedding]:
    return network.triplet_emb.embedding, network.triplet_emb.global_node_emb


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
