import math

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.collate import GraphBatch, collate, match_prompts
from periogt_ray.model.network import PerioGTEncoder, load_encoder, load_regressor
from periogt_ray.polymer.dgl_graph import to_dgl
from periogt_ray.polymer.triplet_graph import TripletGraph
from support.golden import ARTIFACTS
from support.graphs import graphs_of

SMILES = ["*CC*", "*CC(*)c1ccccc1", "*CCCCCC(=O)N*", "*C=CC=C*", "*c1ccc(*)s1"]
SIZES = ModelSizes(width=48, n_layers=3, n_heads=12, path_width=4, ffn_width=192)


@pytest.fixture(scope="module")
def graphs() -> list[TripletGraph]:
    return [graph for smiles in SMILES for graph in graphs_of(smiles)]


@pytest.fixture(scope="module")
def encoder() -> PerioGTEncoder:
    torch.manual_seed(0)
    return PerioGTEncoder(SIZES).eval().requires_grad_(False)


def batch_of(graphs: list[TripletGraph], *, max_padding: float = 0.0) -> GraphBatch:
    generator = np.random.default_rng(1)
    fingerprints = generator.integers(0, 2, (len(graphs), 1191)).astype(np.float32)
    descriptors = generator.normal(size=(len(graphs), 1613)).astype(np.float32)
    return collate(graphs, list(fingerprints), list(descriptors), max_padding=max_padding)


@pytest.mark.parametrize("max_padding", [0.0, 0.2, 0.9])
def test_dense_attention_equals_message_passing(
    encoder: PerioGTEncoder, graphs: list[TripletGraph], max_padding: float
) -> None:
    pytest.importorskip("dgl", reason="has no release for this Python")
    from support.dgl_reference import encode

    batch = batch_of(graphs, max_padding=max_padding)
    first = encoder.embed(batch)
    final = encoder(batch)
    if max_padding > 0.5:
        assert len(batch.groups) < len({graph.n_triplets for graph in graphs})
    for graph, start in zip(graphs, batch.first_nodes, strict=True):
        nodes = slice(start, start + graph.n_triplets)
        torch.testing.assert_close(final[nodes], encode(encoder, to_dgl(graph), first[nodes]), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_states_do_not_depend_on_the_company(encoder: PerioGTEncoder, graphs: list[TripletGraph]) -> None:
    together = batch_of(graphs)
    states, readout = encoder(together), encoder.readout(encoder(together), together)
    rank = together.graph_order.tolist()
    for index, graph in enumerate(graphs):
        row = rank[index]
        alone = collate([graph], [together.fingerprints[row].numpy()], [together.descriptors[row].numpy()])
        start = together.first_nodes[index]
        expected = encoder(alone)
        assert torch.equal(states[start : start + graph.n_triplets], expected)
        assert torch.equal(readout[index], encoder.readout(expected, alone)[0])


def test_readout_is_in_the_order_given(encoder: PerioGTEncoder, graphs: list[TripletGraph]) -> None:
    for max_padding in (0.0, 0.5):
        batch = batch_of(graphs, max_padding=max_padding)
        states = encoder(batch)
        readout = encoder.readout(states, batch)
        for index, graph in enumerate(graphs):
            nodes = states[batch.first_nodes[index] : batch.first_nodes[index] + graph.n_triplets]
            expected = torch.cat([nodes[-2], nodes[-1], nodes[:-2].mean(dim=0)])
            torch.testing.assert_close(readout[index], expected, atol=1e-5, rtol=1e-5)


def test_prompts_are_nodes_of_the_same_class_in_order() -> None:
    first = np.array([0, 1, 1, 9, -1, -2])
    second = np.array([1, 0, 9, 9, -1, -2])
    counts, nodes = match_prompts([first, second], limit=3)
    assert counts.tolist() == [2, 3, 3, 3, 2, 2]
    assert np.split(nodes, np.cumsum(counts)[:-1])[1].tolist() == [1, 2, 6]
    assert np.split(nodes, np.cumsum(counts)[:-1])[3].tolist() == [3, 8, 9]


def test_the_network_trains(encoder: PerioGTEncoder, graphs: list[TripletGraph]) -> None:
    network = PerioGTEncoder(SIZES)
    network.load_state_dict(encoder.state_dict())
    batch = batch_of(graphs, max_padding=0.5)
    network.readout(network(batch), batch).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(silent) == {"node_emb.virtual_atom_emb.weight", "edge_emb.virutal_bond_emb.weight"}


class TestLoading:
    def state(self) -> dict[str, torch.Tensor]:
        return ArtifactDirectory.open(ARTIFACTS).property_state_dict("eps")

    def test_sizes_are_read_off_the_shapes(self) -> None:
        assert load_regressor(self.state(), "eps.pth").sizes == SIZES

    def test_prefix_and_pretraining_heads_are_accepted(self) -> None:
        state = torch.load(ARTIFACTS / "pretrained_ckpt" / "base.pth", weights_only=True)
        assert all(key.startswith("module.") for key in state)
        load_encoder(state, "base.pth")

    def test_missing_surplus_and_misshapen_keys_are_listed(self) -> None:
        state = self.state()
        del state["model.path_len_emb.weight"]
        state["predictor.7.weight"] = torch.zeros(1)
        state["node_attn.norm_1.weight"] = torch.zeros(7)
        with pytest.raises(ModelLoadError) as caught:
            load_regressor(state, "eps.pth")
        assert caught.value.details["missing"] == ["model.path_len_emb.weight"]
        assert caught.value.details["unknown"] == ["predictor.7.weight"]
        assert caught.value.details["wrong shape"] == ["node_attn.norm_1.weight [7] instead of [48]"]
        for word in ("eps.pth", "model.path_len_emb.weight", "predictor.7.weight"):
            assert word in caught.value.message

    def test_weights_that_are_not_numbers_are_refused(self) -> None:
        state = self.state()
        state["predictor.0.bias"] = state["predictor.0.bias"].clone().fill_(math.nan)
        with pytest.raises(ModelLoadError, match=r"not finite: predictor\.0\.bias"):
            load_regressor(state, "eps.pth")

    @pytest.mark.parametrize("state", [{}, {"node_emb.in_proj.weight": torch.zeros(3)}])
    def test_another_network_is_refused(self, state: dict[str, torch.Tensor]) -> None:
        with pytest.raises(ModelLoadError, match=r"expected a matrix 'node_emb\.in_proj\.weight'"):
            load_encoder(state, "other.pth")

    def test_an_encoder_is_not_a_regressor(self) -> None:
        with pytest.raises(ModelLoadError, match="unknown"):
            load_encoder(self.state(), "eps.pth")

    def test_half_precision_weights_are_widened(self) -> None:
        network = load_regressor({key: tensor.half() for key, tensor in self.state().items()}, "eps.pth")
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
