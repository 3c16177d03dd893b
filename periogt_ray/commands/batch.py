"""``periogt batch``: a table in, a table out."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from periogt_ray.commands.output import OnceCommand, level_option, print_json, resolved_settings
from periogt_ray.runtime.cpus import usable_cpus

if TYPE_CHECKING:
    from periogt_ray.tables.pair_table import PairOptions

__all__ = ["batch"]

logger = logging.getLogger(__name__)


@click.command(cls=OnceCommand)
@click.option("--input", "input_path", type=click.Path(path_type=Path), help="CSV or Parquet.")
@click.option(
    "--pairs",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A B",
    help="Instead of --input: two tables of monomers; all their copolymers are predicted.",
)
@click.option("--ratios", help="With --pairs: molar fractions of A, separated by commas.  [default: as trained]")
@click.option("--architectures", help="With --pairs: some of alternating,block,random.  [default: as trained]")
@click.option(
    "--property", "properties", required=True, multiple=True, help="Property ids, separated by commas, or 'all'."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="CSV to write, or Parquet if the name ends with .parquet.  [default: <input stem>_predictions.csv]",
)
@click.option("--smiles-column", help="Column of the SMILES.  [default: found by its name]")
@click.option("--id-column", help="Column of the ids.  [default: found by its name, else row numbers]")
@click.option("--no-header", is_flag=True, help="The first row is data; columns have numbers, from 1.")
@click.option("--keep-columns", is_flag=True, help="Copy the other columns of the input to the output.")
@click.option("--wide", is_flag=True, help="Write one row for each input row, with a column for each property.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="HTML report to write: counts, distributions, extremes."
)
@level_option
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of predictors.  [default: one for each GPU; without a GPU, one for two CPUs]",
)
@click.option(
    "--engine",
    type=click.Choice(["ray", "local"]),
    help="Compute on Ray, or in processes of this machine.  [default: local for up to 10,000 polymers]",
)
@click.option("--part-size", type=click.IntRange(1, 4096), help="Number of rows that are computed and saved together.")
@click.option("--batch-size", "old_part_size", type=click.IntRange(1, 4096), hidden=True)
def batch(
    input_path: Path | None,
    pairs: tuple[Path, Path] | None,
    ratios: str | None,
    architectures: str | None,
    properties: tuple[str, ...],
    output: Path | None,
    smiles_column: str | None,
    id_column: str | None,
    no_header: bool,
    keep_columns: bool,
    wide: bool,
    report: Path | None,
    level: float,
    resume: bool,
    workers: int | None,
    engine: Literal["ray", "local"] | None,
    part_size: int | None,
    old_part_size: int | None,
) -> None:
    """Predict properties of every polymer of a CSV or Parquet file.

    Writes one row for each input row and property, in input order, and prints a summary.
    Properties of copolymers read the columns smiles_a, smiles_b, ratio_a and architecture (or smiles_A,
    smiles_B, rA, rB, type). Properties with conditions read smiles, homo, bandgap and molar_mass.
    Runs on the Ray at RAY_ADDRESS, else on this machine. Exit status: 0 success, 1 some rows failed or
    the run was interrupted, 2 nothing could be done.
    """
    from periogt_ray.batch.options import BatchOptions
    from periogt_ray.batch.run import run_batch
    from periogt_ray.tables.columns import TableOptions

    if old_part_size is not None:
        logger.warning("--batch-size is now called --part-size; the next minor release will not accept the old name.")
    table = TableOptions(smiles_column, id_column, has_header=not no_header, keeps_columns=keep_columns)
    chosen = _pair_options(input_path, pairs, ratios, architectures)
    if chosen is not None and table != TableOptions():
        raise click.UsageError("--pairs makes its own table; leave out --smiles-column and other options for columns.")
    if chosen is not None:
        input_path = chosen.first.with_name(f"{chosen.first.stem}_{chosen.second.stem}.csv")
    summary = run_batch(
        BatchOptions(
            input=cast(Path, input_path),
            pairs=chosen,
            output=output,
            properties=tuple(name for given in properties for name in given.split(",")),
            is_resumed=resume,
            n_predictors=workers,
            rows_per_part=part_size or old_part_size,
            address=os.environ.get("RAY_ADDRESS") or None,
            report=report,
            engine=engine,
            n_cpus=usable_cpus(os.environ).n,
            table=table,
            is_wide=wide,
            level=level,
        ),
        resolved_settings(),
    )
    if summary is None:
        raise SystemExit(1)
    print_json(summary.document)
    raise SystemExit(summary.exit_code)


def _pair_options(
    input_path: Path | None, pairs: tuple[Path, Path] | None, ratios: str | None, architectures: str | None
) -> "PairOptions | None":
    """Return what --pairs asks for; UsageError if it is not one of --input and --pairs."""
    from periogt_ray.tables.pair_table import PairOptions

    if (input_path is None) == (pairs is None):
        raise click.UsageError("Give --input, or --pairs with two tables of monomers.")
    if pairs is None:
        if ratios or architectures:
            raise click.UsageError("--ratios and --architectures need --pairs; with --input they are columns.")
        return None
    try:
        numbers = tuple(float(text) for text in ratios.split(",")) if ratios else ()
    except ValueError as error:
        raise click.UsageError(f"--ratios is {ratios!r}; expected numbers such as 0.25,0.5.") from error
    words = tuple(text.strip() for text in architectures.split(",")) if architectures else ()
    return PairOptions(*pairs, numbers, words)
