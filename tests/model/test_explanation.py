from typing import Any

import numpy as np
import pytest

from periogt_ray import PerioGT, PerioGTClient
from periogt_ray.errors import ValidationError
from periogt_ray.model.explanation import checked_passes
from periogt_ray.settings import EMBEDDED_DIR


def test_passes_become_a_plain_int() -> None:
    assert checked_passes("*CC*", "egc", None) is None
    assert type(checked_passes("*CC*", "egc", np.int64(8))) is int


@pytest.mark.parametrize("passes", [8.0, "8", True, False, 0, -1, 20_001, float("nan"), [8]])
def test_other_passes_are_refused(passes: Any) -> None:
    with pytest.raises(ValidationError, match="expected an integer from 1 to 20000"):
        checked_passes("*CC*", "egc", passes)


@pytest.mark.parametrize(
    ("smiles", "property_id", "words"),
    [
        (["*CC*"], "egc", "smiles is of type list"),
        (None, "egc", "smiles is of type NoneType"),
        ("*CC*", ["egc"], "property_id is of type list"),
    ],
)
def test_lists_as_predictions_take_them_are_refused_by_both_apis(smiles: Any, property_id: Any, words: str) -> None:
    # The client refuses them without a service.
    for model in (PerioGT(EMBEDDED_DIR, device="cpu"), PerioGTClient("http://127.0.0.1:9")):
        with pytest.raises(ValidationError, match=words):
            model.explain(smiles, property_id)
