"""Runs explanations in a predictor's process, in groups of passes between those of predictions."""

import asyncio
import logging
import time

from periogt_ray.errors import DrawingUnavailableError, InternalError, PerioGTError, RequestTimeoutError
from periogt_ray.model.explain import explanation_steps
from periogt_ray.model.explanation import Explanation
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.calls import ExplainCall, ExplainReply

__all__ = ["ExplanationRunner"]

logger = logging.getLogger(__name__)


class ExplanationRunner:
    """Explains predictions one at a time.

    Parameters
    ----------
    predictor : Predictor
        What answers.
    is_free : asyncio.Lock
        Held during a pass, by predictions and by each group of passes of an explanation. It goes to who waits in order
        of arrival, so a prediction waits for one group at most.
    """

    def __init__(self, predictor: Predictor, is_free: asyncio.Lock) -> None:
        self._predictor = predictor
        self._is_free = is_free
        self._is_mine = asyncio.Lock()

    async def explain(self, call: ExplainCall) -> ExplainReply | PerioGTError:
        """Explain a prediction, or return why not."""
        try:
            async with self._is_mine:
                found = await self._explained(call)
            return ExplainReply(found, await asyncio.to_thread(_drawn, found) if call.has_drawing else None)
        except PerioGTError as error:
            return error
        except Exception:
            # The outermost frame of an explanation: the log gets the whole traceback, the answer none of it.
            logger.exception("an explanation failed by a bug")
            return InternalError("The explanation failed by a bug; the service's log has it.")

    async def _explained(self, call: ExplainCall) -> Explanation:
        steps = explanation_steps(
            self._predictor,
            call.polymer,
            call.unit,
            property_id=call.property_id,
            smiles=call.smiles,
            passes=call.passes,
        )
        while time.time() < call.deadline:
            async with self._is_free:
                # In a thread, so that predictions can arrive meanwhile.
                found = await asyncio.to_thread(next, steps)
            if found is not None:
                return found
        raise RequestTimeoutError(
            "The explanation was not finished in time and was dropped. Ask for fewer passes, or use "
            "`periogt explain`, which has no deadline."
        )


def _drawn(explanation: Explanation) -> str | None:
    try:
        return explanation.svg()
    except DrawingUnavailableError:
        return None
