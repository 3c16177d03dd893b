"""What all commands share: refuse an option that is given twice, read the settings, print JSON or a table."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from periogt_ray.settings import Settings

__all__ = [
    "OnceCommand",
    "as_json_option",
    "interruption_told",
    "level_option",
    "print_json",
    "resolved_settings",
    "wants_json",
]

_INTERRUPTED_EXIT = 130  # as shells report a command that SIGINT ended: 128 and the signal's number


class OnceCommand(click.Command):
    """A command that refuses an option that is given twice, because one value would be lost."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; UsageError if an option with one value is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in self.params:
            is_single = isinstance(option, click.Option) and not (option.multiple or option.is_flag or option.count)
            if is_single and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} is given {given.count(option)} times; give it once.", ctx)
        return super().parse_args(ctx, args)


as_json_option = click.option(
    "--json/--table", "as_json", default=None, help="What to print.  [default: a table on a terminal, else JSON]"
)


level_option = click.option(
    "--level",
    type=click.Choice(["0.5", "0.8", "0.9", "0.95"]),
    default="0.9",
    show_default=True,
    callback=lambda _context, _option, text: float(text),
    help="Coverage of the interval, for polymers like those of the data set.",
)


def resolved_settings(env: Mapping[str, str] = os.environ, *, makes_checkpoints: bool = False) -> Settings:
    """Read the settings from the environment, and log them in one line."""
    settings = Settings.from_env(env, makes_checkpoints=makes_checkpoints)
    settings.log()
    return settings


def wants_json(chosen: bool | None) -> bool:
    """Whether to print JSON: as the user chose, else if the output is not a terminal."""
    return not sys.stdout.isatty() if chosen is None else chosen


def print_json(document: Any) -> None:
    """Print a document as one line of JSON."""
    click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


@contextmanager
def interruption_told(advice: str) -> Iterator[None]:
    """End a command that Ctrl-C interrupts with one line and exit status 130.

    Parameters
    ----------
    advice : str
        What the user can do now, and what became of the work.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        click.echo(f"Interrupted. {advice}", err=True)
        raise SystemExit(_INTERRUPTED_EXIT) from error
