"""The command line."""

import sys
from pathlib import Path

import apptainer_double

from . import VERSION, sif
from .build import build
from .launch import launch
from .options import parse
from .reporting import fatal

_BODIES = {
    "run": 'exec /.singularity.d/runscript "$@"',
    "test": 'exec /.singularity.d/test "$@"',
    "shell": "exec /bin/sh",
}
_GLOBAL_OPTIONS = ("-q", "-s", "-d", "-v", "--quiet", "--silent", "--debug", "--verbose", "--nocolor")


def main(arguments: list[str]) -> None:
    """Run one command."""
    while arguments and arguments[0] in _GLOBAL_OPTIONS:
        arguments = arguments[1:]
    command, *rest = arguments or ["help"]
    if command in ("help", "-h", "--help"):
        print(apptainer_double.__doc__)
    elif command in ("version", "--version"):
        print(VERSION if command == "version" else f"apptainer version {VERSION}")
    elif command == "build":
        build(rest)
    elif command == "inspect":
        _inspect(rest)
    elif command in _BODIES:
        options = parse(command, rest)
        launch(options, command, options.words, body=_BODIES[command])
    elif command == "exec":
        options = parse(command, rest)
        if not options.words:
            fatal("exec needs a command", 1)
        launch(options, command, options.words)
    else:
        fatal(f"shim: command {command} not implemented", 1)


def _inspect(arguments: list[str]) -> None:
    given = set(arguments)
    if given & {"-d", "--deffile"}:
        name = "Singularity"
    elif given & {"-r", "--runscript"}:
        name = "runscript"
    else:
        name = "labels.json"
    sys.stdout.write(sif.read_metadata(Path(arguments[-1]), name) + "\n")
