"""``python -m periogt_ray.slurm``: the service or a batch on the nodes of a Slurm job, and the check before it.

::

    sbatch slurm/ray_serve.sbatch                      makes the job's directory, then on every node:
        srun python -m periogt_ray.slurm serve
            first node   ray start --head, waits for the others, periogt serve, says how to reach it
            others       ray start --address=<first node>, until that is gone

Every node runs the same command; the nodes find each other by files in the job's directory. srun starts
the containers, so they need no Slurm inside, and Slurm ends their processes with the job. Before the time
of the job is over the batch script makes the file ``stop``: Ray goes on while open requests are answered.
scancel sends SIGTERM, and soon after it SIGKILL.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from periogt_ray.errors import PerioGTError
from periogt_ray.runtime.logs import set_up_logging
from periogt_ray.runtime.processes import adopt_orphans, end_quickly, kill_descendants
from periogt_ray.runtime.signals import signals_handled
from periogt_ray.runtime.temp_dir import private_dir
from periogt_ray.slurm.head import HeadOptions, run_head
from periogt_ray.slurm.job import SlurmJob
from periogt_ray.slurm.job_directory import JobDirectory
from periogt_ray.slurm.node import Place, run_worker
from periogt_ray.slurm.stop_request import StopRequest

__all__ = ["main"]

logger = logging.getLogger(__name__)

_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.25


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cluster() -> None:
    """Run the service or a batch on every node of a Slurm job; the scripts in slurm/ call this."""
    set_up_logging()


def _node_options(command: Any) -> Any:
    for option in (
        click.option(
            "--directory",
            required=True,
            type=click.Path(path_type=Path),
            help="Directory of the job, on a shared file system.",
        ),
        click.option("--repository", default=".", help="Directory that contains slurm/ray_job.sh; the log names it."),
        click.option("--start-timeout-s", default=300.0, show_default=True, help="Time for Ray to start on all nodes."),
        click.option(
            "--kill-wait-s", default=30.0, show_default=True, help="Time from SIGTERM to SIGKILL; Slurm's KillWait."
        ),
        click.option("--drain-s", default=90.0, show_default=True, help="Time for an orderly end."),
    ):
        command = option(command)
    return command


@cluster.command()
@_node_options
@click.option("--ready-timeout-s", default=1800.0, show_default=True, help="Time until the model answers.")
def serve(**given: Any) -> None:
    """Serve HTTP until the job ends."""
    _run("serve", (), **given)


@cluster.command()
@_node_options
@click.argument("arguments", nargs=-1)
def batch(arguments: tuple[str, ...], **given: Any) -> None:
    """Run `periogt batch ARGUMENTS`; its exit status is this one's."""
    _run("batch", arguments, ready_timeout_s=0.0, **given)


@cluster.command()
@click.option("--input", "input_path", type=click.Path(path_type=Path), help="CSV that is also checked.")
@click.option("--property", "properties", default="all", help="Property ids, separated by commas.")
@click.option("--smiles-column", help="As for `periogt batch`.")
@click.option("--id-column", help="As for `periogt batch`.")
@click.option("--no-header", is_flag=True, help="As for `periogt batch`.")
def check(
    input_path: Path | None, properties: str, smiles_column: str | None, id_column: str | None, no_header: bool
) -> None:
    """Check settings, artifacts, properties and input, on a login node, before a job is queued."""
    from periogt_ray.slurm.preflight import run_preflight
    from periogt_ray.tables.columns import TableOptions

    table = TableOptions(smiles_column, id_column, has_header=not no_header)
    click.echo(run_preflight(os.environ, properties=properties, input_path=input_path, table=table))


@cluster.command(hidden=True)
@click.argument("n_nodes", type=int)
def wait(n_nodes: int) -> None:
    """Wait until the Ray at RAY_ADDRESS has so many nodes, and print its resources as JSON.

    The head runs this as a process of its own, because a process cannot give up connecting to a Ray.
    """
    import ray

    from periogt_ray.runtime.local_ray import local_ray

    with local_ray(address=os.environ["RAY_ADDRESS"]):
        connected: Any = ray  # not annotated throughout
        while sum(node["Alive"] for node in connected.nodes()) < n_nodes:
            time.sleep(_POLL_S)
        click.echo(json.dumps(connected.cluster_resources()))


def _run(
    command: str,
    arguments: tuple[str, ...],
    *,
    directory: Path,
    repository: str,
    start_timeout_s: float,
    ready_timeout_s: float,
    kill_wait_s: float,
    drain_s: float,
) -> None:
    job, files = SlurmJob.from_env(os.environ), JobDirectory(directory)
    stop = StopRequest(files, kill_wait_s=kill_wait_s, drain_s=drain_s)
    adopt_orphans()
    with (
        # The time that Slurm leaves runs from the first signal.
        signals_handled(lambda _: stop.hurry()),
        _files_removed(job, files),
        private_dir(os.environ) as temp_dir,
        _processes_ended(job),
    ):
        place = Place(job, files, temp_dir, dict(os.environ), start_timeout_s)
        if job.is_head:
            status = run_head(place, HeadOptions(command, arguments, repository, ready_timeout_s), stop)
        else:
            status = run_worker(place, stop)
    raise SystemExit(status)


@contextmanager
def _processes_ended(job: SlurmJob) -> Iterator[None]:
    """End every process below this one, whatever happened."""
    try:
        yield
    finally:
        left = kill_descendants(timeout_s=_KILL_TIMEOUT_S)
        if left:
            logger.warning("%s: processes %s could not be ended.", job.node, ", ".join(map(str, left)))


@contextmanager
def _files_removed(job: SlurmJob, files: JobDirectory) -> Iterator[None]:
    """Remove the job's files at the end, on the head only: the other nodes end when it does."""
    try:
        yield
    finally:
        if job.is_head:
            files.remove()


def main() -> None:
    """Run the command line; an error ends in one message and its exit status."""
    end_quickly()
    os.environ.setdefault("DGLBACKEND", "pytorch")
    try:
        cluster(prog_name="python -m periogt_ray.slurm")
    except PerioGTError as error:
        click.echo(f"error [{error.code}]: {error.message}", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
