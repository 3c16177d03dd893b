"""What is written down of requests: a line in the access log, and figures."""

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Recorder", "Trace"]


class Recorder(Protocol):
    """Where figures go."""

    def request(self, route: str, outcome: str, seconds: float) -> None:
        """Count an answer by its outcome: ok or an error's code."""

    def stage(self, stage: str, seconds: float) -> None:
        """Add the latency of a stage: featurize, queue or forward."""

    def batch(self, size: int) -> None:
        """Add the number of calls that shared a forward pass."""

    def cache(self, *, is_hit: bool) -> None:
        """Count a look into the feature cache."""


@dataclass
class Trace:
    """What the access log says of a request; filled in along its way."""

    request_id: str
    properties: list[str] = field(default_factory=list)
    n_polymers: int = 0
    n_triplets: int = 0
    n_cache_hits: int = 0
    queue_s: float = 0.0
    featurize_s: float = 0.0
    forward_s: float = 0.0
    batch_size: int = 0
    outcome: str = "ok"
