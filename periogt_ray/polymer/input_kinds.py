"""The kinds of input, and what may stand in them; without RDKit, for processes that only list or check."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "ARCHITECTURES",
    "CONDITIONS",
    "INPUT_COLUMNS",
    "N_EQUAL_PAIRS",
    "N_PAIRS_ROWS",
    "RATIOS",
    "TRAINED_COMBINATIONS",
    "Condition",
    "InputKind",
]

RATIOS = (0.25, 0.5, 0.75)  # molar fractions that the networks have a state for
ARCHITECTURES = ("alternating", "block", "random")
# Ratio of A and architecture, as training saw them.
TRAINED_COMBINATIONS = (
    (0.5, "alternating"),
    *((ratio, architecture) for architecture in ("block", "random") for ratio in RATIOS),
)
# Rows of ea.csv, as of ip.csv, and those whose two monomers are one: eight monomers, each in the seven combinations.
N_PAIRS_ROWS, N_EQUAL_PAIRS = 42966, 56


class InputKind(StrEnum):
    """What a property is predicted of."""

    HOMOPOLYMER = "homopolymer"
    COPOLYMER = "copolymer"
    CONDITIONS = "conditions"


class Condition(NamedTuple):
    """A number beside a repeat unit, standardised as in the training data; ``low`` and ``high`` bound that data."""

    name: str
    label: str
    low: float
    high: float


# In the order in which the network takes them. The data set holds standardised numbers; its headings name units.
CONDITIONS = (
    Condition("homo", "HOMO energy", -4.96, 3.84),
    Condition("bandgap", "Band gap", -3.49, 3.33),
    Condition("molar_mass", "Weight-average molar mass", -0.62, 17.55),
)

# Names of the columns of each kind, in a table and in JSON.
INPUT_COLUMNS: Mapping[InputKind, tuple[str, ...]] = {
    InputKind.HOMOPOLYMER: ("smiles",),
    InputKind.COPOLYMER: ("smiles_a", "smiles_b", "ratio_a", "architecture"),
    InputKind.CONDITIONS: ("smiles", *(condition.name for condition in CONDITIONS)),
}
