"""``periogt evaluate``: compare predictions with measured values."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from periogt_ray.commands.output import (
    OnceCommand,
    as_json_option,
    interruption_told,
    print_json,
    resolved_settings,
    wants_json,
)
from periogt_ray.errors import ValidationError

if TYPE_CHECKING:
    from periogt_ray.training.evaluate import Evaluation

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)


@click.command(cls=OnceCommand)
@click.option("--input", "input_path", required=True, type=click.Path(path_type=Path), help="CSV or Parquet.")
@click.option("--property", "property_id", required=True, help="Property id.")
@click.option("--value-column", help="Column of the measured values.  [default: found by its name, such as value]")
@click.option("--smiles-column", help="Column of the SMILES.  [default: found by its name]")
@click.option("--id-column", help="Column of the ids.  [default: found by its name, else row numbers]")
@click.option("--no-header", is_flag=True, help="The first row is data; columns have numbers, from 1.")
@click.option("--output", type=click.Path(path_type=Path), help="Directory for evaluation.json and evaluation.html.")
@click.option("--calibrate", is_flag=True, help="Make intervals for this property from these rows, and store them.")
@as_json_option
def evaluate(
    input_path: Path,
    property_id: str,
    value_column: str | None,
    smiles_column: str | None,
    id_column: str | None,
    no_header: bool,
    output: Path | None,
    calibrate: bool,
    as_json: bool | None,
) -> None:
    """Compare predictions with measured values, to see whether the model works for your polymers.

    Values in another unit than the property's are refused; the message gives the conversion. Exit status: 0 success,
    1 some rows were left out, 2 nothing could be done, 130 interrupted by Ctrl-C.
    """
    options = _Options(input_path, property_id, value_column, smiles_column, id_column, no_header, output, calibrate)
    with interruption_told("No file is half written; give the command again to start over."):
        found = _evaluated(options, is_json=wants_json(as_json))
    raise SystemExit(1 if found.left_out else 0)


class _Options(NamedTuple):
    """As the command takes them."""

    input_path: Path
    property_id: str
    value_column: str | None
    smiles_column: str | None
    id_column: str | None
    no_header: bool
    output: Path | None
    calibrate: bool


def _evaluated(given: _Options, *, is_json: bool) -> "Evaluation":
    """Compare, write the report, print the figures, store the intervals."""
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.tables.columns import TableOptions
    from periogt_ray.training.changeable import check_writable
    from periogt_ray.training.measured import read_measured

    settings = resolved_settings()
    if given.output is not None:
        _make_directory(given.output)
    artifacts = ArtifactDirectory.of_settings(settings)
    info = artifacts.property(given.property_id)
    if given.calibrate:
        check_writable(artifacts.root, info.id)
    options = TableOptions(given.smiles_column, given.id_column, has_header=not given.no_header)
    measured = read_measured(given.input_path, info, options=options, value_column=given.value_column)

    from periogt_ray.model.predictor import Predictor
    from periogt_ray.training.evaluate import evaluate as run_evaluation
    from periogt_ray.training.evaluate import evaluation_document, store_calibration
    from periogt_ray.training.evaluation_report import evaluation_table

    predictor = Predictor.load(settings)
    found = run_evaluation(
        measured.rows, measured.left_out, property_id=info.id, predictor=predictor, settings=settings
    )
    document = evaluation_document(found)
    if given.output is not None:
        _write_report(given.output, found, document, source=given.input_path.name, artifacts=predictor.artifacts.name)
    if is_json:
        print_json(document)
    else:
        click.echo(evaluation_table(document))
    if given.calibrate:
        calibration = store_calibration(found, predictor, source=given.input_path.name)
        facts = calibration.facts
        logger.info("%s: intervals from %d polymers, scale %s", info.id, facts.report["n_rows"], facts.scale)
    return found


def _write_report(output: Path, found: "Evaluation", document: dict[str, Any], *, source: str, artifacts: str) -> None:
    """Write both files, or none of them where Ctrl-C comes before."""
    from periogt_ray.runtime.files import write_bytes_atomically, write_json_atomically
    from periogt_ray.runtime.signals import signals_held
    from periogt_ray.training.evaluation_report import render_evaluation

    html = render_evaluation(found, document, source=source, artifacts=artifacts).encode()
    with signals_held():
        write_json_atomically(output / "evaluation.json", document, mode=None)
        write_bytes_atomically(output / "evaluation.html", html, mode=None)
    logger.info("The report is %s.", output / "evaluation.html")


def _make_directory(path: Path) -> None:
    """Make the directory before anything is computed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError as error:
        raise ValidationError(f"--output {path} cannot be made: {error.strerror}; expected a directory.") from error
    if not writable:
        raise ValidationError(f"--output {path} cannot be written; name another directory.")
