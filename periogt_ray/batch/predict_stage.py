"""What the predictors of a batch do; apart from featurize_stage, so that featurizers do without torch."""

from collections.abc import Iterable, Sequence
from typing import Any

from periogt_ray.batch.failures import ROW_ERRORS, contained
from periogt_ray.batch.featurize_stage import BatchSpec, PartMessage, Work
from periogt_ray.batch.ledger import Guard
from periogt_ray.batch.parts import Answer, PartResult
from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Job, Outcome
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = ["PredictPart"]


class PredictPart:
    """Stage around one :class:`Predictor`, loaded once a worker: features to a finished part.

    A model that cannot be loaded is an answer too, so that its error arrives whole.
    """

    def __init__(self, spec: BatchSpec, ledger: Any) -> None:
        self._spec = spec
        self._ledger = ledger
        self._failure: PerioGTError | None = None
        try:
            self._predictor = Predictor.load(spec.settings)
        except PerioGTError as error:
            self._failure = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Predict one part."""
        part, work = int(row["part"]), row["work"]
        failure = self._failure or work.fatal
        if failure is not None:
            return {"message": PartMessage(fatal=failure)}
        try:
            return {"message": PartMessage(result=self._result(part, work))}
        except PerioGTError as error:
            return {"message": PartMessage(fatal=error)}

    def _result(self, part: int, work: Work) -> PartResult:
        import ray

        is_careful = ray.get(self._ledger.begin.remote("predict", part))
        answers = self._answers(work.polymers, Guard(self._ledger, "predict", part, is_careful))
        return PartResult(part=part, rows=work.rows, answers=answers, device=self._predictor.device.type)

    def _answers(
        self, polymers: dict[str, dict[PromptScheme, FeaturizedPolymer] | PerioGTError], guard: Guard
    ) -> dict[str, list[Answer]]:
        ready = {key: value for key, value in polymers.items() if not isinstance(value, PerioGTError)}
        together = self._predict(ready) if not guard.is_careful else InternalError("one by one")
        answers = {}
        for key, value in polymers.items():
            found: Sequence[Outcome] | PerioGTError
            if isinstance(value, PerioGTError):
                found = value
            elif isinstance(together, PerioGTError):
                found = self._one(key, value, guard)
            else:
                found = together[key]
            answers[key] = [_answer(outcome) for outcome in self._spread(found)]
        return answers

    def _one(
        self, key: str, polymer: dict[PromptScheme, FeaturizedPolymer], guard: Guard
    ) -> Sequence[Outcome] | PerioGTError:
        found = guard.run(key, lambda: self._predict({key: polymer}))
        return found if isinstance(found, PerioGTError) else found[key]

    def _predict(
        self, polymers: dict[str, dict[PromptScheme, FeaturizedPolymer]]
    ) -> dict[str, list[Outcome]] | PerioGTError:
        """Return the outcomes of all properties; a failure of all together is an error."""
        jobs = [
            Job(schemes[scheme], property_id)
            for schemes in polymers.values()
            for property_id, scheme in self._spec.properties
        ]
        outcomes = contained(lambda: self._predictor.predict_many(jobs))
        if isinstance(outcomes, PerioGTError):
            return outcomes
        n_properties = len(self._spec.properties)
        return {key: outcomes[i * n_properties : (i + 1) * n_properties] for i, key in enumerate(polymers)}

    def _spread(self, found: Sequence[Outcome] | PerioGTError) -> Iterable[Outcome]:
        if isinstance(found, PerioGTError):
            return [Outcome(error=found)] * len(self._spec.properties)
        return found


def _answer(outcome: Outcome) -> Answer:
    """Bring an outcome into the form of a part file; an error that concerns the run is raised."""
    if outcome.error is not None:
        if not isinstance(outcome.error, ROW_ERRORS):
            raise outcome.error
        return Answer(code=outcome.error.code, message=outcome.error.message)
    if outcome.value is None:
        raise InternalError("An outcome without an error has no value; this is a bug.")
    return Answer(value=outcome.value, units=outcome.units)
