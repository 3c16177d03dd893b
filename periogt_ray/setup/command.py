"""The command line of setup, shared by ``periogt setup`` and ``python -m periogt_ray.setup.run``."""

import logging
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from periogt_ray.errors import PerioGTError

if TYPE_CHECKING:
    from periogt_ray.setup.published import PublishedFile
    from periogt_ray.setup.run import SetupReport

__all__ = ["main", "make_command"]

_HELP = """Fetch and prepare the published checkpoints, or index what was placed by hand.

Downloads resume where they stopped, a killed run is finished by the next one, and a directory
that is complete is left as it is. Without network: --list names the files to bring in,
--from-dir takes them.
"""


def _print_list(files: "tuple[PublishedFile, ...]") -> None:
    """Print size and hash of each published file as a remark, and a command that fetches it under its name."""
    for file in files:
        hashes = " ".join(f"{kind}={value}" for kind, value in (("md5", file.md5), ("sha256", file.sha256)) if value)
        click.echo(f"# about {file.planned_bytes:,} bytes, {hashes}")
        click.echo(f"curl -fL -C - --create-dirs -o {shlex.quote(file.name)} {shlex.quote(file.url)}")


def _print_report(report: "SetupReport") -> None:
    """Print what the directory holds."""
    click.echo(f"{report.directory}: {'ready' if report.is_changed else 'already set up, nothing changed'}")
    click.echo(f"properties: {', '.join(report.supported) or 'none'}")
    for property_id, reason in report.unsupported.items():
        click.echo(f"not served: {property_id}: {reason}")


def make_command(
    *,
    default_directory: Callable[[], Path] | None = None,
    default_mirror: Callable[[], str | None] | None = None,
    check: Callable[[Path], Mapping[str, str]] | None = None,
) -> click.Command:
    """Make the command; heavy imports happen when it runs.

    Parameters
    ----------
    default_directory : callable, optional
        The artifact directory if ``--dir`` is not given; without it ``--dir`` is required.
    default_mirror : callable, optional
        The mirror if ``--mirror`` is not given.
    check : callable, optional
        Instead of :func:`periogt_ray.setup.trial_load.load_everything`.

    Returns
    -------
    click.Command
        Raises :class:`~periogt_ray.errors.PerioGTError` for its caller to report.
    """
    path = click.Path(path_type=Path, file_okay=False)

    @click.command("setup", help=_HELP)
    @click.option("--dir", "directory", type=path, required=default_directory is None, help="Artifact directory.")
    @click.option("--from-dir", type=path, help="Take the published files from here; no network is used.")
    @click.option("--skip-download", is_flag=True, help="Index and verify what is in the directory; no network.")
    @click.option("--keep-archives", is_flag=True, help="Keep the fetched archives in the directory.")
    @click.option("--keep-pth", is_flag=True, help="Keep .pth files beside their safetensors conversions.")
    @click.option("--mirror", help="Address that replaces the published hosts (PERIOGT_MIRROR).")
    @click.option(
        "--manifest",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Another manifest of files than the package's, for example of one's own checkpoints.",
    )
    @click.option(
        "--lock-timeout", type=float, default=6 * 3600.0, show_default=True, help="Wait this many seconds for others."
    )
    @click.option("--list", "is_list", is_flag=True, help="Print the files with their addresses, and do nothing.")
    def setup(  # the options above, in order
        directory: Path | None,
        from_dir: Path | None,
        *,
        skip_download: bool,
        keep_archives: bool,
        keep_pth: bool,
        mirror: str | None,
        manifest: Path | None,
        lock_timeout: float,
        is_list: bool,
    ) -> None:
        from periogt_ray.settings import check_mirror
        from periogt_ray.setup.published import load_published
        from periogt_ray.setup.run import SetupOptions, run_setup
        from periogt_ray.setup.trial_load import load_everything

        files = load_published(manifest)
        if is_list:
            _print_list(files)
            return
        if directory is None and default_directory is not None:
            directory = default_directory()
        if mirror is None and default_mirror is not None:
            mirror = default_mirror()
        options = SetupOptions(
            directory=Path(directory or ""),
            from_dir=from_dir,
            skip_download=skip_download,
            keep_archives=keep_archives,
            keep_pth=keep_pth,
            mirror=check_mirror(mirror),
            files=files,
            lock_timeout_s=lock_timeout,
            check=check or load_everything,
        )
        _print_report(run_setup(options))

    return setup


def main() -> None:
    """Run setup on its own, for a transfer node or a test; logs to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Every request of httpx would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        make_command()(standalone_mode=True, prog_name="periogt setup")
    except PerioGTError as error:
        click.echo(f"error: {error.code}: {error.message}", err=True)
        sys.exit(error.exit_code)
