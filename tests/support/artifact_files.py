"""The golden artifacts by name, and what a hostile file would hold."""

import os
from pathlib import Path

from support.golden import ARTIFACTS

__all__ = ["ENCODER", "GOLDEN", "HEAD", "Payload"]

GOLDEN = ARTIFACTS
HEAD = "finetuned_ckpt/eps/best_model.pth"
ENCODER = "pretrained_ckpt/base.pth"


class Payload:
    """Pickles to a call that writes a canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)
