"""Training on copolymers: one network with an output a property, then a network for each property of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compact.copolymers import COPOLYMER_PROPERTIES, CopolymerRow, CopolymerStore
from compact.finetune import WeightAverage
from compact.optimize import make_optimizer
from periogt_ray.model.collate import GraphBatch
from periogt_ray.model.composite_network import CopolymerRegressor
from periogt_ray.model.network import PerioGTRegressor

__all__ = [
    "CopolymerSettings",
    "CopolymerTask",
    "copolymer_network",
    "predict_copolymers",
    "property_networks",
    "train_copolymers",
]

_EVALUATION_BATCH = 128

_Parts: TypeAlias = dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CopolymerSettings:
    """How to train on copolymers.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the rows in a cycle of the learning rate, and rows a batch.
    n_cycles : int
        Cycles; each but the first starts from the average of the one before, with a smaller learning rate.
    held_out_epochs : int
        Of the network that is measured on monomers that it did not learn from.
    learning_rate, weight_decay, dropout : float
        Of AdamW, one-cycle schedule; dropout in layers and head.
    huber : float
        Errors beyond it, in standard deviations, count linearly.
    average_decay : float
        Per step, of the average of the weights along the trajectory.
    max_padding : float
        Share of padding nodes that costs less than a further group of graphs.
    """

    epochs: int = 2
    batch_size: int = 32
    n_cycles: int = 1
    held_out_epochs: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.0
    huber: float = 1.0
    average_decay: float = 0.995
    max_padding: float = 0.1

    def shortened(self) -> "CopolymerSettings":
        """Return settings of one epoch a stage, which try everything and learn nothing."""
        return replace(self, epochs=1, n_cycles=1, held_out_epochs=1)


class CopolymerTask(NamedTuple):
    """What a network is to learn: rows, and by what their labels are standardised (float64 [2] each)."""

    rows: Sequence[CopolymerRow]
    mean: np.ndarray
    std: np.ndarray


def copolymer_network(homopolymers: PerioGTRegressor, *, seed: int, dropout: float) -> CopolymerRegressor:
    """Make a network with an output for each property from the joint network of the homopolymers' properties.

    Its attention to prompts stays as it is: what a monomer's nodes get of their prompts is then constant.
    """
    torch.manual_seed(seed)
    network = CopolymerRegressor(homopolymers.sizes, dropout=dropout)
    network.predictor[3] = nn.Linear(homopolymers.sizes.head_width, len(COPOLYMER_PROPERTIES))
    state = {key: value for key, value in homopolymers.state_dict().items() if not key.startswith("predictor.")}
    network.load_state_dict(state, strict=False)
    for table in (network.triplet_emb.embedding, network.triplet_emb.global_node_emb):
        nn.init.normal_(table.weight, std=0.1)
    network.node_attn.requires_grad_(False)
    return network


def property_networks(joint: CopolymerRegressor) -> dict[str, CopolymerRegressor]:
    """Return a network for each property: the joint one with one of its outputs."""
    found = {}
    for output, property_id in enumerate(COPOLYMER_PROPERTIES):
        state = joint.state_dict()
        for key in ("predictor.3.weight", "predictor.3.bias"):
            state[key] = state[key][output : output + 1]
        network = CopolymerRegressor(joint.sizes)
        network.load_state_dict(state)
        found[property_id] = network.eval()
    return found


def train_copolymers(
    network: CopolymerRegressor,
    store: CopolymerStore,
    task: CopolymerTask,
    *,
    settings: CopolymerSettings,
    seed: int,
    progress: Path,
    on_epoch: Callable[[int, CopolymerRegressor], None] = lambda _epoch, _network: None,
) -> CopolymerRegressor:
    """Train a network; returns the average of its weights along the trajectory.

    Parameters
    ----------
    network : CopolymerRegressor
        Changed in place.
    store : CopolymerStore
        Holds the monomers.
    task : CopolymerTask
        To learn.
    settings : CopolymerSettings
        How.
    seed : int
        Decides order and dropout.
    progress : pathlib.Path
        File that keeps the last whole epoch, from which an interrupted training goes on.
    on_epoch : callable
        Is given the number of an epoch and the average after it.
    """
    targets = ((np.array([row.values for row in task.rows]) - task.mean) / task.std).astype(np.float32)
    n_batches = max(1, round(len(task.rows) / settings.batch_size))
    optimizer, schedule = make_optimizer([network], settings, n_steps=settings.epochs * n_batches)
    average = WeightAverage(network, settings.average_decay)
    shifts = store.shifts(network)
    parts: _Parts = {
        "network": network,
        "average": average.network,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    first = _restore(progress, parts)
    average.n_updates = first * n_batches
    for epoch in range(first, settings.epochs):
        torch.manual_seed(seed + epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(task.rows))
        network.train()
        total = 0.0
        for step, chosen in enumerate(np.array_split(order, n_batches), start=1):
            output = _output(network, *store.shifted_batch([task.rows[index] for index in chosen], shifts))
            loss = functional.huber_loss(output, torch.from_numpy(targets[chosen]), delta=settings.huber)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update(network)
            total += loss.item()
            if step % 200 == 0:
                _log.info("epoch %d, %d of %d batches: loss %.4f", epoch + 1, step, n_batches, total / step)
        _log.info("epoch %d: loss %.4f", epoch + 1, total / n_batches)
        on_epoch(epoch + 1, average.network)
        _save(progress, epoch + 1, parts)
    return average.network.eval()


def predict_copolymers(network: CopolymerRegressor, store: CopolymerStore, rows: Sequence[CopolymerRow]) -> np.ndarray:
    """Return the network's outputs, float64 [n, O]."""
    network.eval()
    shifts = store.shifts(network)
    parts = [rows[begin : begin + _EVALUATION_BATCH] for begin in range(0, len(rows), _EVALUATION_BATCH)]
    with torch.inference_mode():
        outputs = [_output(network, *store.shifted_batch(part, shifts)) for part in parts]
    return torch.cat(outputs).double().numpy()


def _output(network: CopolymerRegressor, batch: GraphBatch, shift: Tensor) -> Tensor:
    """Return outputs [G, O] with a known shift of the nodes' states [T, D] by their prompts."""
    nodes = network.embed(batch) + shift
    outputs: Tensor = network.predictor(network.readout(network.model(nodes, batch), batch))
    return outputs


def _save(path: Path, epoch: int, parts: _Parts) -> None:
    temporary = path.with_suffix(".part")
    torch.save({"epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}, temporary)
    temporary.replace(path)


def _restore(path: Path, parts: _Parts) -> int:
    """Load the last whole epoch into the parts; returns its number, 0 where there is none."""
    if not path.is_file():
        return 0
    document = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(document[name])
    epoch: int = document["epoch"]
    return epoch
