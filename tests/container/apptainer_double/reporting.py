"""Messages in the form of Apptainer's."""

import sys
from typing import NoReturn


def log(level: str, message: str) -> None:
    """Write a line to standard error."""
    print(f"{level + ':':<8} {message}", file=sys.stderr)


def fatal(message: str, status: int = 255) -> NoReturn:
    """End with a message; 255 is what Apptainer ends with."""
    log("FATAL", message)
    sys.exit(status)
