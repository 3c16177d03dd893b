"""The network: LiGhT encoder (Knowledge-guided line graph transformer) and property head.

Attribute names are the keys of the published checkpoints, spelling mistakes included, so that a
state dict loads as it is; every size is read off its shapes. Plain torch: no graph library.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.collate import GraphBatch, PromptBatch
from periogt_ray.model.equal_shapes import (
    GRAPH_BLOCK_ROWS,
    PROMPT_BLOCK_NODES,
    THIN_BLOCK_ROWS,
    by_blocks,
    by_parts,
    lay_out_weights,
)
from periogt_ray.polymer.dimensions import PATH_LENGTH

__all__ = ["MLP", "PerioGTEncoder", "PerioGTRegressor", "embedding", "load_encoder", "load_network", "load_regressor"]

_N_PROMPT_HEADS = 8
# Only for pretraining: present in published checkpoints, not needed for inference.
_UNUSED_KEYS = ("node_predictor.", "fp_predictor.", "md_predictor.", "cl_projector.", "mask_emb.", "model.mask_emb.")


class MLP(nn.Module):
    """Linear, GELU (exact), Linear."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(n_in, n_hidden)
        self.out_proj = nn.Linear(n_hidden, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(functional.gelu(self.in_proj(x)))


def embedding(n: int, width: int) -> nn.Embedding:
    """Return a table of normal values; on the meta device without them, for to draw those loads torch's compiler."""
    weight = torch.empty(n, width)
    return nn.Embedding(n, width, _weight=weight if weight.is_meta else weight.normal_())


class AtomEmbedding(nn.Module):
    """Linear embedding of atoms; a triplet is the sum of its two."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.in_proj = nn.Linear(sizes.n_atom_features, sizes.width)
        self.virtual_atom_emb = embedding(1, sizes.width)  # for atoms without bonds, which no polymer has


class BondEmbedding(nn.Module):
    """Linear embedding of bonds."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.in_proj = nn.Linear(sizes.n_bond_features, sizes.width)
        self.virutal_bond_emb = embedding(1, sizes.width)  # spelt as in the checkpoint


class TripletEmbedding(nn.Module):
    """States of triplets from atoms and bonds, of virtual nodes from fingerprint and descriptors."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        width = sizes.width
        self.in_proj = MLP(2 * width, width, width)
        self.fp_proj = MLP(sizes.n_fingerprint_bits, width, width)
        self.md_proj = MLP(sizes.n_descriptors, width, width)


class NodeOutLayer(nn.Module):
    """Residual projection of the attention's result, then a residual feed-forward network."""

    def __init__(self, sizes: ModelSizes, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.width)
        self.in_proj = nn.Linear(sizes.width, sizes.width)
        self.ffn = MLP(sizes.width, sizes.ffn_width, sizes.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, gathered: Tensor) -> Tensor:
        return by_blocks(self._of_rows, x, gathered)

    def _of_rows(self, x: Tensor, gathered: Tensor) -> Tensor:
        x = x + self.dropout(self.in_proj(gathered))
        return x + self.dropout(self.ffn(self.norm(x)))


class TransformerLayer(nn.Module):
    """Attention along the edges of triplet graphs, dense within each graph."""

    def __init__(self, sizes: ModelSizes, dropout: float) -> None:
        super().__init__()
        self.n_heads = sizes.n_heads
        self.scale = sizes.width**-0.5  # by the full width, not by the width of a head
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.attention_dropout = nn.Dropout(dropout)
        self.node_out_layer = NodeOutLayer(sizes, dropout)

    def forward(self, x: Tensor, biases: list[Tensor], batch: GraphBatch) -> Tensor:
        """Return the nodes' next states [T, D]."""
        qkv = by_blocks(self._project, x)
        gathered = [
            by_parts(self._attend, qkv[start : start + n_graphs * n_nodes].view(n_graphs, n_nodes, -1), bias, n_rows=1)
            for (n_graphs, n_nodes, start), bias in zip(batch.groups, biases, strict=True)
        ]
        return self.node_out_layer(x, torch.cat([group.flatten(0, 1) for group in gathered]))

    def _project(self, x: Tensor) -> Tensor:
        return self.qkv(self.attention_norm(x))

    def _attend(self, qkv: Tensor, bias: Tensor) -> Tensor:
        """Attend within each of G graphs of n nodes; return [G, n, D].

        ``qkv`` is [G, n, 3D], ``bias`` [G, heads, n destinations, n sources], -inf where there is no
        edge. The source gives the query and the destination the key, as the checkpoints were trained.
        """
        n_graphs, n_nodes, _ = qkv.shape
        q, k, v = (
            part.reshape(n_graphs * self.n_heads, n_nodes, -1)
            for part in qkv.view(n_graphs, n_nodes, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        )
        scores = torch.baddbmm(bias.flatten(0, 1), k, q.transpose(1, 2), alpha=self.scale)
        gathered = torch.bmm(self.attention_dropout(scores.softmax(dim=-1)), v)
        return gathered.view(n_graphs, self.n_heads, n_nodes, -1).transpose(1, 2).reshape(n_graphs, n_nodes, -1)


class LiGhT(nn.Module):
    """The transformer over triplets and the bias that its attention gets from paths."""

    def __init__(self, sizes: ModelSizes, dropout: float) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.n_heads
        self.path_len_emb = embedding(PATH_LENGTH + 1, width)
        self.virtual_path_emb = embedding(1, width)
        self.self_loop_emb = embedding(1, width)
        self.dist_attn_layer = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, heads))
        self.trip_fortrans = nn.ModuleList(MLP(width, sizes.path_width, sizes.path_width) for _ in range(PATH_LENGTH))
        self.path_attn_layer = nn.Sequential(
            nn.Linear(sizes.path_width, sizes.path_width), nn.GELU(), nn.Linear(sizes.path_width, heads)
        )
        self.mol_T_layers = nn.ModuleList(TransformerLayer(sizes, dropout) for _ in range(sizes.n_layers))

    def forward(self, x: Tensor, batch: GraphBatch) -> Tensor:
        """Return the nodes' final states [T, D]."""
        biases = self._biases(x, batch)
        for layer in self.mol_T_layers:
            x = layer(x, biases, batch)
        return x

    def _biases(self, x: Tensor, batch: GraphBatch) -> list[Tensor]:
        """Return each group's attention bias [G, heads, n destinations, n sources]."""
        # All edges share eight distances, so the embedding's network runs on eight rows.
        table = torch.cat([self.path_len_emb.weight, self.virtual_path_emb.weight, self.self_loop_emb.weight])
        distance = self.dist_attn_layer(table)[batch.edge_distance]
        path = x.new_zeros(())
        for slot, encode in enumerate(self.trip_fortrans):
            encoded = by_blocks(encode, x, n_rows=THIN_BLOCK_ROWS)
            encoded = functional.pad(encoded, (0, 0, 0, 1))  # the last row, all zero, stands for unused slots
            path = path + encoded[batch.edge_paths[:, slot]]
        bias = distance + by_blocks(self.path_attn_layer, path / batch.n_valid_slots, n_rows=THIN_BLOCK_ROWS)
        n_heads = bias.shape[1]
        dense = bias.new_full((batch.n_slots, n_heads), -math.inf).index_copy(0, batch.edge_slots, bias)
        biases, block = [], 0
        for n_graphs, n_nodes, _ in batch.groups:
            part = dense[block : block + n_graphs * n_nodes**2].view(n_graphs, n_nodes, n_nodes, n_heads)
            biases.append(part.permute(0, 3, 1, 2).contiguous())
            block += n_graphs * n_nodes**2
        return biases


class NodeAttention(nn.Module):
    """Two self-attentions of each node over its periodicity prompt; their class token joins the node's state.

    Of the second attention only the class token's answer is computed, because nothing else of it is used.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.self_attn_1 = nn.MultiheadAttention(width, _N_PROMPT_HEADS, batch_first=True)
        self.self_attn_2 = nn.MultiheadAttention(width, _N_PROMPT_HEADS, batch_first=True)
        self.norm_1 = nn.LayerNorm(width)
        self.norm_2 = nn.LayerNorm(width)
        self.linear_1 = nn.Linear(width, width)
        self.linear_2 = nn.Linear(width, width)
        self.linear_3 = nn.Linear(width, width)

    def forward(self, x: Tensor, states: Tensor, prompts: PromptBatch) -> Tensor:
        """Return the nodes' states with their prompts [T, D].

        Parameters
        ----------
        x : Tensor
            [T, D].
        states : Tensor
            [R, D], of which ``prompts`` names rows: final states of the prompt pass.
        prompts : PromptBatch
            Which rows each node gets.
        """
        for group in prompts.groups:
            of_nodes = partial(self._of_nodes, states)
            changed = by_blocks(of_nodes, x[group.nodes], group.rows, group.mask, n_rows=PROMPT_BLOCK_NODES)
            x = x.index_copy(0, group.nodes, changed)
        return x

    def _of_nodes(self, states: Tensor, x: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """Return the states [N, D] of N nodes with S - 1 prompts each: ``rows`` is [N, S - 1], ``mask`` [N, S]."""
        first, second, width = self.self_attn_1, self.self_attn_2, x.shape[-1]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), states[rows]], dim=1)
        q, k, v = _of_rows(partial(_linear, first.in_proj_weight, first.in_proj_bias), tokens).chunk(3, dim=-1)
        tokens = _of_rows(self._leave_first, _attend_to_prompts(q, k, v, mask), tokens)
        token = tokens[:, :1].contiguous()
        q = _of_rows(partial(_linear, second.in_proj_weight[:width], second.in_proj_bias[:width]), token)
        kv = _of_rows(partial(_linear, second.in_proj_weight[width:], second.in_proj_bias[width:]), tokens)
        k, v = kv.chunk(2, dim=-1)
        return by_blocks(self._leave_second, _attend_to_prompts(q, k, v, mask)[:, 0], token[:, 0], x)

    def _leave_first(self, attended: Tensor, tokens: Tensor) -> Tensor:
        return self.norm_1(self.dropout(self.linear_1(self.self_attn_1.out_proj(attended))) + tokens)

    def _leave_second(self, attended: Tensor, tokens: Tensor, x: Tensor) -> Tensor:
        tokens = self.norm_2(self.dropout(self.linear_2(self.self_attn_2.out_proj(attended))) + tokens)
        return x + self.alpha * self.linear_3(tokens)


def _linear(weight: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
    return functional.linear(rows, weight, bias)


def _of_rows(function: Callable[..., Tensor], *tokens: Tensor) -> Tensor:
    """Apply a function of rows to [N, S, D]: in blocks, because a row's bits depend on its place in a long matrix."""
    found = by_blocks(function, *(matrix.flatten(0, 1) for matrix in tokens))
    return found.view(*tokens[0].shape[:2], -1)


def _attend_to_prompts(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attend within the slots of each node.

    ``q`` is [N, queries, D], ``k`` and ``v`` are [N, S, D], ``mask`` [N, S] is -inf for unused slots and else 0.
    Returns [N, queries, D].
    """
    n_nodes, n_queries, width = q.shape
    q, k, v = (
        part.view(n_nodes, part.shape[1], _N_PROMPT_HEADS, -1).transpose(1, 2).flatten(0, 1) for part in (q, k, v)
    )
    scores = torch.bmm(q * (width // _N_PROMPT_HEADS) ** -0.5, k.transpose(1, 2))
    scores = scores.view(n_nodes, _N_PROMPT_HEADS, n_queries, -1) + mask[:, None, None, :]
    attended = torch.bmm(scores.softmax(dim=-1).flatten(0, 1), v).view(n_nodes, _N_PROMPT_HEADS, n_queries, -1)
    return attended.transpose(1, 2).reshape(n_nodes, n_queries, width)


class PerioGTEncoder(nn.Module):
    """The pretrained network: triplet graphs to node states and to a readout per graph.

    Parameters
    ----------
    sizes : ModelSizes
        Sizes of the network.
    dropout : float
        After the attention's softmax and in the layers' two residual branches; acts in training mode only.
    """

    def __init__(self, sizes: ModelSizes, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = sizes
        self.node_emb = AtomEmbedding(sizes)
        self.edge_emb = BondEmbedding(sizes)
        self.triplet_emb = TripletEmbedding(sizes)
        self.model = LiGhT(sizes, dropout)

    def embed(self, batch: GraphBatch) -> Tensor:
        """Return the nodes' first states [T, D]."""
        triplets = self.embed_triplets(batch.atom_features, batch.triplet_atoms, batch.bond_features)
        fingerprints = by_blocks(self.triplet_emb.fp_proj, batch.fingerprints, n_rows=GRAPH_BLOCK_ROWS)
        triplets = triplets.index_copy(0, batch.fingerprint_nodes, fingerprints)
        return triplets.index_copy(
            0, batch.descriptor_nodes, by_blocks(self.triplet_emb.md_proj, batch.descriptors, n_rows=GRAPH_BLOCK_ROWS)
        )

    def embed_triplets(self, atom_features: Tensor, triplet_atoms: Tensor, bond_features: Tensor) -> Tensor:
        """Return the first states [T, D] of triplets, whose features are as in :class:`GraphBatch`."""
        atoms = by_blocks(self.node_emb.in_proj, atom_features)
        pairs = atoms[triplet_atoms[:, 0]] + atoms[triplet_atoms[:, 1]]
        bonds = by_blocks(self.edge_emb.in_proj, bond_features)
        return by_blocks(self.triplet_emb.in_proj, torch.cat([pairs, bonds], dim=-1))

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the nodes' final states [T, D], without a periodicity prompt."""
        states: Tensor = self.model(self.embed(batch), batch)
        return states

    def readout(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Return [G, 3D] in the order in which the graphs were given.

        States of the two virtual nodes, then the mean over bond triplets.
        """
        virtual = [states[batch.fingerprint_nodes], states[batch.descriptor_nodes]]
        return torch.cat([*virtual, self.mean_of_triplets(states, batch)], dim=-1)[batch.graph_order]

    @staticmethod
    def mean_of_triplets(states: Tensor, batch: GraphBatch) -> Tensor:
        """Return the mean over bond triplets [G, D], graphs in order of size."""
        weighted = states * batch.triplet_weights[:, None]
        means = [
            by_parts(_sum_nodes, weighted[start : start + n_graphs * n_nodes].view(n_graphs, n_nodes, -1), n_rows=1)
            for n_graphs, n_nodes, start in batch.groups
        ]
        return torch.cat(means)


class PerioGTRegressor(PerioGTEncoder):
    """A finetuned network: an encoder that takes periodicity prompts, and a property head."""

    n_readouts: ClassVar[int] = 3  # parts of the readout, each of the width

    def __init__(self, sizes: ModelSizes, *, dropout: float = 0.0) -> None:
        super().__init__(sizes, dropout=dropout)
        self.node_attn = NodeAttention(sizes.width, dropout)
        self.predictor = nn.Sequential(
            nn.Linear(self.n_readouts * sizes.width, sizes.head_width),
            nn.Dropout(dropout),
            nn.GELU(),
            nn.Linear(sizes.head_width, 1),
        )

    def predict(self, batch: GraphBatch, prompt_states: Tensor, prompts: PromptBatch) -> Tensor:
        """Return normalized predictions [G] in the order in which the graphs were given.

        Parameters
        ----------
        batch : GraphBatch
            Each polymer's own graph.
        prompt_states : Tensor
            [R, D], states of the prompt pass.
        prompts : PromptBatch
            Which of them each node gets.
        """
        return self.predict_from(self.embed(batch), batch, prompt_states, prompts)

    def predict_from(self, first: Tensor, batch: GraphBatch, prompt_states: Tensor, prompts: PromptBatch) -> Tensor:
        """Return what :meth:`predict` returns, of nodes whose first states [T, D] are given."""
        states = self.node_attn(first, prompt_states, prompts)
        readout = self.readout(self.model(states, batch), batch)
        return by_blocks(self.predictor, readout, n_rows=GRAPH_BLOCK_ROWS)[:, 0]


def load_encoder(state: Mapping[str, Tensor], source: str) -> PerioGTEncoder:
    """Make the pretrained network from a state dict.

    Parameters
    ----------
    state : Mapping
        Float32 tensors by key, with or without the prefix ``module.``.
    source : str
        Name of the file, for messages.

    Raises
    ------
    ModelLoadError
        If a key is missing or unknown or a shape does not fit; the message lists them.
    """
    return load_network(PerioGTEncoder, state, source)


def load_regressor(state: Mapping[str, Tensor], source: str) -> PerioGTRegressor:
    """Make a finetuned network from a state dict; see :func:`load_encoder`."""
    return load_network(PerioGTRegressor, state, source)


_Network = TypeVar("_Network", bound=PerioGTEncoder)


def _sum_nodes(states: Tensor) -> Tensor:
    """Sum [G, n, D] over the nodes of each graph."""
    return states.sum(dim=1)


def load_network(network_type: type[_Network], state: Mapping[str, Tensor], source: str) -> _Network:
    """Make a network of one of the types from a state dict; see :func:`load_encoder`."""
    named = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    used = {key: tensor for key, tensor in named.items() if not key.startswith(_UNUSED_KEYS)}
    try:
        with torch.device("meta"):
            network = network_type(ModelSizes.from_shapes({key: tuple(tensor.shape) for key, tensor in used.items()}))
    except (AssertionError, ModelLoadError) as error:  # an indivisible width fails an assertion of torch
        raise ModelLoadError(f"{source} cannot be loaded: {error}") from error
    expected = network.state_dict()
    problems = {
        "missing": sorted(expected.keys() - used.keys()),
        "unknown": sorted(used.keys() - expected.keys()),
        "wrong shape": sorted(
            f"{key} {list(used[key].shape)} instead of {list(tensor.shape)}"
            for key, tensor in expected.items()
            if key in used and used[key].shape != tensor.shape
        ),
        "not floating point": sorted(key for key, tensor in used.items() if not tensor.is_floating_point()),
        "not finite": sorted(key for key, tensor in used.items() if not bool(torch.isfinite(tensor).all())),
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in problems.items() if keys)
        counts = Counter({kind: len(keys) for kind, keys in problems.items() if keys})
        raise ModelLoadError(
            f"{source} is not a {network.__class__.__name__} checkpoint ({dict(counts)}): {listed}.", problems
        )
    network.load_state_dict({key: tensor.float() for key, tensor in used.items()}, assign=True)
    network.eval().requires_grad_(False)
    lay_out_weights(network)
    return network
