"""The properties that the release predicts: ids, labels, units, and what is known of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = ["PROPERTIES", "PropertyInfo", "describe"]


@dataclass(frozen=True)
class PropertyInfo:
    """What an artifact directory holds for one property.

    Attributes
    ----------
    id : str
        Identifier in requests, for example ``egc``.
    label : str
        Name for people.
    units : str
        Unit of predicted values; empty if there is none or it is not known.
    checkpoint : str
        Path of the weights relative to the artifact directory, with ``/``.
    family : str
        Architecture: ``common`` is served; ``copolymer``, ``conditions``, ``encoder`` and ``unknown`` are listed.
    prompt_scheme : PromptScheme
        The prompt graphs that the checkpoint was trained with; those of the release where no index says otherwise.
    supported : bool
        Whether requests for it are answered.
    reason : str or None
        Why not, for people; None if supported.
    """

    id: str
    label: str
    units: str
    checkpoint: str
    family: str = "common"
    prompt_scheme: PromptScheme = PromptScheme.RELEASE
    supported: bool = True
    reason: str | None = None


# Id -> (label, unit). The release does not say the unit of tg and tm.
PROPERTIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "eat": ("Atomization energy (per atom)", "eV/atom"),
        "eps": ("Dielectric constant", ""),
        "nc": ("Refractive index", ""),
        "egc": ("Band gap, chain", "eV"),
        "egb": ("Band gap, bulk", "eV"),
        "eea": ("Electron affinity", "eV"),
        "ei": ("Ionization energy", "eV"),
        "xc": ("Crystallization tendency", "%"),
        "tg": ("Glass transition temperature", "K"),
        "tm": ("Melting temperature", "K"),
        "density": ("Density", "g/cm3"),
    }
)


def describe(property_id: str) -> tuple[str, str]:
    """Return label and unit of a property; an id that is not in the table is its own label, without a unit."""
    return PROPERTIES.get(property_id, (property_id, ""))
