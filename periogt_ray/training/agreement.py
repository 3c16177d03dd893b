"""Figures of agreement between predictions and measured values, and labels that are in another unit."""

from typing import NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.model.intervals import rank_correlation

__all__ = ["Agreement", "Conversion", "check_units", "measure_agreement"]


class Agreement(NamedTuple):
    """How predictions agree with values.

    Attributes
    ----------
    n : int
        Rows.
    r2 : float or None
        Coefficient of determination; None where values do not differ.
    rmse, mae : float
        Root mean square and mean absolute error, in the property's unit.
    spearman : float
        Rank correlation.
    mean_error : float
        Mean of prediction minus value.
    """

    n: int
    r2: float | None
    rmse: float
    mae: float
    spearman: float
    mean_error: float


class Conversion(NamedTuple):
    """From another unit to that of a property: value * factor + offset."""

    unit: str
    factor: float
    offset: float = 0.0

    @property
    def formula(self) -> str:
        """How to convert, in words."""
        if not self.offset:
            return f"multiply by {self.factor:.6g}"
        sign = "add" if self.offset > 0 else "subtract"
        shift = f"{sign} {abs(self.offset):g}"
        return shift if self.factor == 1 else f"multiply by {self.factor:.6g}, then {shift}"


# By the unit that a property has. Energies: CODATA 2018.
_ENERGIES = (
    Conversion("kJ/mol", 1 / 96.48533212),
    Conversion("kcal/mol", 1 / 23.06054783),
    Conversion("Hartree", 27.211386246),
    Conversion("meV", 1e-3),
)
_CONVERSIONS = {
    "degC": (Conversion("K", 1.0, -273.15), Conversion("degF", 5 / 9, -160 / 9)),
    "K": (Conversion("degC", 1.0, 273.15),),
    "eV": _ENERGIES,
    "eV/atom": _ENERGIES,
    "g/cm3": (Conversion("kg/m3", 1e-3),),
    "%": (Conversion("a share from 0 to 1", 100.0),),
    "GPa": (Conversion("MPa", 1e-3), Conversion("Pa", 1e-9)),
    "MPa": (Conversion("GPa", 1e3),),
}
_FEWEST = 5  # rows from which a unit can be told
_CLEARLY_BETTER = 3.0  # times, by which the error has to fall


def measure_agreement(values: np.ndarray, predictions: np.ndarray) -> Agreement:
    """Compare predictions with values, float64 [n] each."""
    errors = predictions - values
    # Equal values may differ from their mean by rounding.
    spread = float(((values - values.mean()) ** 2).sum()) if (values != values[:1]).any() else 0.0
    return Agreement(
        len(values),
        None if spread == 0 else 1 - float((errors**2).sum()) / spread,
        float(np.sqrt(np.mean(errors**2))),
        float(np.mean(np.abs(errors))),
        rank_correlation(values, predictions),
        float(errors.mean()),
    )


def check_units(values: np.ndarray, predictions: np.ndarray, units: str) -> None:
    """Refuse values that a conversion brings much closer to the predictions.

    Parameters
    ----------
    values, predictions : numpy.ndarray
        float64 [n].
    units : str
        Of the property.

    Raises
    ------
    ValidationError
        If they look like another unit; the message names the conversion.
    """
    if len(values) < _FEWEST:
        return
    given = measure_agreement(values, predictions).rmse
    for conversion in _CONVERSIONS.get(units, ()):
        converted = measure_agreement(values * conversion.factor + conversion.offset, predictions)
        # A small factor brings everything close to anything small: the order has to be right, too.
        if given > _CLEARLY_BETTER * converted.rmse and converted.r2 is not None and converted.r2 > 0:
            raise ValidationError(
                f"The values look like {conversion.unit}, and the property is in {units}: the root mean square error "
                f"is {given:.4g} as they are, and {converted.rmse:.4g} after a conversion. Convert them first: "
                f"{conversion.formula}.",
                {"unit": conversion.unit, "factor": conversion.factor, "offset": conversion.offset},
            )
