"""On the path of workers: predictors take the GPU that Slurm and Ray gave them for a CPU, and every worker notes its
node in the directory PLACES: a cluster without real GPUs is shared out as one with them."""

import importlib.abc
import importlib.machinery
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType


class _Noting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        patch = _PATCHES.pop(name, None)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def patched(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = patched
        return spec


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


_PATCHES = {
    "periogt_ray.polymer.feature_store": _patch_featurizers,
    "periogt_ray.batch.predict_stage": _patch_predictors,
}
sys.meta_path.insert(0, _Noting())
