"""The command line: parses options, calls the package, prints; no logic of its own.

The longer commands are in ``commands/``.

Heavy modules are imported inside the commands, so that ``--help`` is instant.
"""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from periogt_ray import __version__
from periogt_ray.commands.batch import batch
from periogt_ray.commands.calibrate import calibrate
from periogt_ray.commands.evaluate import evaluate
from periogt_ray.commands.explain import explain
from periogt_ray.commands.featurize import featurize
from periogt_ray.commands.finetune import finetune
from periogt_ray.commands.inputs import check_options_of_kind, copolymer_options, given_input
from periogt_ray.commands.models import models
from periogt_ray.commands.output import (
    OnceCommand,
    as_json_option,
    level_option,
    print_json,
    resolved_settings,
    wants_json,
)
from periogt_ray.commands.setup import setup
from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.runtime.logs import set_up_logging
from periogt_ray.runtime.processes import end_quickly
from periogt_ray.runtime.ray_environment import LOG_ENVIRONMENT
from periogt_ray.settings import PORTS, older_variables, unknown_variables
from periogt_ray.tables.predictions import OUTPUT_COLUMNS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from periogt_ray.polymer.given import GivenInput
    from periogt_ray.schemas import ErrorBody, PredictResponse

__all__ = ["main"]

logger = logging.getLogger(__name__)

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Group(click.Group):
    command_class = OnceCommand


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="periogt")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Log every setting, and details that help to find a fault.")
def cli(quiet: bool, verbose: bool) -> None:
    """Predict polymer properties from the SMILES of a repeat unit.

    A repeat unit has two connection points, written *, for example '*CC(*)c1ccccc1' for polystyrene.
    Results go to standard output, logs to standard error. Exit status: 0 success, 1 some rows
    failed, 2 nothing could be done.
    """
    if quiet and verbose:
        raise click.UsageError("-q/--quiet and -v/--verbose exclude each other.")
    set_up_logging(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    for warning in unknown_variables(os.environ):
        logger.warning("%s", warning)
    if (note := older_variables(os.environ)) is not None:
        logger.info("%s", note)


@cli.command(epilog=f"CSV has the columns of a batch output: {', '.join(OUTPUT_COLUMNS)}.")
@click.option("--smiles", required=True, help="Repeat unit, for example '*CC*'; for a copolymer, the first monomer.")
@copolymer_options
@click.option("--property", "properties", required=True, help="Property ids, separated by commas, or 'all'.")
@click.option("--return-embedding", is_flag=True, help="Add the embedding to the JSON.")
@click.option("--format", "output_format", type=click.Choice(["json", "csv"]), default="json", show_default=True)
@level_option
def predict(
    smiles: str,
    smiles_b: str | None,
    ratio_a: float | None,
    architecture: str | None,
    conditions: tuple[str, ...],
    properties: str,
    return_embedding: bool,
    output_format: str,
    level: float,
) -> None:
    """Predict properties of one polymer.

    A property of copolymers also needs --smiles-b, --ratio-a and --architecture. A property with
    conditions needs one --condition for each. `periogt properties --json` shows what each property needs.

    Prints JSON; for several properties {"results": [...], "request_id": ...}. With --format csv it prints
    one line for each property, without a header. Exit status: 0 success, 1 some properties failed,
    2 nothing could be predicted.
    """
    from periogt_ray.model.answers import predict_response, predict_result
    from periogt_ray.predict import PerioGT
    from periogt_ray.schemas import BatchResponse, ErrorBody, new_request_id

    if return_embedding and output_format == "csv":
        raise click.UsageError("--return-embedding needs --format json; a line of CSV has no column for an embedding.")
    names = properties.split(",")
    polymer = given_input(smiles, smiles_b, ratio_a, architecture, conditions)
    model = PerioGT.of_settings(resolved_settings())
    check_options_of_kind(model.artifacts, names, polymer.kind)
    outcomes = model.outcomes(polymer, names, return_embedding=return_embedding, level=level)
    request_id = new_request_id()
    given: dict[str, Any] = {"given": polymer, "request_id": request_id}
    if len(outcomes) == 1 and names != ["all"]:
        [(property_id, outcome)] = outcomes.items()
        answer = predict_response(outcome, model.artifacts, property_id=property_id, **given)
        results: dict[str, PredictResponse | ErrorBody] = {property_id: answer}
        document: BaseModel = answer
    else:
        results = {
            property_id: predict_result(outcome, model.artifacts, property_id=property_id, **given)
            for property_id, outcome in outcomes.items()
        }
        document = BatchResponse(results=list(results.values()), request_id=request_id)
    if output_format == "json":
        print_json(document.model_dump())
    else:
        _print_rows(polymer, results, request_id)
    n_failed = sum(isinstance(result, ErrorBody) for result in results.values())
    raise SystemExit(0 if n_failed == 0 else 2 if n_failed == len(results) else 1)


@cli.command()
@click.option("--smiles", required=True, help="Repeat unit, for example '*CC*'.")
def embeddings(smiles: str) -> None:
    """Print the embedding of one polymer as JSON."""
    from periogt_ray.model.answers import embedding_response
    from periogt_ray.predict import PerioGT
    from periogt_ray.schemas import new_request_id

    outcome = PerioGT.of_settings(resolved_settings()).embedding(smiles)
    print_json(embedding_response(outcome, smiles=smiles, request_id=new_request_id()).model_dump())


@cli.command()
@as_json_option
def properties(as_json: bool | None) -> None:
    """List the properties that are served, the model that serves them, and the properties that are not served."""
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.artifacts.listing import property_table
    from periogt_ray.model.answers import properties_response

    listed = properties_response(ArtifactDirectory.of_settings(resolved_settings()))
    if wants_json(as_json):
        print_json(listed.model_dump())
    else:
        click.echo(property_table(listed))


@cli.command()
@as_json_option
@click.option("--hashes", is_flag=True, help="Also compute the hash of every artifact; this reads all files.")
def doctor(as_json: bool | None, hashes: bool) -> None:
    """Check the installation, the device and the artifacts; exit 0 PASS, 1 WARN, 2 FAIL."""
    from periogt_ray.doctor.run import render, run_checks, verdict

    logging.getLogger().setLevel(logging.WARNING)
    checks = run_checks(os.environ, hashes=hashes)
    if wants_json(as_json):
        print_json({"verdict": verdict(checks).name, "checks": [check.as_dict() for check in checks]})
    else:
        click.echo(render(checks))
    raise SystemExit(verdict(checks).value)


@cli.command()
@click.option("--host", help="Address to listen at.  [default: PERIOGT_HOST, else 0.0.0.0]")
@click.option("--port", type=click.IntRange(*PORTS), help="Port to listen at.  [default: PERIOGT_PORT, else 8000]")
def serve(host: str | None, port: int | None) -> None:
    """Serve HTTP until interrupted; print an example request once the model is loaded.

    Starts a Ray of its own, or uses the Ray at RAY_ADDRESS. The key and the limits come from PERIOGT_*
    variables. On SIGTERM it answers open requests before it ends.
    """
    os.environ.update(LOG_ENVIRONMENT)
    chosen = {"PERIOGT_HOST": host, "PERIOGT_PORT": port}
    settings = resolved_settings({**os.environ, **{name: str(value) for name, value in chosen.items() if value}})
    from periogt_ray.serve.run import run_service

    run_service(settings, ray_address=os.environ.get("RAY_ADDRESS"), announce=partial(click.echo, file=sys.stdout))


for _command in (batch, calibrate, evaluate, explain, featurize, finetune, models, setup):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; every error ends in one message and its exit status."""
    end_quickly()
    # DGL reads its backend from the environment; without one it asks on the terminal.
    os.environ.setdefault("DGLBACKEND", "pytorch")
    with _reported():
        cli(prog_name="periogt")


def _print_rows(given: "GivenInput", results: "Mapping[str, PredictResponse | ErrorBody]", request_id: str) -> None:
    """Print rows with the columns of a batch's output."""
    from periogt_ray.model.answers import predicted_value
    from periogt_ray.schemas import ErrorBody
    from periogt_ray.tables.predictions import Answer, CsvOutput, OutputRow, RowFailure

    for property_id, result in results.items():
        if isinstance(result, ErrorBody):
            found: Answer = RowFailure(result.code, result.message)
        else:
            found = predicted_value(result)
        row = OutputRow.of("0", given.cells[0], property_id=property_id, answer=found, request_id=request_id)
        CsvOutput(sys.stdout).write((*row[:2], *given.cells[1:], *row[2:]))


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except PerioGTError as error:
        click.echo(f"error [{error.code}]: {error.message}", err=True)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
            raise
        place = f"{error.filename}" if error.filename else "the output"
        advice = " Free some space, and repeat the command." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        click.echo(f"error [{InternalError.code}]: {place} cannot be written: {error.strerror}.{advice}", err=True)
        raise SystemExit(InternalError.exit_code) from error
    except Exception as error:
        # The outermost frame: print the whole traceback of a bug, and still end with the documented status.
        traceback.print_exc()
        click.echo(f"error [{InternalError.code}]: {error}. This is a bug; please report it.", err=True)
        raise SystemExit(InternalError.exit_code) from error
