"""The optimiser that all stages share."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

__all__ = ["OptimizerSettings", "make_optimizer"]

_WARMUP = 0.1  # share of the steps


class OptimizerSettings(Protocol):
    """The settings of a stage that concern the optimiser."""

    @property
    def learning_rate(self) -> float:
        """Highest learning rate."""

    @property
    def weight_decay(self) -> float:
        """Of matrices; vectors have none."""


def make_optimizer(
    modules: Sequence[nn.Module], settings: OptimizerSettings, *, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and a schedule that warms up, then falls to 0 along a cosine over ``n_steps`` steps."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=n_steps + 1, pct_start=_WARMUP, cycle_momentum=False
    )
    return optimizer, schedule
