"""The networks of copolymers and conditions, apart from golden weights: sizes, training, padding."""

from collections.abc import Sequence

import pytest
import torch

from periogt_ray.artifacts.architecture import ModelSizes, identify
from periogt_ray.artifacts.scaler import Scaler, read_scaler
from periogt_ray.model.collate import GraphBatch, PromptBatch, collate_prompts
from periogt_ray.model.composite_network import ConditionsRegressor, CopolymerRegressor, load_head
from periogt_ray.model.composite_passes import collate_composites, prompt_counts
from periogt_ray.model.network import PerioGTRegressor
from periogt_ray.model.prompts import prompt_rows
from periogt_ray.polymer.input_features import FeaturizedComposite
from periogt_ray.polymer.prompt_scheme import PromptScheme
from support.golden import ARTIFACTS
from support.golden_copolymers import conditioned, copolymers, features_of

WIDTH = 48
SIZES = ModelSizes(width=WIDTH, n_layers=2, n_heads=12, path_width=4, ffn_width=192)
NETWORKS = {"copolymer": CopolymerRegressor, "conditions": ConditionsRegressor}
# Of atoms without bonds, which no polymer has, and what the reference does not use.
SILENT = {
    "node_emb.virtual_atom_emb.weight",
    "edge_emb.virutal_bond_emb.weight",
    "node_attn.virutal_node_emb.weight",
}


def polymers_of(family: str) -> list[FeaturizedComposite]:
    records = [copolymers()[i] for i in (14, 15, 21, 22)] if family == "copolymer" else conditioned()[9:14]
    return [features_of(record, PromptScheme.MONOMER) for record in records]


def batch_of(
    polymers: Sequence[FeaturizedComposite], scaler: Scaler, *, max_padding: float
) -> tuple[GraphBatch, torch.Tensor, PromptBatch]:
    """A batch, and made-up prompts that differ from row to row."""
    counts, rows, n_rows = [], [], 0
    for polymer in polymers:
        found = [prompt_rows(one, torch.tensor([g.n_triplets for g in one.graphs]).numpy()) for one in polymer.monomers]
        counts.append(prompt_counts(polymer, [count for count, _ in found]))
        n_own = int(counts[-1].sum())
        rows.append(torch.arange(n_rows, n_rows + n_own).numpy())
        n_rows += n_own
    batch = collate_composites(polymers, scaler, max_padding=max_padding)
    states = torch.randn(n_rows, WIDTH, generator=torch.Generator().manual_seed(1))
    return batch, states, collate_prompts(counts, rows, batch.first_nodes)


def network_of(family: str) -> PerioGTRegressor:
    torch.manual_seed(0)
    return NETWORKS[family](SIZES)


@pytest.mark.parametrize("family", NETWORKS)
def test_every_weight_but_the_unused_ones_is_trained(family: str) -> None:
    network = network_of(family)
    torch.nn.init.ones_(network.node_attn.alpha)
    batch, states, prompts = batch_of(polymers_of(family), read_scaler(ARTIFACTS), max_padding=0.5)
    network.predict(batch, states, prompts).square().sum().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert silent == SILENT


@pytest.mark.parametrize("family", NETWORKS)
@torch.inference_mode()
def test_padding_moves_predictions_by_rounding_only(family: str) -> None:
    network = network_of(family).eval()
    tight, padded = (batch_of(polymers_of(family), read_scaler(ARTIFACTS), max_padding=one) for one in (0.0, 0.9))
    assert len(padded[0].groups) < len(tight[0].groups)
    torch.testing.assert_close(network.predict(*padded), network.predict(*tight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", NETWORKS)
def test_what_is_trained_here_is_recognised_and_loads(family: str) -> None:
    network = network_of(family)
    found = identify({key: tuple(tensor.shape) for key, tensor in network.state_dict().items()})
    assert (found.family, found.reason) == (family, None)
    assert type(load_head(family, network.state_dict(), "own.pth")) is NETWORKS[family]
