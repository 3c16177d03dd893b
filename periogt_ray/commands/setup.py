"""``periogt setup``: fetch, verify and index the published checkpoints."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from periogt_ray.commands.output import OnceCommand, resolved_settings
from periogt_ray.settings import Settings

if TYPE_CHECKING:
    from periogt_ray.setup.published import PublishedFile

__all__ = ["setup"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(cls=OnceCommand)
@click.option("--dir", "directory", type=_FOLDER, help="Artifact directory.  [default: PERIOGT_CHECKPOINT_DIR]")
@click.option("--from-dir", type=_FOLDER, help="Take the published files from here; no network is used.")
@click.option("--skip-download", is_flag=True, help="Index and verify what is in the directory; no network.")
@click.option("--keep-archives", is_flag=True, help="Keep the fetched archives in the directory.")
@click.option("--keep-pth", is_flag=True, help="Keep the .pth files after their conversion to safetensors.")
@click.option("--mirror", help="Address that replaces the published hosts.  [default: PERIOGT_MIRROR]")
@click.option("--catalogue", type=click.Path(path_type=Path, dir_okay=False), hidden=True)
@click.option(
    "--lock-timeout",
    type=float,
    default=6 * 3600.0,
    show_default=True,
    help="Seconds to wait for another setup of the same directory.",
)
@click.option("--list", "is_list", is_flag=True, help="Only print commands that fetch the files.")
def setup(
    directory: Path | None,
    *,
    mirror: str | None,
    catalogue: Path | None,
    lock_timeout: float,
    is_list: bool,
    **chosen: Any,  # as in SetupOptions
) -> None:
    """Fetch and prepare the published checkpoints, or index files that were placed by hand.

    Downloads resume where they stopped. The next run finishes a run that was killed. A complete
    directory is not changed. Without a network: --list prints commands that fetch the files elsewhere,
    and --from-dir installs them.
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
        directory=directory or resolved_settings(makes_checkpoints=True).checkpoint_dir,
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


def _print_list(files: "Iterable[PublishedFile]") -> None:
    """Print size and hash of each published file as a remark, and a command that fetches it under its name."""
    for file in files:
        hashes = " ".join(f"{kind}={value}" for kind, value in (("md5", file.md5), ("sha256", file.sha256)) if value)
        click.echo(f"# about {file.planned_bytes:,} bytes, {hashes}")
        click.echo(f"curl -fL -C - --create-dirs -o {shlex.quote(file.name)} {shlex.quote(file.url)}")
