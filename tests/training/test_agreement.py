"""Figures by hand, and units that are told from the labels."""

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.training.agreement import check_units, measure_agreement

CELSIUS = np.array([100.0, 108.0, 77.0, -20.0, 250.0, 40.0, 150.0])
PREDICTED = CELSIUS + np.array([5.0, -8.0, 12.0, 3.0, -15.0, 9.0, 2.0])


def test_figures_by_hand() -> None:
    found = measure_agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 2.5]))
    assert (found.n, found.r2, found.mae, found.mean_error) == (3, 0.75, pytest.approx(1 / 3), 0.0)
    assert found.rmse == pytest.approx((0.5 / 3) ** 0.5)
    assert measure_agreement(np.ones(3), np.ones(3)).r2 is None


@pytest.mark.parametrize(
    ("values", "units", "told"),
    [
        (CELSIUS + 273.15, "degC", r"look like K,.*subtract 273\.15"),
        (CELSIUS * 1.8 + 32, "degC", "look like degF"),
        (np.array([1.0, 2, 3, 4, 5, 6, 7]) * 96.485, "eV", "look like kJ/mol"),
        (np.array([1.0, 2, 3, 4, 5, 6, 7]) * 1000, "g/cm3", "look like kg/m3"),
    ],
)
def test_another_unit_is_refused_with_the_conversion(values: np.ndarray, units: str, told: str) -> None:
    predictions = PREDICTED if units == "degC" else np.array([1.1, 1.9, 3.2, 4.1, 4.8, 6.3, 6.9])
    with pytest.raises(ValidationError, match=told):
        check_units(values, predictions, units)


def test_the_right_unit_passes_however_bad_the_predictions_are() -> None:
    check_units(CELSIUS, PREDICTED, "degC")
    check_units(CELSIUS, PREDICTED[::-1], "degC")
    check_units(CELSIUS, np.full(7, 90.0), "degC")
    check_units(CELSIUS[:4] + 273.15, PREDICTED[:4], "degC")  # too few to tell
