"""Options for the input of a prediction: a second monomer, or conditions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from periogt_ray.polymer.given import GivenInput

__all__ = ["copolymer_options", "given_input"]

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
