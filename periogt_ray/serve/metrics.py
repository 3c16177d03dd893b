"""Figures for Prometheus, exported beside Ray's own."""

from ray.util.metrics import Counter, Histogram

__all__ = ["RayRecorder", "file_lookups"]

_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class RayRecorder:
    """A :class:`~periogt_ray.serve.trace.Recorder` whose figures Ray's agents export as ``ray_periogt_*``."""

    def __init__(self) -> None:
        self._requests = Counter("periogt_requests_total", "Answers by outcome.", tag_keys=("route", "outcome"))
        self._seconds = Histogram(
            "periogt_request_seconds", "From a request's arrival to its answer.", _SECONDS, tag_keys=("route",)
        )
        self._stages = Histogram("periogt_stage_seconds", "Latency by stage.", _SECONDS, tag_keys=("stage",))
        self._batches = Histogram(
            "periogt_batch_size", "Calls that shared a forward pass.", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
        )
        self._lookups = Counter("periogt_feature_cache_total", "Looks into the feature cache.", tag_keys=("result",))

    def request(self, route: str, outcome: str, seconds: float) -> None:
        """Count an answer by its outcome: ok or an error's code."""
        self._requests.inc(1.0, tags={"route": route, "outcome": outcome})
        self._seconds.observe(seconds, tags={"route": route})

    def stage(self, stage: str, seconds: float) -> None:
        """Add the latency of a stage: featurize, queue or forward."""
        self._stages.observe(seconds, tags={"stage": stage})

    def batch(self, size: int) -> None:
        """Add the number of calls that shared a forward pass."""
        self._batches.observe(float(size))

    def cache(self, *, is_hit: bool) -> None:
        """Count a look into the feature cache."""
        self._lookups.inc(1.0, tags={"result": "hit" if is_hit else "miss"})


def file_lookups() -> Counter:
    """Return the counter of looks into the store of features; for featurizers."""
    return Counter("periogt_feature_files_total", "Looks into PERIOGT_FEATURE_STORE.", tag_keys=("result",))
