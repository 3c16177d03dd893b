"""What a run would do and how long it would take, without doing it."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.network import load_encoder
from periogt_ray.settings import Settings
from periogt_ray.training.claim import check_output, device_of, plan_of, read_checked, scheme_of
from periogt_ray.training.new_network import new_network
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.prepared import Prepared, prepare
from periogt_ray.training.trainer import Labels, Trainer

__all__ = ["check_finetune"]

_N_TIMED = 3


def check_finetune(options: FinetuneOptions, settings: Settings) -> dict[str, Any]:
    """Read the table, report on it and estimate the time; train nothing and write nothing.

    Returns
    -------
    dict
        The report and the estimate, JSON.

    Raises
    ------
    ValidationError
        As :func:`~periogt_ray.training.claim.read_checked` and :func:`~periogt_ray.training.claim.check_output`.
    """
    artifacts, dataset, report = read_checked(options, settings)
    is_finished = check_output(options, artifacts, dataset)
    some = replace(dataset, polymers=dataset.polymers[: options.batch_size])
    device = device_of(settings, options)
    scheme = scheme_of(options, artifacts, dataset.kind)
    with tempfile.TemporaryDirectory() as directory:
        begun = time.monotonic()
        prepared = prepare(some, artifacts, settings, scheme=scheme, device=device, work=Path(directory))
        features_s = (time.monotonic() - begun) / len(some.polymers)
    update_s = _seconds_an_update(artifacts, prepared, options, device)
    plan = plan_of(options, dataset, None)
    recipes = options.recipes(artifacts.encoder_dims["width"])
    n_updates = sum(recipes[0].n_updates(len(fold.rows.train)) for fold in plan.folds)
    n_rounds = (1 if options.recipe == "authors" else 2) + (len(recipes) - 1) / len(plan.folds)
    # A pass over the validation polymers and the schedule's rest cost about a third more.
    seconds = features_s * len(dataset.polymers) + 1.3 * update_s * n_updates * n_rounds
    return {
        "property": options.property_id,
        "is_finished": is_finished,
        "labels": report.as_dict(),
        "left_out": [row._asdict() for row in dataset.left_out[:100]],
        "division": plan.note,
        "n_networks": len(plan.folds),
        "n_test": len(plan.test),
        "device": device.type,
        "seconds_an_update": round(update_s, 4),
        "estimated_seconds": round(seconds),
    }


def _seconds_an_update(
    artifacts: ArtifactDirectory, prepared: Prepared, options: FinetuneOptions, device: torch.device
) -> float:
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    recipe = options.recipes(encoder.sizes.width)[0]
    network = new_network(encoder, dropout=recipe.dropout, seed=0, kind=prepared.polymers.kind).to(device)
    n = len(prepared.dataset.polymers)
    labels = Labels(np.zeros(n, np.float32), np.ones(n, np.float32))
    trainer = Trainer(network, prepared.polymers, labels, recipe=recipe, n_updates=1000)
    trainer.update(1, range(n))
    begun = time.monotonic()
    for number in range(_N_TIMED):
        trainer.update(2 + number, range(n))
    return (time.monotonic() - begun) / _N_TIMED
