"""The training of one network, which can be stopped between any two updates and continued.

Everything random of an update follows from the seed and the number of the update or epoch, and everything else from
the snapshot. So on one CPU thread a training that was killed and continued ends with the same bytes as one that
was not.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from periogt_ray.errors import GPUOutOfMemoryError
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor
from periogt_ray.training.checkpoint import Snapshot, read_snapshot, write_snapshot
from periogt_ray.training.new_network import new_network, new_parts
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.recipe import Recipe, learning_rate, seed_of

__all__ = ["Epoch", "Labels", "Rows", "Stopped", "Trained", "Trainer", "Watch", "train"]

logger = logging.getLogger(__name__)

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
SAVE_EVERY_S = 300.0


class Labels(NamedTuple):
    """Normalized values of all polymers, float32 [n], and their weights, 0 where there is no value."""

    values: np.ndarray
    weights: np.ndarray


class Rows(NamedTuple):
    """Which polymers a network learns from, and which choose its best epoch."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


class Epoch(NamedTuple):
    """What one epoch brought: root mean squared error on the validation rows, in standard deviations.

    Number 0 is the network before its first update; it is told to a watch, and in no history.
    """

    number: int
    validation_rmse: float
    is_best: bool


class Trained(NamedTuple):
    """A trained network at its best epoch."""

    state: dict[str, Tensor]
    history: tuple[Epoch, ...]
    best_epoch: int


class Stopped(Exception):  # noqa: N818
    """The training was told to stop; its snapshot is written."""


@dataclass(frozen=True)
class Watch:
    """How a training talks to the outside.

    Attributes
    ----------
    is_stopping : callable
        Whether to stop before the next update.
    on_epoch : callable
        Takes each :class:`Epoch` as it ends.
    on_update : callable
        Takes the number of each update that was done.
    is_late : callable
        Whether to end with the best epoch so far.
    save_every_s : float
        Seconds between snapshots.
    """

    is_stopping: Callable[[], bool] = lambda: False
    on_epoch: Callable[[Epoch], None] = lambda _: None
    on_update: Callable[[int], None] = lambda _: None
    is_late: Callable[[], bool] = lambda: False
    save_every_s: float = SAVE_EVERY_S


class Trainer:
    """A network and its optimizer.

    Parameters
    ----------
    network : PerioGTRegressor
        Changed in place.
    polymers : PolymerSet
        What batches are made of.
    labels : Labels
        What is learned.
    recipe : Recipe
        How.
    n_updates : int
        Of the schedule.
    seed : int
        Of dropout.
    """

    def __init__(
        self,
        network: PerioGTRegressor,
        polymers: PolymerSet,
        labels: Labels,
        *,
        recipe: Recipe,
        n_updates: int,
        seed: int = 0,
    ) -> None:
        self.network = network
        self._polymers = polymers
        self._values = torch.from_numpy(np.nan_to_num(labels.values, nan=0.0).astype(np.float32)).to(polymers.device)
        self._weights = torch.from_numpy(labels.weights.astype(np.float32)).to(polymers.device)
        self._recipe = recipe
        self._n_updates = n_updates
        self._seed = seed
        self._n_together = recipe.batch_size
        if recipe.is_frozen:
            network.requires_grad_(False)
            for part in new_parts(network):
                part.requires_grad_(True)
        self._learning = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.optimizer = torch.optim.Adam(
            self._learning.values(),
            lr=recipe.learning_rate,
            betas=_BETAS,
            eps=_EPSILON,
            weight_decay=recipe.weight_decay,
        )

    def update(self, number: int, chosen: Sequence[int]) -> tuple[float, float]:
        """Do one update; return the loss before it, and the total norm of its gradients before clipping.

        Parameters
        ----------
        number : int
            Of the update, from 1.
        chosen : sequence of int
            The polymers of the batch.

        Raises
        ------
        GPUOutOfMemoryError
            One polymer does not fit into the device's memory. More of them are computed in parts that do.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, peak=self._recipe.learning_rate, n_updates=self._n_updates)
        while True:
            try:
                loss = self._gradients(number, chosen)
                break
            except torch.OutOfMemoryError:
                pass  # outside, because the exception holds the frames whose tensors fill the memory
            if self._n_together == 1:
                raise GPUOutOfMemoryError(
                    "One polymer and its gradients do not fit into the GPU's memory. Use a larger GPU, --freeze or "
                    "--device cpu."
                )
            self._n_together = -(-min(self._n_together, len(chosen)) // 2)
            logger.warning("out of memory: gradients of %d polymers at a time from now on", self._n_together)
            if self._polymers.device.type == "cuda":
                torch.cuda.empty_cache()
        norm = nn.utils.clip_grad_norm_(self._learning.values(), self._recipe.clip_norm)
        self.optimizer.step()
        return loss, float(norm)

    def _gradients(self, number: int, chosen: Sequence[int]) -> float:
        """Compute the gradients of a batch, in parts where memory is short; return its loss."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        devices = [self._polymers.device] if self._polymers.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self._seed, "dropout", number))
            for start in range(0, len(chosen), self._n_together):
                part = list(chosen[start : start + self._n_together])
                loss = self._loss(part) / len(chosen)
                torch.autograd.backward(loss)
                total += loss.item()
        return total

    def _loss(self, chosen: list[int]) -> Tensor:
        """Return the sum of weighted squared errors; rows without a value count in the mean that is made of it."""
        errors = self.network.predict(*self._polymers.batch(chosen)) - self._values[chosen]
        return (errors**2 * self._weights[chosen]).sum()

    def loss(self, chosen: Sequence[int]) -> float:
        """Return the loss of some polymers without dropout."""
        self.network.eval()
        with torch.no_grad():
            return float(self._loss(list(chosen))) / len(chosen)

    def error(self, chosen: Sequence[int]) -> float:
        """Return the root mean squared error of some polymers, in standard deviations, packed as in serving."""
        found = self._polymers.predict(self.network, chosen).astype(np.float64)
        rows = list(chosen)
        squares = (found - self._values[rows].cpu().numpy()) ** 2
        weights = self._weights[rows].cpu().numpy()
        return float(np.sqrt((squares * weights).sum() / weights.sum()))

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's tensors and the optimizer's moments by name."""
        found = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        for name, parameter in self._learning.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                found[f"adam.{key}.{name}"] = value
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors that :meth:`tensors` returned."""
        prefix = "network."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        self.network.load_state_dict(state)
        for name, parameter in self._learning.items():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors.get(f"adam.{key}.{name}")
                if value is not None:
                    place = torch.device("cpu") if key == "step" else parameter.device
                    self.optimizer.state[parameter][key] = value.to(place, copy=True)


def train(
    encoder: PerioGTEncoder,
    polymers: PolymerSet,
    labels: Labels,
    rows: Rows,
    *,
    recipe: Recipe,
    seed: int,
    snapshot: Path | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a network, or go on where its snapshot ends.

    Parameters
    ----------
    encoder : PerioGTEncoder
        Where it starts.
    polymers : PolymerSet
        All polymers.
    labels : Labels
        Of all polymers.
    rows : Rows
        Which of them are used.
    recipe : Recipe
        How.
    seed : int
        Of initial values, order and dropout, each from a generator of its own.
    snapshot : pathlib.Path, optional
        File of the unfinished training.
    watch : Watch, optional
        Told of each epoch, and asked whether to stop.

    Raises
    ------
    Stopped
        The watch said so; the snapshot holds everything.
    """
    new = new_network(encoder, dropout=recipe.dropout, seed=seed_of(seed, "initial"), kind=polymers.kind)
    network = new.to(polymers.device)
    n_updates = recipe.n_updates(len(rows.train))
    trainer = Trainer(network, polymers, labels, recipe=recipe, n_updates=n_updates, seed=seed)
    return _Training(trainer, rows, recipe, seed, snapshot, watch or Watch()).run()


class _Training:
    """The loop over updates and epochs, with the best network so far."""

    def __init__(
        self, trainer: Trainer, rows: Rows, recipe: Recipe, seed: int, snapshot: Path | None, watch: Watch
    ) -> None:
        self._trainer = trainer
        self._rows = rows
        self._recipe = recipe
        self._seed = seed
        self._path = snapshot
        self._watch = watch
        self._n_done = 0
        self._history: list[Epoch] = []
        self._best: dict[str, Tensor] = {}
        self._saved_at = time.monotonic()
        self._identity = {"recipe": recipe.as_dict(), "seed": seed, "rows": [list(rows.train), list(rows.validation)]}

    def run(self) -> Trained:
        self._restore()
        if self._n_done == 0:
            # Told, and not kept: a start from the encoder that is worse than the mean shows here.
            self._watch.on_epoch(Epoch(0, self._trainer.error(self._rows.validation), False))
        per_epoch = self._recipe.updates_per_epoch(len(self._rows.train))
        while not self._is_over():
            epoch = len(self._history)
            order = np.random.default_rng(seed_of(self._seed, "order", epoch)).permutation(len(self._rows.train))
            while self._n_done < (epoch + 1) * per_epoch:
                if self._watch.is_stopping():
                    self._save()
                    raise Stopped
                self._update(order, self._n_done - epoch * per_epoch)
            self._end_epoch(epoch + 1)
            if time.monotonic() - self._saved_at >= self._watch.save_every_s:
                self._save()
        best = max(epoch.number for epoch in self._history if epoch.is_best)
        return Trained(self._best, tuple(self._history), best)

    def _update(self, order: np.ndarray, place: int) -> None:
        size = self._recipe.rows_per_update(len(self._rows.train))
        chosen = [self._rows.train[i] for i in order[place * size : (place + 1) * size]]
        self._trainer.update(self._n_done + 1, chosen)
        self._n_done += 1
        self._watch.on_update(self._n_done)
        if time.monotonic() - self._saved_at >= self._watch.save_every_s:
            self._save()

    def _end_epoch(self, number: int) -> None:
        error = self._trainer.error(self._rows.validation)
        lowest = min((epoch.validation_rmse for epoch in self._history), default=np.inf)
        error = error if np.isfinite(error) else np.inf
        is_best = bool(error < lowest) or not self._history
        if is_best:
            self._best = {key: value.clone() for key, value in self._trainer.network.state_dict().items()}
        self._history.append(Epoch(number, error, is_best))
        self._watch.on_epoch(self._history[-1])

    def _is_over(self) -> bool:
        best = max((epoch.number for epoch in self._history if epoch.is_best), default=0)
        if self._history and self._watch.is_late():
            return True
        return len(self._history) >= self._recipe.epochs or len(self._history) - best >= self._recipe.patience

    def _save(self) -> None:
        if self._path is None:
            return
        tensors = self._trainer.tensors() | {f"best.{key}": value for key, value in self._best.items()}
        progress: dict[str, Any] = {**self._identity, "n_done": self._n_done, "history": self._history}
        write_snapshot(self._path, Snapshot(tensors, progress))
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        found = None if self._path is None else read_snapshot(self._path, self._identity)
        if found is None:
            return
        self._trainer.restore(found.tensors)
        self._n_done = int(found.progress["n_done"])
        self._history = [Epoch(*epoch) for epoch in found.progress["history"]]
        prefix = "best."
        self._best = {key.removeprefix(prefix): value for key, value in found.tensors.items() if key.startswith(prefix)}
