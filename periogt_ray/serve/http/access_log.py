"""The access log: one JSON object a request, on standard error."""

import json
import logging

from periogt_ray.serve.trace import Trace

__all__ = ["log_request"]

logger = logging.getLogger(__name__)


def log_request(trace: Trace, *, method: str, route: str, status: int, seconds: float) -> None:
    """Log one request.

    Parameters
    ----------
    trace : Trace
        What happened.
    method, route : str
        The route's own path, so that nothing a client invents gets into the log.
    status : int
        Of the answer; 499 where the client left.
    seconds : float
        From the request's arrival to the end of its answer.
    """
    # The page and monitors ask all the time; what is well says nothing.
    if route == "/v1/health" and status == 200:
        return
    record = {
        "request_id": trace.request_id,
        "method": method,
        "route": route,
        "status": status,
        "outcome": trace.outcome,
        "property": ",".join(trace.properties) or None,
        "n_polymers": trace.n_polymers,
        "n_triplets": trace.n_triplets,
        "n_cache_hits": trace.n_cache_hits,
        "batch_size": trace.batch_size,
        "queue_s": round(trace.queue_s, 6),
        "featurize_s": round(trace.featurize_s, 6),
        "forward_s": round(trace.forward_s, 6),
        "total_s": round(seconds, 6),
    }
    logger.info("%s", json.dumps(record, ensure_ascii=True))
