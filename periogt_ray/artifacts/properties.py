"""The properties that the release predicts: ids, labels, units, and what is known of a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from periogt_ray.artifacts.architecture import input_kind
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = ["ALIASES", "PROPERTIES", "UNPUBLISHED", "PropertyInfo", "check_kind", "describe", "possible_values"]


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
        Architecture: ``common``, ``copolymer`` and ``conditions`` are served; ``encoder`` and ``unknown`` are listed.
    prompt_scheme : PromptScheme
        The prompt graphs that the checkpoint was trained with; those of the release where no index says otherwise.
    supported : bool
        Whether requests for it are answered.
    reason : str or None
        Why not, for people; None if supported.
    members : tuple of str
        Paths of the networks whose predictions are averaged, ``checkpoint`` first; empty where there is one network.
    """

    id: str
    label: str
    units: str
    checkpoint: str
    family: str = "common"
    prompt_scheme: PromptScheme = PromptScheme.RELEASE
    supported: bool = True
    reason: str | None = None
    members: tuple[str, ...] = ()

    @property
    def weight_paths(self) -> tuple[str, ...]:
        """Every weight file that a prediction reads, relative to the artifact directory."""
        return self.members or (self.checkpoint,)

    @property
    def input_kind(self) -> InputKind:
        """What the property is predicted of."""
        return input_kind(self.family)


# Id -> (label, unit). The authors' sets of tg and mt are in degrees Celsius (in them polystyrene has 99.9, and
# poly(ethylene terephthalate) melts at 253), and so are the values of networks that were trained on them.
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
        "tg": ("Glass transition temperature", "degC"),
        "mt": ("Melting temperature", "degC"),
        "density": ("Density", "g/cm3"),
        "ea": ("Electron affinity (copolymer)", "eV"),
        "ip": ("Ionization potential (copolymer)", "eV"),
        "opv": ("Power conversion efficiency (with fullerene)", "%"),
    }
)

# Id -> label, unit and reason. The weights are published and the programs are not, so what goes into these networks is
# not known. Their shapes may be those of a network that is; so the id decides.
_THREE_MONOMERS = (
    "it was trained on terpolymers (three monomers and three ratios) by a program that is not published, so how they "
    "enter its network is not known"
)
UNPUBLISHED: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "mar1": ("Terpolymers, assay 1", "", _THREE_MONOMERS),
        "mar2": ("Terpolymers, assay 2", "", _THREE_MONOMERS),
        "pe": (
            "Polymer electrolytes",
            "",
            "it was trained on two monomers with percentages, an anion and five numbers by a program that is not "
            "published, so how they enter its network is not known",
        ),
    }
)

# Another name -> id.
ALIASES: Mapping[str, str] = MappingProxyType({"tm": "mt"})

_ABSOLUTE_ZERO = -273.15  # degC
# Id -> lowest and highest value that there can be, in the unit above; the others have no bound.
_POSSIBLE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "eps": (1.0, math.inf),
        "nc": (1.0, math.inf),
        "egc": (0.0, math.inf),
        "egb": (0.0, math.inf),
        "ei": (0.0, math.inf),
        "xc": (0.0, 100.0),
        "tg": (_ABSOLUTE_ZERO, math.inf),
        "mt": (_ABSOLUTE_ZERO, math.inf),
        "density": (0.0, math.inf),
        "ip": (0.0, math.inf),
        "opv": (0.0, 100.0),
    }
)


def possible_values(property_id: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a property can have, in its unit; infinite where none is known."""
    return _POSSIBLE.get(ALIASES.get(property_id, property_id), (-math.inf, math.inf))


def describe(property_id: str) -> tuple[str, str]:
    """Return label and unit of a property; an id that is not in the table is its own label, without a unit."""
    if property_id in UNPUBLISHED:
        label, units, _ = UNPUBLISHED[property_id]
        return label, units
    return PROPERTIES.get(ALIASES.get(property_id, property_id), (property_id, ""))


# What an input is called, and how it is given in JSON.
_INPUT_NAMES: Mapping[InputKind, tuple[str, str]] = MappingProxyType(
    {
        InputKind.HOMOPOLYMER: ("a repeat unit", '{"smiles"}'),
        InputKind.COPOLYMER: ("a copolymer", '{"copolymer": {"smiles_a", "smiles_b", "ratio_a", "architecture"}}'),
        InputKind.CONDITIONS: (
            "a repeat unit with conditions",
            '{"smiles", "conditions": {"homo", "bandgap", "molar_mass"}}',
        ),
    }
)


def check_kind(info: PropertyInfo, given: InputKind) -> None:
    """Make sure that a property gets the kind of input that it is predicted from.

    Raises
    ------
    ValidationError
        If not, saying what was given and what the property takes.
    """
    if given is info.input_kind:
        return
    wanted, form = _INPUT_NAMES[info.input_kind]
    found, _ = _INPUT_NAMES[given]
    raise ValidationError(
        f"{info.id} is predicted of {wanted}, and {found} was given; expected {form}.",
        {"property": info.id, "input": info.input_kind.value, "given": given.value},
    )
