"""The command line: parses options, calls the package, prints; no logic of its own.

Heavy modules are imported inside the commands, so that ``--help`` is instant.
"""

import errno
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.runtime.logs import set_up_logging
from periogt_ray.runtime.ray_environment import LOG_ENVIRONMENT
from periogt_ray.settings import Settings, older_variables, unknown_variables
from periogt_ray.tables.predictions import OUTPUT_COLUMNS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from periogt_ray.schemas import ErrorBody, PredictResponse
    from periogt_ray.setup.published import PublishedFile

__all__ = ["main"]

logger = logging.getLogger(__name__)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FOLDER = click.Path(path_type=Path, file_okay=False)
_as_json = click.option(
    "--json/--table", "as_json", default=None, help="What to print.  [default: a table on a terminal, else JSON]"
)


class _OnceCommand(click.Command):
    """A command that refuses an option that is given twice, where one value would be lost."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; UsageError if an option with one value is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in self.params:
            is_single = isinstance(option, click.Option) and not (option.multiple or option.is_flag or option.count)
            if is_single and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} is given {given.count(option)} times; give it once.", ctx)
        return super().parse_args(ctx, args)


class _Group(click.Group):
    command_class = _OnceCommand


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="periogt-ray", prog_name="periogt")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Log every setting, and what helps to find a fault.")
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


@cli.command(epilog=f"The columns of csv are those of a batch output: {', '.join(OUTPUT_COLUMNS)}.")
@click.option("--smiles", required=True, help="Repeat unit, for example '*CC*'.")
@click.option("--property", "properties", required=True, help="Property ids, separated by commas, or 'all'.")
@click.option("--return-embedding", is_flag=True, help="Add the embedding to the JSON.")
@click.option("--format", "output_format", type=click.Choice(["json", "csv"]), default="json", show_default=True)
def predict(smiles: str, properties: str, return_embedding: bool, output_format: str) -> None:
    """Predict properties of one polymer.

    Prints JSON, for several properties {"results": [...], "request_id": ...}; with --format csv one
    line a property, without a header. Exit status: 0 success, 1 some properties failed, 2 nothing
    could be predicted.
    """
    from periogt_ray.model.answers import predict_response, predict_result
    from periogt_ray.predict import predict_one
    from periogt_ray.schemas import BatchResponse, ErrorBody, new_request_id

    if return_embedding and output_format == "csv":
        raise click.UsageError("--return-embedding needs --format json; a line of csv has no place for an embedding.")
    names = properties.split(",")
    predictor, outcomes = predict_one(smiles, names, _settings(), return_embedding=return_embedding)
    request_id = new_request_id()
    given: dict[str, Any] = {"smiles": smiles, "request_id": request_id}
    if len(outcomes) == 1 and names != ["all"]:
        [(property_id, outcome)] = outcomes.items()
        answer = predict_response(outcome, predictor.artifacts, property_id=property_id, **given)
        results: dict[str, PredictResponse | ErrorBody] = {property_id: answer}
        document: BaseModel = answer
    else:
        results = {
            property_id: predict_result(outcome, predictor.artifacts, property_id=property_id, **given)
            for property_id, outcome in outcomes.items()
        }
        document = BatchResponse(results=list(results.values()), request_id=request_id)
    if output_format == "json":
        _print_json(document.model_dump())
    else:
        _print_rows(smiles, results, request_id)
    n_failed = sum(isinstance(result, ErrorBody) for result in results.values())
    raise SystemExit(0 if n_failed == 0 else 2 if n_failed == len(results) else 1)


@cli.command()
@click.option("--smiles", required=True, help="Repeat unit, for example '*CC*'.")
def embeddings(smiles: str) -> None:
    """Print the embedding of one polymer as JSON."""
    from periogt_ray.model.answers import embedding_response
    from periogt_ray.predict import embed_one
    from periogt_ray.schemas import new_request_id

    outcome = embed_one(smiles, _settings())
    _print_json(embedding_response(outcome, smiles=smiles, request_id=new_request_id()).model_dump())


@cli.command()
@_as_json
def properties(as_json: bool | None) -> None:
    """List the properties that are served, those that are not, and by which model."""
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.artifacts.listing import property_table
    from periogt_ray.model.answers import properties_response

    listed = properties_response(ArtifactDirectory.open(_settings().checkpoint_dir))
    if _wants_json(as_json):
        _print_json(listed.model_dump())
    else:
        click.echo(property_table(listed))


@cli.command()
@_as_json
@click.option("--hashes", is_flag=True, help="Also hash every artifact, which reads all of it.")
def doctor(as_json: bool | None, hashes: bool) -> None:
    """Check the installation, the device and the artifacts; exit 0 PASS, 1 WARN, 2 FAIL."""
    from periogt_ray.doctor.run import render, run_checks, verdict

    logging.getLogger().setLevel(logging.WARNING)
    checks = run_checks(os.environ, hashes=hashes)
    if _wants_json(as_json):
        _print_json({"verdict": verdict(checks).name, "checks": [check.as_dict() for check in checks]})
    else:
        click.echo(render(checks))
    raise SystemExit(verdict(checks).value)


@cli.command()
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
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option(
    "--workers", type=click.IntRange(1), help="Predictors.  [default: one a GPU, without GPUs one for two CPUs]"
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
    resume: bool,
    workers: int | None,
    part_size: int | None,
    old_part_size: int | None,
) -> None:
    """Predict properties of every polymer of a CSV or Parquet file.

    Writes one row per input row and property, in input order, and prints a summary.
    Runs on the Ray at RAY_ADDRESS, else on this node. Exit status: 0 success, 1 some rows failed or
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
            table=TableOptions(smiles_column, id_column, has_header=not no_header, keeps_columns=keep_columns),
            is_wide=wide,
        ),
        _settings(),
    )
    if summary is None:
        raise SystemExit(1)
    _print_json(summary.document)
    raise SystemExit(summary.exit_code)


@cli.command()
@click.option("--dir", "directory", type=_FOLDER, help="Artifact directory.  [default: PERIOGT_CHECKPOINT_DIR]")
@click.option("--from-dir", type=_FOLDER, help="Take the published files from here; no network is used.")
@click.option("--skip-download", is_flag=True, help="Index and verify what is in the directory; no network.")
@click.option("--keep-archives", is_flag=True, help="Keep the fetched archives in the directory.")
@click.option("--keep-pth", is_flag=True, help="Keep .pth files beside their safetensors conversions.")
@click.option("--mirror", help="Address that replaces the published hosts.  [default: PERIOGT_MIRROR]")
@click.option("--catalogue", type=click.Path(path_type=Path, dir_okay=False), hidden=True)
@click.option(
    "--lock-timeout", type=float, default=6 * 3600.0, show_default=True, help="Wait this many seconds for others."
)
@click.option("--list", "is_list", is_flag=True, help="Print the files with their addresses, and do nothing.")
def setup(
    directory: Path | None,
    *,
    mirror: str | None,
    catalogue: Path | None,
    lock_timeout: float,
    is_list: bool,
    **chosen: Any,  # as in SetupOptions
) -> None:
    """Fetch and prepare the published checkpoints, or index what was placed by hand.

    Downloads resume where they stopped, a killed run is finished by the next one, and a directory
    that is complete is left as it is. Without network: --list names the files to bring in,
    --from-dir takes them.
    """
    from periogt_ray.settings import check_mirror
    from periogt_ray.setup.published import load_published, load_statistics

    files = load_published(catalogue)
    if is_list:
        _print_list(files)
        return
    from periogt_ray.setup.run import run_setup
    from periogt_ray.setup.state import SetupOptions
    from periogt_ray.setup.trial_load import load_everything

    if mirror is None:
        mirror = Settings.from_env(os.environ, makes_checkpoints=True).mirror
    options = SetupOptions(
        directory=directory or _settings(makes_checkpoints=True).checkpoint_dir,
        mirror=check_mirror(mirror),
        files=files,
        statistics=load_statistics(catalogue),
        lock_timeout_s=lock_timeout,
        check=load_everything,
        **chosen,
    )
    report = run_setup(options)
    click.echo(f"{report.directory}: {'ready' if report.is_changed else 'already set up, nothing changed'}")
    click.echo(f"properties: {', '.join(report.supported) or 'none'}")
    for property_id, reason in report.unsupported.items():
        click.echo(f"not served: {property_id}: {reason}")


@cli.command()
@click.option("--host", help="Address to listen at.  [default: PERIOGT_HOST, else 0.0.0.0]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen at.  [default: PERIOGT_PORT, else 8000]")
def serve(host: str | None, port: int | None) -> None:
    """Serve HTTP until interrupted; prints how to ask once the model is loaded.

    Runs on a Ray of its own, or on that of RAY_ADDRESS. Key and bounds come from PERIOGT_*
    variables. On SIGTERM open requests are answered first.
    """
    os.environ.update(LOG_ENVIRONMENT)
    chosen = {"PERIOGT_HOST": host, "PERIOGT_PORT": port}
    settings = _settings({**os.environ, **{name: str(value) for name, value in chosen.items() if value}})
    from periogt_ray.serve.run import run_service

    run_service(settings, ray_address=os.environ.get("RAY_ADDRESS"), announce=partial(click.echo, file=sys.stdout))


def main() -> None:
    """Run the command line; every error ends in one message and its exit status."""
    # DGL picks its backend from the environment, and asks for one on the terminal where it finds none.
    os.environ.setdefault("DGLBACKEND", "pytorch")
    with _reported():
        cli(prog_name="periogt")


def _settings(env: Mapping[str, str] = os.environ, *, makes_checkpoints: bool = False) -> Settings:
    settings = Settings.from_env(env, makes_checkpoints=makes_checkpoints)
    settings.log()
    return settings


def _print_list(files: "Iterable[PublishedFile]") -> None:
    """Print size and hash of each published file as a remark, and a command that fetches it under its name."""
    for file in files:
        hashes = " ".join(f"{kind}={value}" for kind, value in (("md5", file.md5), ("sha256", file.sha256)) if value)
        click.echo(f"# about {file.planned_bytes:,} bytes, {hashes}")
        click.echo(f"curl -fL -C - --create-dirs -o {shlex.quote(file.name)} {shlex.quote(file.url)}")


def _wants_json(chosen: bool | None) -> bool:
    """Whether to print for programs: what was chosen, else by where the output goes."""
    return not sys.stdout.isatty() if chosen is None else chosen


def _print_rows(smiles: str, results: "Mapping[str, PredictResponse | ErrorBody]", request_id: str) -> None:
    """Print rows with the columns of a batch's output."""
    from periogt_ray.schemas import ErrorBody
    from periogt_ray.tables.predictions import Answer, CsvOutput, OutputRow, Prediction, RowFailure

    for property_id, result in results.items():
        if isinstance(result, ErrorBody):
            found: Answer = RowFailure(result.code, result.message)
        else:
            found = Prediction(result.prediction.value, result.prediction.units, tuple(result.warnings))
        row = OutputRow.of("0", smiles, property_id=property_id, answer=found, request_id=request_id)
        CsvOutput(sys.stdout).write(row)


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


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
        click.echo(f"error [{InternalError.code}]: the output cannot be written: {error.strerror}.", err=True)
        raise SystemExit(InternalError.exit_code) from error
    except Exception as error:
        # The outermost frame: a bug is shown whole, and still ends with the documented status.
        traceback.print_exc()
        click.echo(f"error [{InternalError.code}]: {error}. This is a bug; please report it.", err=True)
        raise SystemExit(InternalError.exit_code) from error
