"""What a property's networks answer when parts of a polymer are left out.

A part is a bond of the repeat unit, with all its copies in all prompt graphs and in the polymer's own graph, or the
whole-molecule features: fingerprint and descriptors. Which triplets are copies of one bond is the network's own rule,
the bond class by which it finds prompts. The real networks compute everything: the prompt pass over all prompt
graphs, and the head pass of every member. Only the first states of nodes are replaced.

A bond that is left out gets a stand-in: the mean first state over the triplets of 120 known polymers. Fingerprint and
descriptors get those of no bit set and of mean descriptors. Measured with the embedded model (egc, nc; 40 polymers of
the data sets, random coalitions), against other stand-ins:

- The mean over known polymers: the answer without any part is nearly the same for all polymers (standard deviation at
  most 0.04 of the labels'), so that explanations of two polymers can be compared. No occluded answer lies beyond
  the 0.5th and 99.5th percentiles of the labels.
- The mean over the polymer's own triplets: without any part, answers still vary by 0.65 and correlate by 0.8 to 0.9
  with the whole answer, so most of the answer would be in the baseline.
- A state of zeros is as plausible, but no input has such a state.

The embedded model has no learned mask embedding. Published encoders carry one from pretraining, but property networks
were finetuned without masked nodes; so every network gets the same kind of stand-in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from periogt_ray.model.collate import GraphBatch, PromptBatch, collate, collate_prompts
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor
from periogt_ray.model.passes import prompt_graphs
from periogt_ray.model.predictor import HeldNetworks
from periogt_ray.model.prompts import finished, prompt_rows
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.reference_triplets import reference_triplets
from periogt_ray.polymer.triplet_graph import NodeKind, TripletGraph

__all__ = ["OccludedPolymer"]

_ALWAYS_PRESENT = -1


class _Copies(NamedTuple):
    """The graphs of several copies of a polymer."""

    batch: GraphBatch
    nodes: Tensor  # int64 [copies, T], place of each node of each copy in the batch


class _Layout(NamedTuple):
    """Everything of a pass over copies of a polymer but the first states."""

    prompt: _Copies
    own: _Copies
    prompts: PromptBatch


class _FirstStates(NamedTuple):
    """What the nodes of one copy start from."""

    present: Tensor  # [T, D]
    absent: Tensor  # [T, D], the stand-ins


class OccludedPolymer:
    """A polymer of which parts can be left out.

    Parameters
    ----------
    polymer : FeaturizedPolymer
        The polymer.
    n_copies : int
        Coalitions that are computed in one pass.
    device : torch.device
        Where the networks run.

    Attributes
    ----------
    n_players : int
        Bonds of the repeat unit, the bond between units once, and the whole-molecule features, which are last.
    player_of_bond : numpy.ndarray
        int64 [bonds], the player that each bond of the repeat unit's molecule belongs to.
    """

    def __init__(self, polymer: FeaturizedPolymer, *, n_copies: int, device: torch.device) -> None:
        self._polymer = polymer
        self._n_copies = n_copies
        self._device = device
        own = polymer.graphs[0]
        classes = own.bond_class[own.node_kind == NodeKind.TRIPLET]
        numbers = {bond_class: number for number, bond_class in enumerate(dict.fromkeys(classes.tolist()))}
        self.n_players = len(numbers) + 1
        self.player_of_bond = np.array([numbers[bond_class] for bond_class in classes.tolist()], dtype=np.int64)
        self._players = _players_of([own], numbers)
        self._prompt_players = _players_of(polymer.graphs, numbers)
        self._layout: _Layout | None = None
        self._first: tuple[_FirstStates, ...] | None = None

    def worths(self, present: np.ndarray, networks: HeldNetworks) -> np.ndarray:
        """Return the property of coalitions, in its unit.

        Parameters
        ----------
        present : numpy.ndarray
            bool [C, players], at most ``n_copies`` coalitions.
        networks : HeldNetworks
            Of the property.

        Returns
        -------
        numpy.ndarray
            float64 [C]; of all players the value that the predictor answers, before it is rounded to float32.
        """
        n_coalitions = len(present)
        if self._layout is None:
            self._layout = self._laid_out(self._n_copies, networks)
        layout = self._layout
        filled = np.ones((self._n_copies, self.n_players), dtype=bool)  # always equally many, so that one layout does
        filled[:n_coalitions] = present
        encoder, *heads = self._first_states(networks)
        is_in = self._is_in(filled, self._prompt_players)
        states = networks.encoder.model(_chosen(encoder, layout.prompt, is_in), layout.prompt.batch)
        states = finished(states, self._polymer.scheme)
        is_in = self._is_in(filled, self._players)
        normalized = torch.stack(
            [
                network.predict_from(_chosen(first, layout.own, is_in), layout.own.batch, states, layout.prompts)
                for network, first in zip(networks.members, heads, strict=True)
            ]
        )
        members = normalized.cpu().numpy().astype(np.float64)[:, :n_coalitions]
        return networks.statistics.values(members.mean(axis=0))

    def _is_in(self, present: np.ndarray, players: np.ndarray) -> Tensor:
        """Return bool [copies, T, 1], which nodes keep their own first state."""
        is_in = present[:, players] | (players == _ALWAYS_PRESENT)
        return torch.from_numpy(is_in[..., None]).to(self._device)

    def _first_states(self, networks: HeldNetworks) -> tuple[_FirstStates, ...]:
        """Return the first states of the prompt graphs by the encoder, and of the own graph by each member."""
        if self._first is None:
            one = self._laid_out(1, networks)
            graphs = [self._polymer.graphs, *[self._polymer.graphs[:1]] * len(networks.members)]
            copies = [one.prompt, *[one.own] * len(networks.members)]
            each = zip((networks.encoder, *networks.members), copies, graphs, strict=True)
            self._first = tuple(_first_states(*one_of_each) for one_of_each in each)
        return self._first

    def _laid_out(self, n_copies: int, networks: HeldNetworks) -> _Layout:
        polymer, scaler = self._polymer, networks.scaler
        prompt, _, first_nodes = prompt_graphs([polymer] * n_copies, scaler, max_padding=0.0)
        of_copies = [
            np.concatenate(
                [first + np.arange(graph.n_triplets) for first, graph in zip(firsts, polymer.graphs, strict=True)]
            )
            for firsts in first_nodes
        ]
        own_features = polymer.oligomers[1]
        own = collate(
            polymer.graphs[:1] * n_copies,
            [own_features.fingerprint] * n_copies,
            [scaler.transform(own_features.descriptors)] * n_copies,
        )
        counts, rows = zip(*(prompt_rows(polymer, firsts) for firsts in first_nodes), strict=True)
        own_nodes = own.first_nodes[:, None] + np.arange(polymer.graphs[0].n_triplets)
        device = self._device
        return _Layout(
            _Copies(prompt.to(device), torch.from_numpy(np.stack(of_copies)).to(device)),
            _Copies(own.to(device), torch.from_numpy(own_nodes).to(device)),
            collate_prompts(counts, rows, own.first_nodes).to(device),
        )


def _players_of(graphs: Sequence[TripletGraph], numbers: dict[int, int]) -> np.ndarray:
    """Return int64 [T], the player that each node of graphs belongs to."""
    classes = np.concatenate([graph.bond_class for graph in graphs]).tolist()
    kinds = np.concatenate([graph.node_kind for graph in graphs])
    players = np.array([numbers.get(bond_class, _ALWAYS_PRESENT) for bond_class in classes], dtype=np.int64)
    return np.where(kinds == NodeKind.TRIPLET, players, len(numbers))


def _chosen(first: _FirstStates, copies: _Copies, is_in: Tensor) -> Tensor:
    """Return the first states [T, D] of all copies, nodes that are left out replaced."""
    states = torch.where(is_in, first.present, first.absent)
    chosen = states.new_zeros(states.shape[0] * states.shape[1], states.shape[2])
    return chosen.index_copy(0, copies.nodes.flatten(), states.flatten(0, 1))


def _first_states(
    network: PerioGTEncoder | PerioGTRegressor, one: _Copies, graphs: Sequence[TripletGraph]
) -> _FirstStates:
    states = network.embed(one.batch)[one.nodes[0]]
    kinds = torch.from_numpy(np.concatenate([graph.node_kind for graph in graphs]).astype(np.int64)).to(states.device)
    return _FirstStates(states, _stand_ins(network, states.device)[kinds])


def _stand_ins(network: PerioGTEncoder, device: torch.device) -> Tensor:
    """Return [3, D], what stands in for a triplet, a fingerprint and descriptors that are left out."""
    known = reference_triplets()
    atoms, pairs, bonds, shares = (torch.from_numpy(array).to(device) for array in known)
    triplets = network.embed_triplets(atoms, pairs, bonds)
    sizes = network.sizes
    # Standardised descriptors of 0 are their means over the 2.9 million oligomers of pretraining.
    fingerprint = network.triplet_emb.fp_proj(torch.zeros(1, sizes.n_fingerprint_bits, device=device))
    descriptors = network.triplet_emb.md_proj(torch.zeros(1, sizes.n_descriptors, device=device))
    return torch.cat([(triplets * shares[:, None]).sum(dim=0, keepdim=True), fingerprint, descriptors])
