"""Logging of the command lines: one line for each message, on standard error."""

import logging
import sys

__all__ = ["set_up_logging"]


def set_up_logging(level: int = logging.INFO) -> None:
    """Log messages from a level on to standard error; for a program's start. Only the package's own go below INFO."""
    logging.basicConfig(
        level=max(level, logging.INFO),
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    if level < logging.INFO:
        logging.getLogger("periogt_ray").setLevel(level)
    # Every request of httpx would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
