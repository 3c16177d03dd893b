"""``periogt calibrate``: intervals and prompt scheme of published weights."""

import logging
from pathlib import Path
from typing import Any

import click

from periogt_ray.commands.output import (
    OnceCommand,
    as_json_option,
    interruption_told,
    print_json,
    resolved_settings,
    wants_json,
)

__all__ = ["calibrate"]

logger = logging.getLogger(__name__)


@click.command(cls=OnceCommand)
@click.option(
    "--property",
    "properties",
    default="all",
    show_default=True,
    help="Property ids, separated by commas; all: every one with weights.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="A table of measured rows instead of the property's own test rows."
)
@click.option("--value-column", help="Column of the measured values in --data.  [default: found by its name]")
@as_json_option
def calibrate(properties: str, data: Path | None, value_column: str | None, as_json: bool | None) -> None:
    """Give the weights intervals, a domain and a verified prompt scheme, from rows that they did not learn from.

    Run it once after `periogt setup`, on a GPU node; on a CPU it is slow. The same command continues an interrupted
    run. Exit status: 0 success, 1 some properties could not be calibrated, 2 none could, 130 interrupted by Ctrl-C.
    """
    with interruption_told("What is finished is kept; give the command again to continue."):
        results = _calibrated(properties, data, value_column)
    if wants_json(as_json):
        print_json(results)
    else:
        click.echo("\n".join(_line(property_id, found) for property_id, found in results.items()))
    n_failed = sum(not found["ok"] for found in results.values())
    raise SystemExit(0 if n_failed == 0 else 2 if n_failed == len(results) else 1)


def _calibrated(properties: str, data: Path | None, value_column: str | None) -> dict[str, dict[str, Any]]:
    """Calibrate one property after the other; return what is printed of each."""
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.errors import CheckpointMissingError, PerioGTError, ValidationError
    from periogt_ray.training.measured import read_measured
    from periogt_ray.training.own_rows import OwnRows, read_own_rows

    settings = resolved_settings()
    artifacts = ArtifactDirectory.open(settings.checkpoint_dir)
    names = [name.strip() for name in properties.split(",") if name.strip()]
    is_all = "all" in names or not names
    ids = tuple(dict.fromkeys(artifacts.property(name).id for name in (artifacts.supported if is_all else names)))
    if data is not None and len(ids) > 1:
        raise ValidationError(f"--data is a table of one property; --property names {len(ids)}. Give one id.")

    from periogt_ray.model.predictor import Predictor
    from periogt_ray.training.calibrate import calibrate_weights

    results: dict[str, dict[str, Any]] = {}
    for property_id in ids:
        try:
            if data is not None:
                measured = read_measured(data, artifacts.property(property_id), value_column=value_column)
                rows = OwnRows((), measured.rows, data.name)
            else:
                rows = read_own_rows(artifacts.root, property_id, info=artifacts.property(property_id))
            verdict = calibrate_weights(
                artifacts, property_id, rows, settings=settings, load=lambda found: Predictor.of(found, settings)
            )
        except CheckpointMissingError as error:
            logger.warning("%s", error.message)
            results[property_id] = {"ok": False, "reason": error.message}
            continue
        except PerioGTError as error:
            logger.error("%s: %s", property_id, error.message)
            results[property_id] = {"ok": False, "reason": error.message}
            continue
        results[property_id] = {"ok": verdict.is_recognised, **verdict._asdict()}
    return results


def _line(property_id: str, found: dict[str, Any]) -> str:
    if "scheme" not in found:
        return f"{property_id}: not calibrated: {found['reason']}"
    tried = ", ".join(f"{name} {figures['r2']:.3f}" for name, figures in found["schemes"].items())
    end = "" if found["ok"] else ": these weights do not predict their own test set"
    return f"{property_id}: scheme {found['scheme']}, R2 {found['r2']:.3f} on {found['n']} rows ({tried}){end}"
