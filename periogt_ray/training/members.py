"""The networks of a run, one a file: what a finished training leaves, and how an unfinished one goes on."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.model.composite_network import load_head
from periogt_ray.model.network import load_encoder
from periogt_ray.runtime.files import PRIVATE_MODE, write_bytes_atomically
from periogt_ray.training.new_network import FAMILIES
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.recipe import Recipe, seed_of
from periogt_ray.training.splits import Fold
from periogt_ray.training.trainer import Epoch, Labels, Trained, Watch, train

__all__ = ["Context", "Job", "Member", "OnEpoch", "read_member", "train_member"]

logger = logging.getLogger(__name__)

_META = "periogt"
_PREDICTIONS = "predictions"

OnEpoch = Callable[["Job", Epoch], None]


@dataclass(frozen=True)
class Context:
    """What all networks of a run share; it can be sent to another process.

    Attributes
    ----------
    encoder : dict
        Tensors of the pretrained network's file.
    source : str
        Its name, for messages.
    polymers : PolymerSet
        All polymers.
    labels : numpy.ndarray
        float64 [n], what is learned: values, or their logarithms.
    weights : numpy.ndarray
        float32 [n].
    statistics : LabelStats
        By which the networks' outputs become labels; the same for all of them.
    directory : pathlib.Path
        For finished and unfinished networks.
    """

    encoder: dict[str, Tensor]
    source: str
    polymers: PolymerSet
    labels: np.ndarray
    weights: np.ndarray
    statistics: LabelStats
    directory: Path


class Job(NamedTuple):
    """One network to train.

    Attributes
    ----------
    fold : Fold
        What it learns from.
    recipe : Recipe
        How.
    seed : int
        Of the run.
    asked : tuple of int
        Polymers that it predicts at the end.
    """

    fold: Fold
    recipe: Recipe
    seed: int
    asked: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.fold.name


class Member(NamedTuple):
    """A finished network.

    Attributes
    ----------
    state : dict
        Its tensors.
    predictions : numpy.ndarray
        float64 [asked], labels.
    history : tuple of Epoch
        Errors in standard deviations of the labels that it learned from.
    best_epoch : int
        Whose weights these are.
    label_std : float
        That standard deviation.
    """

    state: dict[str, Tensor]
    predictions: np.ndarray
    history: tuple[Epoch, ...]
    best_epoch: int
    label_std: float

    @property
    def validation_rmse(self) -> float:
        """Error on the polymers that chose the epoch, in the labels' unit."""
        return min(epoch.validation_rmse for epoch in self.history) * self.label_std


def train_member(
    job: Job,
    context: Context,
    *,
    on_epoch: OnEpoch = lambda *_: None,
    is_stopping: Callable[[], bool] = lambda: False,
    budget_s: float | None = None,
) -> Member:
    """Train a network, go on with its training, or read what is finished.

    Parameters
    ----------
    job : Job
        What to train.
    context : Context
        What it shares with others.
    on_epoch : callable
        Takes the job and each of its epochs.
    is_stopping : callable
        Whether to stop before the next update.
    budget_s : float, optional
        Time after which it ends with its best epoch so far.

    Raises
    ------
    Stopped
        It was told to stop; the same call goes on.
    """
    finished = read_member(job, context)
    if finished is not None:
        return finished
    rows = job.fold.rows
    known = context.labels[list(rows.train)]
    own = LabelStats(float(known.mean()), float(known.std()))
    if not own.std > 0:
        own = context.statistics
    labels = Labels(((context.labels - own.mean) / own.std).astype(np.float32), context.weights)
    ends_at = None if budget_s is None else time.monotonic() + budget_s
    trained = train(
        load_encoder(context.encoder, context.source),
        context.polymers,
        labels,
        rows,
        recipe=job.recipe,
        seed=seed_of(job.seed, job.name),
        snapshot=_path(job, context, "snapshot"),
        watch=Watch(
            is_stopping=is_stopping,
            on_epoch=lambda epoch: on_epoch(job, epoch),
            is_late=lambda: ends_at is not None and time.monotonic() > ends_at,
        ),
    )
    member = _member(job, context, trained, own)
    _write(job, context, member)
    _path(job, context, "snapshot").unlink(missing_ok=True)
    return member


def _member(job: Job, context: Context, trained: Trained, own: LabelStats) -> Member:
    """Rescale the last layer to the statistics that all members share, and predict."""
    common = context.statistics
    state = {key: value.detach().cpu() for key, value in trained.state.items()}
    state["predictor.3.weight"] = state["predictor.3.weight"] * (own.std / common.std)
    bias = state["predictor.3.bias"].double() * own.std + (own.mean - common.mean)
    state["predictor.3.bias"] = (bias / common.std).float()
    network = load_head(FAMILIES[context.polymers.kind], state, job.name).to(context.polymers.device)
    found = context.polymers.predict(network, job.asked).astype(np.float64)
    return Member(state, found * common.std + common.mean, trained.history, trained.best_epoch, own.std)


def _path(job: Job, context: Context, suffix: str) -> Path:
    return context.directory / f"{job.name}.{suffix}"


def _identity(job: Job) -> dict[str, object]:
    rows = job.fold.rows
    return {
        "recipe": job.recipe.as_dict(),
        "seed": job.seed,
        "rows": [list(rows.train), list(rows.validation), list(job.asked)],
    }


def _write(job: Job, context: Context, member: Member) -> None:
    tensors = {key: value.contiguous() for key, value in member.state.items()}
    tensors[_PREDICTIONS] = torch.from_numpy(member.predictions)
    meta = {**_identity(job), "history": member.history, "best": member.best_epoch, "label_std": member.label_std}
    content = save(tensors, metadata={_META: json.dumps(meta, sort_keys=True)})
    write_bytes_atomically(_path(job, context, "safetensors"), content, mode=PRIVATE_MODE)


def read_member(job: Job, context: Context) -> Member | None:
    """Return a network that is finished; None if there is none that belongs to this job."""
    path = _path(job, context, "safetensors")
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})[_META])
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        logger.warning("%s cannot be read (%s); this network is trained again.", path, error)
        return None
    if any(meta.get(key) != value for key, value in _identity(job).items()):
        return None
    predictions = tensors.pop(_PREDICTIONS).numpy()
    history = tuple(Epoch(*epoch) for epoch in meta["history"])
    return Member(tensors, predictions, history, int(meta["best"]), float(meta["label_std"]))
