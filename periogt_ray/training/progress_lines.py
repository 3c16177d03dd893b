"""Lines in the log of steps that take minutes with large tables."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["told"]

logger = logging.getLogger(__name__)

_EVERY_S = 15.0

_Item = TypeVar("_Item")


def told(items: Iterable[_Item], what: str, n_all: int) -> Iterator[_Item]:
    """Yield items; where they take long, the log says how many are done and how long the others will take.

    Parameters
    ----------
    items : iterable
        What is worked on one by one.
    what : str
        What they are, in the plural.
    n_all : int
        How many there are.

    Examples
    --------
    >>> list(told("ab", "letters", 2))
    ['a', 'b']
    """
    begun = time.monotonic()
    last = begun
    for n_done, item in enumerate(items):
        now = time.monotonic()
        if n_done and now - last >= _EVERY_S:
            left_s = (now - begun) / n_done * (n_all - n_done)
            logger.info("%s: %d of %d, about %.0f s left", what, n_done, n_all, left_s)
            last = now
        yield item
