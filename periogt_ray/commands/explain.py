"""``periogt explain``: which bonds and atoms carry a prediction."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from periogt_ray.commands.output import OnceCommand, as_json_option, print_json, resolved_settings, wants_json
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.limits import MOST_PASSES

if TYPE_CHECKING:
    from periogt_ray.model.explanation import Explanation

__all__ = ["explain", "explanation_table"]

logger = logging.getLogger(__name__)

_N_ROWS = 12  # of the table; the JSON has all bonds


@click.command(cls=OnceCommand)
@click.option("--smiles", required=True, help="Repeat unit, for example '*CC(*)c1ccccc1'.")
@click.option("--property", "property_id", required=True, help="Property id.")
@click.option("--output", type=click.Path(path_type=Path), help="Drawing to write, an SVG file.")
@click.option(
    "--passes", type=click.IntRange(1, MOST_PASSES), help="Most subsets of bonds to compute; more take longer."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where the model runs.  [default: PERIOGT_DEVICE]")
@as_json_option
def explain(
    smiles: str, property_id: str, output: Path | None, passes: int | None, device: str | None, as_json: bool | None
) -> None:
    """Explain a prediction: which bonds of the repeat unit carry it.

    Values are Shapley values in the unit of the property: baseline + values of all parts = prediction. They say how
    this model's answer changes when bonds are replaced by an average bond. They are not causes. Only properties of
    a repeat unit are explained, of at most 100 atoms.
    """
    from periogt_ray.predict import PerioGT

    if output is not None:
        _check_writable(output)
    chosen = {} if device is None else {"PERIOGT_DEVICE": device}
    model = PerioGT.of_settings(resolved_settings({**os.environ, **chosen}))
    found = model.explain(smiles, property_id, passes=passes)
    if wants_json(as_json):
        print_json(found.as_dict())
    else:
        click.echo(explanation_table(found))
    if output is not None:
        _write(output, found.svg())
        logger.info("The drawing is %s.", output)


def explanation_table(found: "Explanation") -> str:
    """Return an explanation as text: its parts, the largest first, with their shares of all changes.

    Parameters
    ----------
    found : Explanation
        The explanation.
    """
    from periogt_ray.model.explanation import MEANING

    units = found.units or "no unit"
    parts = [("whole-molecule features", "", found.whole_molecule)]
    for bond in found.bonds:
        where = "-".join(f"{symbol}{atom}" for symbol, atom in zip(bond.symbols, bond.atoms, strict=True))
        parts.append((where, "between units" if bond.is_between_units else "", bond))
    parts.sort(key=lambda row: -abs(row[2].value))
    total = sum(abs(part.value) for _, _, part in parts)
    rows = []
    for where, note, part in parts[:_N_ROWS]:
        share = abs(part.value) / total if total else 0.0
        error = f"± {part.standard_error:.2g}" if found.method == "sampled" else ""
        rows.append(f"{where:<24}{part.value:>+12.4g} {error:<10}{share:>6.1%}  {note}".rstrip())
    if left := parts[_N_ROWS:]:
        rest = sum(part.value for _, _, part in left)
        rows.append(f"{f'{len(left)} smaller parts':<24}{rest:>+12.4g}")
    added = found.prediction - found.baseline
    how = "all subsets" if found.method == "exact" else "sampled orders"
    return "\n".join(
        [
            f"{found.label} of {found.repeat_unit}, {units}; {found.passes} passes, {how}",
            "Atoms are numbered from 0 in this SMILES, connection points included.",
            "",
            f"{'baseline':<24}{found.baseline:>12.4g}",
            *rows,
            f"{'prediction':<24}{found.prediction:>12.4g}  = baseline {added:+.4g} of all parts",
            "",
            MEANING,
        ]
    )


def _check_writable(path: Path) -> None:
    """Refuse before the computation, which takes minutes for a large polymer, what cannot be written after it."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ValidationError(f"--output {path} cannot be written: its directory does not exist.")
    if path.is_dir():
        raise ValidationError(f"--output {path} is a directory; expected the name of an SVG file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValidationError(f"--output {path} cannot be written: you cannot write to its directory.")


def _write(path: Path, text: str) -> None:
    from periogt_ray.runtime.files import write_bytes_atomically

    try:
        write_bytes_atomically(path, text.encode())
    except OSError as error:
        raise ValidationError(f"--output {path} cannot be written: {error.strerror}.") from error
