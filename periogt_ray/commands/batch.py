"""``periogt batch``: a table in, a table out."""

import logging
import os
from pathlib import Path
from typing import Literal

import click

from periogt_ray.commands.output import OnceCommand, level_option, print_json, resolved_settings
from periogt_ray.runtime.cpus import usable_cpus

__all__ = ["batch"]

logger = logging.getLogger(__name__)


@click.command(cls=OnceCommand)
@click.option("--input", "input_path", required=True, type=click.Path(path_type=Path), help="CSV or Parquet.")
@click.option(
    "--property", "properties", required=True, multiple=True, help="Property ids, separated by commas, or 'all'."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="CSV to write, or Parquet where it ends with .parquet.  [default: <input stem>_predictions.csv]",
)
@click.option("--smiles-column", help="Column of the SMILES.  [default: by its name]")
@click.option("--id-column", help="Column of the ids.  [default: by its name, else row numbers]")
@click.option("--no-header", is_flag=True, help="The first row is data; columns have numbers, from 1.")
@click.option("--keep-columns", is_flag=True, help="Repeat the other columns of the input.")
@click.option("--wide", is_flag=True, help="Write one row per input row, with a column per property.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="HTML report to write: counts, distributions, extremes."
)
@level_option
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option(
    "--workers", type=click.IntRange(1), help="Predictors.  [default: one a GPU, without GPUs one for two CPUs]"
)
@click.option(
    "--engine",
    type=click.Choice(["ray", "local"]),
    help="Compute on Ray, or in processes of this machine.  [default: local for up to 10,000 polymers]",
)
@click.option("--part-size", type=click.IntRange(1, 4096), help="Rows that are computed and kept together.")
@click.option("--batch-size", "old_part_size", type=click.IntRange(1, 4096), hidden=True)
def batch(
    input_path: Path,
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

    Writes one row per input row and property, in input order, and prints a summary.
    Runs on the Ray at RAY_ADDRESS, else on this machine. Exit status: 0 success, 1 some rows failed or
    the run was interrupted, 2 nothing could be done.
    """
    from periogt_ray.batch.options import BatchOptions
    from periogt_ray.batch.run import run_batch
    from periogt_ray.tables.columns import TableOptions

    if old_part_size is not None:
        logger.warning("--batch-size is now --part-size; the next minor release does not know the old name.")
    summary = run_batch(
        BatchOptions(
            input=input_path,
            output=output,
            properties=tuple(name for given in properties for name in given.split(",")),
            is_resumed=resume,
            n_predictors=workers,
            rows_per_part=part_size or old_part_size,
            address=os.environ.get("RAY_ADDRESS") or None,
            report=report,
            engine=engine,
            n_cpus=usable_cpus(os.environ).n,
            table=TableOptions(smiles_column, id_column, has_header=not no_header, keeps_columns=keep_columns),
            is_wide=wide,
            level=level,
        ),
        resolved_settings(),
    )
    if summary is None:
        raise SystemExit(1)
    print_json(summary.document)
    raise SystemExit(summary.exit_code)
