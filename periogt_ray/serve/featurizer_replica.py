"""The class behind Serve's featurizers, one actor for each core; a module of its own, because it needs no torch."""

import os
import threading
import time

from periogt_ray.errors import PerioGTError, RequestTimeoutError
from periogt_ray.polymer.drawing import Theme, draw
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.metrics import file_lookups
from periogt_ray.settings import Settings

__all__ = ["NICENESS", "WARM_UP", "FeaturizerReplica", "too_late"]

# The ingress goes before processes that compute, or health would wait for a core.
NICENESS = 5
WARM_UP = "*CC*"


class FeaturizerReplica:
    """Computes features on one core; its errors are values, because raised ones come with a traceback.

    Parameters
    ----------
    settings : Settings
        Name the descriptor engine and the store of features.
    """

    def __init__(self, settings: Settings) -> None:
        os.nice(NICENESS)
        self._settings = settings
        self._lookups = file_lookups()
        # Place 10 of the list in serve/service.py.
        self._core = threading.Lock()
        # The first polymer of a process loads compiled kernels.
        featurize(RepeatUnit.parse(WARM_UP), PromptScheme.MONOMER, engine=settings.descriptor_engine)

    def parse(self, smiles: str) -> RepeatUnit | PerioGTError:
        """Validate a SMILES."""
        try:
            return RepeatUnit.parse(smiles)
        except PerioGTError as error:
            return error

    def draw(self, unit: RepeatUnit, theme: Theme) -> str | PerioGTError:
        """Draw a repeat unit as SVG."""
        try:
            return draw(unit, theme=theme)
        except PerioGTError as error:
            return error

    def featurize(self, unit: RepeatUnit, scheme: PromptScheme, deadline: float) -> FeaturizedPolymer | PerioGTError:
        """Compute the features of a polymer, unless its deadline has passed."""
        with self._core:
            if time.time() >= deadline:
                return too_late()
            try:
                polymer, was_there = featurized(unit, scheme, self._settings)
            except PerioGTError as error:
                return error
        if self._settings.feature_store is not None:
            self._lookups.inc(1.0, tags={"result": "hit" if was_there else "miss"})
        return polymer


def too_late() -> RequestTimeoutError:
    """Return the error of work whose deadline passed before it began."""
    return RequestTimeoutError("The request's deadline passed before its work began; it was dropped.")
