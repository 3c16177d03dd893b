"""On the path of workers: a polymer with selenium kills the process that featurizes it, one with
tellurium the one that predicts it, one with arsenic raises what no one expects, and a directory
named broken holds a model that cannot be loaded."""

import os
import signal
import sys
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parents[1]))
from on_import import change_on_import

sys.path.pop()


def _patch_featurizers(module: ModuleType) -> None:
    featurize = module.featurize

    def deadly_featurize(unit, *args, **kwargs):
        if "[Se]" in unit.smiles:
            os.kill(os.getpid(), signal.SIGKILL)
        if "[As]" in unit.smiles:
            raise ZeroDivisionError
        return featurize(unit, *args, **kwargs)

    module.featurize = deadly_featurize


def _patch_predictors(module: ModuleType) -> None:
    from periogt_ray.errors import ModelLoadError

    class DeadlyPredictor(module.Predictor):
        @classmethod
        def load(cls, settings):
            if settings.checkpoint_dir.name == "broken":
                raise ModelLoadError("the weights are broken")
            return super().load(settings)

        def predict_many(self, tasks):
            if any("[Te]" in task.polymer.smiles for task in tasks):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().predict_many(tasks)

    module.Predictor = DeadlyPredictor


change_on_import(
    {
        "periogt_ray.polymer.feature_store": _patch_featurizers,
        "periogt_ray.batch.featurize_workers": _patch_featurizers,
        "periogt_ray.model.predictor": _patch_predictors,
    }
)
