"""Supervised training: a joint stage over all properties, then a network a property."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compact.batching import Cut, PolymerBatch, PolymerStore, shuffled_batches
from compact.optimize import make_optimizer
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor

__all__ = [
    "FinetuneSettings",
    "Targets",
    "WeightAverage",
    "joint_network",
    "predict_normalized",
    "property_network",
    "r2",
    "train_network",
]

_EVALUATION_BATCH = 64
# Share of the epochs before which training never stops: a val split of 30 rows is noisy, and a
# network that has seen little of its schedule may be best on it by luck.
_STOP_FROM = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneSettings:
    """How to train on targets.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the polymers and polymers a batch.
    learning_rate, weight_decay, dropout : float
        Of AdamW, one-cycle schedule; dropout in layers and head.
    drop_inputs : float
        Share of fingerprint bits and of descriptors set to 0 in training; the rest is not scaled up.
    huber : float
        Errors beyond it, in standard deviations, count linearly.
    average_decay : float
        Per step, of the average of the weights along the trajectory.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    dropout: float = 0.1
    drop_inputs: float = 0.1
    huber: float = 1.0
    average_decay: float = 0.99


class Targets(NamedTuple):
    """What a network is to predict: of each polymer O normalised outputs, some of them with weight 0."""

    smiles: list[str]
    values: np.ndarray  # float32 [n, O]
    weights: np.ndarray  # float32 [n, O]


def joint_network(encoder: PerioGTEncoder, n_outputs: int, *, seed: int, dropout: float) -> PerioGTRegressor:
    """Make a regressor with an output for each property from a pretrained encoder."""
    torch.manual_seed(seed)
    network = PerioGTRegressor(encoder.sizes, dropout=dropout)
    network.predictor[3] = nn.Linear(encoder.sizes.head_width, n_outputs)
    network.load_state_dict(encoder.state_dict(), strict=False)
    nn.init.normal_(network.node_attn.cls_token, std=0.02)
    nn.init.constant_(network.node_attn.alpha, 0.1)
    return network


def property_network(joint: PerioGTRegressor, output: int, *, dropout: float) -> PerioGTRegressor:
    """Make a regressor for one property from the joint one."""
    network = PerioGTRegressor(joint.sizes, dropout=dropout)
    state = joint.state_dict()
    for key in ("predictor.3.weight", "predictor.3.bias"):
        state[key] = state[key][output : output + 1]
    network.load_state_dict(state)
    return network


def train_network(
    network: PerioGTRegressor,
    store: PolymerStore,
    targets: Targets,
    *,
    settings: FinetuneSettings,
    seed: int,
    validation: Targets | None = None,
    name: str = "",
) -> PerioGTRegressor:
    """Train a network; returns the average of its weights along the trajectory, at its best epoch on ``validation``.

    Parameters
    ----------
    network : PerioGTRegressor
        Changed in place.
    store : PolymerStore
        Holds the polymers, with prompts.
    targets : Targets
        To learn.
    settings : FinetuneSettings
        How.
    seed : int
        Decides order, cuts and dropout.
    validation : Targets, optional
        Decides when to stop; without it the last epoch's average is returned.
    name : str
        For the log.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    position = {smiles: index for index, smiles in enumerate(targets.smiles)}
    n_steps = settings.epochs * max(1, round(len(position) / settings.batch_size))
    optimizer, schedule = make_optimizer([network], settings, n_steps=n_steps)
    average = WeightAverage(network, settings.average_decay)
    best: tuple[float, int, dict[str, Tensor]] | None = None
    for epoch in range(settings.epochs):
        network.train()
        total = 0.0
        for cuts in shuffled_batches(store, targets.smiles, batch_size=settings.batch_size, random=random):
            rows = [position[cut.smiles] for cut in cuts]
            output = _forward(network, _thinned(store.batch(cuts), settings.drop_inputs))
            loss = _loss(output, targets.values[rows], targets.weights[rows], settings.huber)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update(network)
            total += loss.item()
        if validation is not None and epoch + 1 >= settings.epochs * _STOP_FROM:
            error = _error(average.network, store, validation)
            if best is None or error < best[0]:
                best = error, epoch + 1, copy.deepcopy(average.network.state_dict())
        if epoch % 10 == 9 or epoch + 1 == settings.epochs:
            _log.info("%s epoch %d: loss %.4f, validation %s", name, epoch + 1, total, best and best[:2])
    if best is not None:
        average.network.load_state_dict(best[2])
    return average.network


class WeightAverage:
    """Exponential moving average of a network's weights; quick at first, so that the start is forgotten."""

    def __init__(self, network: PerioGTRegressor, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self.n_updates = 0

    def update(self, network: PerioGTRegressor) -> None:
        """Take in a network after a step."""
        self.n_updates += 1
        share = max(1 - self._decay, 1 / (1 + self.n_updates))
        with torch.no_grad():
            for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, share)


def predict_normalized(network: PerioGTRegressor, store: PolymerStore, smiles: Sequence[str]) -> np.ndarray:
    """Return the network's outputs for the canonical cuts, float64 [n, O]."""
    network.eval()
    outputs = []
    with torch.inference_mode():
        for begin in range(0, len(smiles), _EVALUATION_BATCH):
            batch = store.batch([Cut(name) for name in smiles[begin : begin + _EVALUATION_BATCH]])
            outputs.append(_forward(network, batch))
    return torch.cat(outputs).double().numpy()


def r2(values: np.ndarray, predictions: np.ndarray) -> float:
    """Return the coefficient of determination."""
    return float(1 - ((values - predictions) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def _forward(network: PerioGTRegressor, batch: PolymerBatch) -> Tensor:
    """Return outputs [G, O]; ``predict`` gives the first alone."""
    states = network.node_attn(network.embed(batch.graphs), batch.prompts, batch.prompt_places)
    outputs: Tensor = network.predictor(network.readout(network.model(states, batch.graphs), batch.graphs))
    return outputs


def _thinned(batch: PolymerBatch, share: float) -> PolymerBatch:
    """Set a random share of fingerprint bits and descriptors to 0."""
    graphs = batch.graphs
    kept = {
        name: values * (torch.rand_like(values) >= share)
        for name, values in (("fingerprints", graphs.fingerprints), ("descriptors", graphs.descriptors))
    }
    return batch._replace(graphs=type(graphs)(**{**vars(graphs), **kept}))


def _loss(output: Tensor, values: np.ndarray, weights: np.ndarray, huber: float) -> Tensor:
    weight = torch.from_numpy(weights)
    losses = functional.huber_loss(output, torch.from_numpy(values), delta=huber, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1e-6)


def _error(network: PerioGTRegressor, store: PolymerStore, targets: Targets) -> float:
    """Return the weighted mean squared error."""
    errors = (predict_normalized(network, store, targets.smiles) - targets.values) ** 2
    return float((errors * targets.weights).sum() / targets.weights.sum())
