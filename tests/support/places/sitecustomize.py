"""On the path of workers: predictors take the GPU that Slurm and Ray gave them for a CPU, and every worker notes its
node in the directory PLACES: a cluster without real GPUs is shared out as one with them."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parents[1]))
from on_import import change_on_import

sys.path.pop()


def _note(role: str) -> None:
    (Path(os.environ["PLACES"]) / f"{role}-{socket.gethostname()}").touch()


def _patch_featurizers(module: ModuleType) -> None:
    featurize = module.featurize

    def noted(*args, **kwargs):
        _note("featurizer")
        return featurize(*args, **kwargs)

    module.featurize = noted


def _patch_predictors(module: ModuleType) -> None:
    class Noted(module.Predictor):
        @classmethod
        def load(cls, settings):
            _note(f"predictor-{os.environ.get('CUDA_VISIBLE_DEVICES')}")
            return super().load(replace(settings, device="cpu"))

    module.Predictor = Noted


change_on_import(
    {
        "periogt_ray.polymer.feature_store": _patch_featurizers,
        "periogt_ray.model.predictor": _patch_predictors,
    }
)
