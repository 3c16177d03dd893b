"""Whether several properties of one polymer agree with one another, as those of the data do.

Each relation was measured on all rows of the published sets whose polymer has the properties: mean and standard
deviation (sd) of a difference that physics says is about constant.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from periogt_ray.model.tasks import Outcome

__all__ = ["consistency_warnings", "with_consistency"]

_N_DEVIATIONS = 3


class _Relation(NamedTuple):
    """A combination of properties: its name, its terms, and its values in the data."""

    name: str
    terms: tuple[tuple[str, float, int], ...]  # property, factor, power
    units: str
    mean: float
    sd: float
    n: int

    def warning(self, values: Mapping[str, float]) -> str | None:
        if any(property_id not in values for property_id, _, _ in self.terms):
            return None
        found = sum(factor * values[property_id] ** power for property_id, factor, power in self.terms)
        if abs(found - self.mean) <= _N_DEVIATIONS * self.sd:
            return None
        return (
            f"The predictions do not agree: {self.name} is {found:.2f} {self.units}".rstrip()
            + f", and {self.mean:.2f} with a standard deviation of {self.sd:.2f} over {self.n} known polymers"
        )


_RELATIONS = (
    _Relation("eps - nc^2", (("eps", 1, 1), ("nc", -1, 2)), "", 0.74, 0.44, 382),
    _Relation("egc - (ei - eea)", (("egc", 1, 1), ("ei", -1, 1), ("eea", 1, 1)), "eV", 0.02, 0.31, 351),
    _Relation("egb - egc", (("egb", 1, 1), ("egc", -1, 1)), "eV", -0.38, 0.59, 543),
)


def consistency_warnings(values: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Return the relations that the predictions of one polymer violate, by property.

    Parameters
    ----------
    values : Mapping of str to float
        Predictions by property id, in their units.

    Examples
    --------
    >>> consistency_warnings({"eps": 3.0, "nc": 1.6})
    {}
    >>> list(consistency_warnings({"egb": 9.0, "egc": 4.0}))
    ['egb', 'egc']
    """
    found: dict[str, tuple[str, ...]] = {}
    for relation in _RELATIONS:
        if (warning := relation.warning(values)) is not None:
            for property_id, _, _ in relation.terms:
                found[property_id] = (*found.get(property_id, ()), warning)
    return found


def with_consistency(asked: Sequence[tuple[Hashable, str | None]], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Add warnings to the outcomes of polymers for which several properties were requested together.

    Parameters
    ----------
    asked : sequence of (polymer, property id)
        One an outcome; what stands for a polymer is compared only.
    outcomes : sequence of Outcome
        In their order.
    """
    by_polymer: dict[Hashable, dict[str, float]] = {}
    for (polymer, property_id), value in _valued(asked, outcomes):
        by_polymer.setdefault(polymer, {})[property_id] = value
    told = {polymer: consistency_warnings(values) for polymer, values in by_polymer.items() if len(values) > 1}
    return [
        replace(outcome, warnings=tuple(dict.fromkeys((*outcome.warnings, *further))))
        if outcome.value is not None and (further := told.get(polymer, {}).get(property_id or "", ()))
        else outcome
        for (polymer, property_id), outcome in zip(asked, outcomes, strict=True)
    ]


def _valued(
    asked: Sequence[tuple[Hashable, str | None]], outcomes: Sequence[Outcome]
) -> Iterator[tuple[tuple[Hashable, str], float]]:
    for (polymer, property_id), outcome in zip(asked, outcomes, strict=True):
        if property_id is not None and outcome.value is not None:
            yield (polymer, property_id), outcome.value
