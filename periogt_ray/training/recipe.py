"""How one network is trained: the numbers, the learning rate of each update, and what is drawn at random."""

from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

__all__ = ["Recipe", "learning_rate", "seed_of"]

_END_RATE = 1e-9
_WARMUP_SHARE = 10  # a tenth of the updates


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training; the defaults are those of PerioGT's authors, who set dropout per data set.

    Attributes
    ----------
    learning_rate : float
        Peak of the schedule.
    epochs, patience : int
        Most epochs, and epochs without a better validation error after which the training ends.
    batch_size : int
        Polymers an update.
    dropout, weight_decay : float
        Of the whole network; the decay is Adam's coupled L2.
    clip_norm : float
        Largest total norm of the gradients.
    is_frozen : bool
        Whether only the new parts learn and the encoder stays as it is.
    """

    learning_rate: float
    epochs: int = 50
    patience: int = 20
    batch_size: int = 32
    dropout: float = 0.05
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    is_frozen: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return asdict(self)

    def rows_per_update(self, n_rows: int) -> int:
        """Return how many polymers an update takes: all of them where there are fewer than a batch."""
        return min(self.batch_size, n_rows)

    def updates_per_epoch(self, n_rows: int) -> int:
        """Return how many updates an epoch has; its last, incomplete batch is left out."""
        return n_rows // self.rows_per_update(n_rows)

    def n_updates(self, n_rows: int) -> int:
        """Return how many updates the schedule is made for."""
        return self.epochs * n_rows // self.rows_per_update(n_rows)


def learning_rate(update: int, *, peak: float, n_updates: int) -> float:
    """Return the learning rate of an update, which is that of PerioGT's authors.

    It rises linearly over the first tenth of the updates and falls linearly to 1e-9 over the rest.

    Parameters
    ----------
    update : int
        From 1.
    peak : float
        Highest rate.
    n_updates : int
        Updates of the schedule; a later one has the lowest rate.

    Examples
    --------
    >>> [learning_rate(k, peak=1e-3, n_updates=20) for k in (1, 2, 20)]
    [0.0005, 0.001, 1e-09]
    """
    n_warmup = n_updates // _WARMUP_SHARE
    if update <= n_warmup:
        return peak * update / n_warmup
    if update >= n_updates:
        return _END_RATE
    return (peak - _END_RATE) * (1 - (update - n_warmup) / (n_updates - n_warmup)) + _END_RATE


def seed_of(*parts: object) -> int:
    """Return the seed of one purpose, 63 bits that follow from its name: what one purpose draws moves no other.

    Examples
    --------
    >>> seed_of(0, "order", 1) == seed_of(0, "order", 1) != seed_of(0, "dropout", 1)
    True
    """
    text = "|".join(map(str, parts))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1
