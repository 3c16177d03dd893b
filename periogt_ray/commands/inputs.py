"""Options for the input of a prediction: a second monomer, or conditions."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import CONDITIONS, InputKind

if TYPE_CHECKING:
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.polymer.given import GivenInput

__all__ = ["check_options_of_kind", "copolymer_options", "given_input"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--smiles-b", help="Second monomer of a copolymer."),
    click.option("--ratio-a", type=float, help="Molar fraction of the first monomer: 0.25, 0.5 or 0.75."),
    click.option("--architecture", help="Architecture of a copolymer: alternating, block or random."),
    click.option(
        "--condition",
        "conditions",
        multiple=True,
        metavar="NAME=VALUE",
        help="A standardised number that the property needs besides the repeat unit; give the option once for each.",
    ),
)
# What a property is predicted of, and the options that say it.
_OPTIONS_OF = {
    InputKind.HOMOPOLYMER: ("one repeat unit", "give --smiles only"),
    InputKind.COPOLYMER: ("a copolymer", "give --smiles, --smiles-b, --ratio-a and --architecture"),
    InputKind.CONDITIONS: (
        "a repeat unit with conditions",
        f"give --smiles and {', '.join(f'--condition {one.name}=NUMBER' for one in CONDITIONS)}",
    ),
}


def copolymer_options(command: _Command) -> _Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_input(
    smiles: str, smiles_b: str | None, ratio_a: float | None, architecture: str | None, conditions: tuple[str, ...]
) -> "GivenInput":
    """Return the input that the options describe.

    Raises
    ------
    click.UsageError
        If some options of a copolymer are missing, or a condition is no name with a number.
    """
    from periogt_ray.polymer.given import GivenInput

    of_copolymer = {"--smiles-b": smiles_b, "--ratio-a": ratio_a, "--architecture": architecture}
    missing = [name for name, value in of_copolymer.items() if value is None]
    if smiles_b is not None and ratio_a is not None and architecture is not None:
        if conditions:
            raise click.UsageError("--condition and --smiles-b cannot be used together.")
        return GivenInput.of_copolymer(smiles, smiles_b, ratio_a, architecture)
    if len(missing) < len(of_copolymer):
        raise click.UsageError(f"A copolymer also needs {' and '.join(missing)}.")
    if not conditions:
        return GivenInput.of_smiles(smiles)
    numbers: dict[str, float] = {}
    for text in conditions:
        name, _, value = text.partition("=")
        if name in numbers:
            raise click.UsageError(f"--condition {name} is given twice; give it once.")
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise click.UsageError(f"--condition is {text!r}; expected NAME=NUMBER, for example homo=-0.6.") from error
    return GivenInput.with_conditions(smiles, numbers)


def check_options_of_kind(artifacts: "ArtifactDirectory", properties: Sequence[str], given: InputKind) -> None:
    """Make sure that the options describe what the properties are predicted of; ``all`` takes every kind.

    Raises
    ------
    ValidationError
        Naming the options that are missing, or too many.
    UnsupportedPropertyError
        A property is not served.
    """
    for name in filter(None, (name.strip() for name in properties)):
        wanted = given if name == "all" else artifacts.property(name).input_kind
        if wanted is not given:
            (of_property, remedy), (of_options, _) = _OPTIONS_OF[wanted], _OPTIONS_OF[given]
            raise ValidationError(
                f"{name} is predicted of {of_property}, and the options describe {of_options}; {remedy}."
            )
