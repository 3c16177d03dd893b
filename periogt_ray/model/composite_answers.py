"""Why copolymers and polymers with conditions have no answer."""

from periogt_ray.errors import InternalError, PerioGTError, ValidationError
from periogt_ray.polymer.input_features import Featurized, FeaturizedConditions
from periogt_ray.polymer.input_kinds import CONDITIONS

__all__ = ["no_embedding", "not_finite"]


def no_embedding() -> ValidationError:
    """Return the error of an embedding of a polymer that has none."""
    return ValidationError(
        "A copolymer or a polymer with conditions has no embedding. Request that of each repeat unit, and leave out "
        "return_embedding."
    )


def not_finite(polymer: Featurized, what: str) -> PerioGTError:
    """Return the error of an output that is not finite: the conditions are at fault, or the network.

    Parameters
    ----------
    polymer : FeaturizedPolymer, FeaturizedCopolymer or FeaturizedConditions
        Whose output it is.
    what : str
        The property, or ``embedding``.
    """
    if isinstance(polymer, FeaturizedConditions):
        given = zip(CONDITIONS, polymer.conditions, strict=True)
        told = ", ".join(f"{one.name} {value:g} (in training {one.low:g} to {one.high:g})" for one, value in given)
        return ValidationError(
            f"The conditions are so far outside training that the result is not a finite number: {told}; expected "
            "standardised numbers."
        )
    return InternalError(
        f"The network's {what} for {polymer.smiles!r} is not a finite number; it is far outside what the network knows."
    )
