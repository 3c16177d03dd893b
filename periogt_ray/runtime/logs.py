"""How the command lines log: one line a message, on standard error."""

import logging
import sys

__all__ = ["set_up_logging"]


def set_up_logging(level: int = logging.INFO) -> None:
    """Log messages from a level on to standard error; for a program's start."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # Every request of httpx would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
