"""calibration.json: whether weights predict their own test rows, and under which prompt scheme."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from periogt_ray.runtime.files import write_json_atomically

__all__ = ["LOWEST_R2", "Verdict", "read_verdicts", "write_verdict"]

_NAME = "calibration.json"
# Below this under every scheme, weights and rows do not belong together; published figures are above 0.75.
LOWEST_R2 = 0.5


class Verdict(NamedTuple):
    """What a calibration found for one property.

    Attributes
    ----------
    scheme : str
        Prompt scheme with the highest R2.
    r2 : float
        On the test rows, under that scheme.
    n : int
        Test rows.
    schemes : Mapping
        R2 and RMSE by scheme.
    source : str
        Where the rows came from.
    """

    scheme: str
    r2: float
    n: int
    schemes: Mapping[str, Mapping[str, float]]
    source: str

    @property
    def is_recognised(self) -> bool:
        """Whether the weights predict their own test rows."""
        return self.r2 >= LOWEST_R2


def read_verdicts(root: Path) -> dict[str, Verdict]:
    """Return the verdicts of an artifact directory by property id; what is damaged counts as not there."""
    try:
        document = json.loads((root / _NAME).read_text(encoding="utf-8"))
        return {key: Verdict(**{name: entry[name] for name in Verdict._fields}) for key, entry in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_verdict(root: Path, property_id: str, verdict: Verdict) -> None:
    """Write the verdict of a property, and keep those of the others."""
    document: dict[str, Any] = {key: known._asdict() for key, known in read_verdicts(root).items()}
    document[property_id] = verdict._asdict()
    write_json_atomically(root / _NAME, dict(sorted(document.items())))
