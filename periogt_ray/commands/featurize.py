"""``periogt featurize``: compute the features of a table's polymers and keep them in the feature store."""

import os
from pathlib import Path

import click

from periogt_ray.commands.output import OnceCommand, print_json, resolved_settings

__all__ = ["featurize"]


@click.command(cls=OnceCommand)
@click.option("--input", "input_path", required=True, type=click.Path(path_type=Path), help="CSV or Parquet.")
@click.option(
    "--property",
    "properties",
    multiple=True,
    default=("all",),
    help="Properties that the features are for, separated by commas.  [default: all that are served]",
)
@click.option("--smiles-column", help="Column of the SMILES.  [default: found by its name]")
@click.option("--id-column", help="Column of the ids.  [default: found by its name]")
@click.option("--no-header", is_flag=True, help="The first row is data; columns have numbers, from 1.")
@click.option("--share", help="K/N: only share K of N.  [default: by the task of a Slurm array, else all rows]")
@click.option("--workers", type=click.IntRange(1), help="Number of processes.  [default: one for each usable CPU]")
def featurize(
    input_path: Path,
    properties: tuple[str, ...],
    smiles_column: str | None,
    id_column: str | None,
    no_header: bool,
    share: str | None,
    workers: int | None,
) -> None:
    """Compute features in advance, on CPUs, for later runs.

    Writes to PERIOGT_FEATURE_STORE, where batches and services find the features, also on GPU nodes. Features
    that are already there are not computed again, so the same command continues a run that was killed. Prints a
    summary as JSON.
    Exit status: 0 success, 1 some rows have no features or the run was interrupted, 2 nothing could be done.
    """
    from periogt_ray.batch.featurize_run import FeaturizeOptions, run_featurize
    from periogt_ray.runtime.cpus import usable_cpus
    from periogt_ray.tables.columns import TableOptions
    from periogt_ray.tables.shares import TableShare

    summary = run_featurize(
        FeaturizeOptions(
            input=input_path,
            properties=tuple(name for given in properties for name in given.split(",")),
            share=TableShare.of_array_task(os.environ) if share is None else TableShare.parse(share),
            n_workers=workers or usable_cpus(os.environ).n,
            table=TableOptions(smiles_column, id_column, has_header=not no_header),
        ),
        resolved_settings(),
    )
    print_json(summary.document)
    raise SystemExit(summary.exit_code)
