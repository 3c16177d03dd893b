"""What the predictors of a batch do; torch is loaded in them only, not in the driver that names the class."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from periogt_ray.batch.failures import Message, contained
from periogt_ray.batch.featurize_stage import Features, FeaturizedPart
from periogt_ray.batch.ledger import Guard, StageLedger
from periogt_ray.batch.results import FinishedPart
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.model.answers import answer_of
from periogt_ray.model.consistency import with_consistency
from periogt_ray.model.tasks import Task
from periogt_ray.runtime.processes import end_quickly
from periogt_ray.tables.predictions import Answer, RowFailure

if TYPE_CHECKING:
    from periogt_ray.model.predictor import Predictor

__all__ = ["PredictPart"]


class PredictPart:
    """Stage around one ``Predictor``, loaded once a worker: features to a finished part.

    If the model cannot be loaded, every part's message is that error.
    """

    def __init__(self, spec: BatchSpec, ledger: StageLedger) -> None:
        end_quickly()
        self._spec = spec
        self._ledger = ledger
        self._loaded = Message.of(self._load)

    def _load(self) -> "Predictor":
        from periogt_ray.model.predictor import Predictor

        return Predictor.load(self._spec.settings)

    def __call__(self, row: dict[str, Message[FeaturizedPart]]) -> dict[str, Message[FinishedPart]]:
        """Predict one part."""
        return {"message": Message.of(partial(self._finished, row["message"]))}

    def _finished(self, message: Message[FeaturizedPart]) -> FinishedPart:
        predictor, part = self._loaded.take(), message.take()
        is_careful = self._ledger.begin("predict", part.number)
        guard = Guard(self._ledger, "predict", part.number, is_careful)
        return FinishedPart(part.number, part.rows, self._answers(predictor, part.polymers, guard))

    def _answers(
        self, predictor: "Predictor", polymers: Mapping[str, Features | RowFailure], guard: Guard
    ) -> dict[str, list[Answer]]:
        """Predict all polymers together; one by one if that fails or a worker has died over it."""
        ready = {key: features for key, features in polymers.items() if not isinstance(features, RowFailure)}
        together: dict[str, list[Answer]] | RowFailure | None = None
        if not guard.is_careful:
            together = contained(partial(self._predicted, predictor, ready))
        answers = {}
        for key, features in polymers.items():
            if isinstance(features, RowFailure):
                answers[key] = self._for_each_property(features)
            elif isinstance(together, dict):
                answers[key] = together[key]
            else:
                found = guard.run(key, partial(self._predicted, predictor, {key: features}))
                answers[key] = self._for_each_property(found) if isinstance(found, RowFailure) else found[key]
        return answers

    def _predicted(self, predictor: "Predictor", polymers: Mapping[str, Features]) -> dict[str, list[Answer]]:
        """Return the answers of all properties."""
        tasks = [
            Task(features[scheme], property_id, level=self._spec.level)
            for features in polymers.values()
            for property_id, scheme in self._spec.properties
        ]
        asked = [(key, property_id) for key in polymers for property_id, _ in self._spec.properties]
        answers = [answer_of(outcome) for outcome in with_consistency(asked, predictor.predict_many(tasks))]
        n_properties = len(self._spec.properties)
        return {key: answers[i * n_properties : (i + 1) * n_properties] for i, key in enumerate(polymers)}

    def _for_each_property(self, failure: RowFailure) -> list[Answer]:
        return [failure for _ in self._spec.properties]
