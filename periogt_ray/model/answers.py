"""Turn outcomes, errors and the list of properties into the JSON of answers; without torch."""

import numpy as np

from periogt_ray.artifacts.card import describe
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PROPERTIES, PropertyInfo
from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.model.intervals import Interval
from periogt_ray.model.tasks import Outcome, shortest
from periogt_ray.polymer.given import GivenInput
from periogt_ray.polymer.input_kinds import ARCHITECTURES, CONDITIONS, RATIOS, TRAINED_COMBINATIONS, InputKind
from periogt_ray.schemas import (
    ConditionRange,
    CopolymerChoices,
    DomainBody,
    EmbeddingResponse,
    ErrorBody,
    IntervalBody,
    LeftOutPackage,
    ModelReference,
    Prediction,
    PredictResponse,
    PropertiesResponse,
    PropertyEntry,
    UnsupportedProperty,
)
from periogt_ray.tables.predictions import ROW_ERRORS, Answer, RowFailure
from periogt_ray.tables.predictions import Prediction as PredictedValue

__all__ = [
    "answer_of",
    "embedding_response",
    "error_body",
    "predict_response",
    "predict_result",
    "predicted_value",
    "properties_response",
]

_COPOLYMERS = CopolymerChoices(
    ratio_a=list(RATIOS), architecture=list(ARCHITECTURES), trained=list(TRAINED_COMBINATIONS)
)
_CONDITIONS = [ConditionRange(**condition._asdict()) for condition in CONDITIONS]
_ABSENT = "No weights for it here; `periogt setup` fetches the published ones."


def predict_response(
    outcome: Outcome, artifacts: ArtifactDirectory, *, given: GivenInput, property_id: str, request_id: str
) -> PredictResponse:
    """Make the answer to one prediction.

    Parameters
    ----------
    outcome : Outcome
        What the predictor answered.
    artifacts : ArtifactDirectory
        What the predictor was loaded from.
    given : GivenInput
        The polymer, as it was sent.
    property_id : str
        As it was sent.
    request_id : str
        Of the request.

    Raises
    ------
    PerioGTError
        The outcome's error, if it has one.
    """
    if outcome.error is not None:
        raise outcome.error
    if outcome.value is None or outcome.checkpoint is None:
        raise InternalError("An outcome without an error has no value; this is a bug.")
    return PredictResponse(
        **given.body,
        property=property_id,
        prediction=Prediction(value=outcome.value, units=outcome.units),
        embedding=None if outcome.embedding is None else [shortest(value) for value in outcome.embedding],
        model=ModelReference(checkpoint=outcome.checkpoint, artifacts=artifacts.name),
        interval=_wire_interval(outcome),
        domain=_wire_domain(outcome),
        warnings=list(outcome.warnings),
        request_id=request_id,
    )


def _wire_interval(outcome: Outcome) -> IntervalBody | None:
    if outcome.interval is None:
        return None
    lower, upper = _bounds(outcome.interval)
    return IntervalBody(level=outcome.interval.level, lower=lower, upper=upper)


def _wire_domain(outcome: Outcome) -> DomainBody | None:
    domain = outcome.domain
    if domain is None:
        return None
    return DomainBody(
        status=domain.status,
        similarity=round(domain.similarity, 4),
        percentile=round(domain.percentile, 2),
        reasons=list(domain.reasons),
    )


def predict_result(
    outcome: Outcome, artifacts: ArtifactDirectory, *, given: GivenInput, property_id: str, request_id: str
) -> PredictResponse | ErrorBody:
    """Make one result among several: an answer as :func:`predict_response` makes it, or its error's body."""
    try:
        return predict_response(outcome, artifacts, given=given, property_id=property_id, request_id=request_id)
    except PerioGTError as error:
        return error_body(error)


def embedding_response(outcome: Outcome, *, smiles: str, request_id: str) -> EmbeddingResponse:
    """Make the answer to one embedding; raises the outcome's error, if it has one."""
    if outcome.error is not None:
        raise outcome.error
    embedding = [] if outcome.embedding is None else [shortest(value) for value in outcome.embedding]
    return EmbeddingResponse(
        smiles=smiles,
        embedding=embedding,
        dim=len(embedding),
        warnings=list(outcome.warnings),
        request_id=request_id,
    )


def properties_response(artifacts: ArtifactDirectory) -> PropertiesResponse:
    """List the properties that an artifact directory serves, and those that it does not, with the reason."""
    infos = artifacts.properties.values()
    absent = [name for name in PROPERTIES if name not in artifacts.properties]
    return PropertiesResponse(
        properties=[_entry(info, is_package=info.id in artifacts.packages) for info in infos if info.supported],
        unsupported=[
            UnsupportedProperty(
                id=info.id, label=info.label, reason=info.reason or "", is_package=info.id in artifacts.packages
            )
            for info in infos
            if not info.supported
        ]
        + [UnsupportedProperty(id=name, label=PROPERTIES[name][0], reason=_ABSENT) for name in absent],
        left_out=[LeftOutPackage(name=each.name, reason=each.reason) for each in artifacts.left_out],
        artifacts=artifacts.name,
        description=describe(artifacts),
    )


def _entry(info: PropertyInfo, *, is_package: bool) -> PropertyEntry:
    kind = info.input_kind
    return PropertyEntry(
        id=info.id,
        label=info.label,
        units=info.units,
        input=kind,
        copolymer=_COPOLYMERS if kind is InputKind.COPOLYMER else None,
        conditions=_CONDITIONS if kind is InputKind.CONDITIONS else None,
        is_package=is_package,
    )


def error_body(error: PerioGTError) -> ErrorBody:
    """Make the body of an error."""
    return ErrorBody(code=error.code, message=error.message, details=error.details)


def answer_of(outcome: Outcome) -> Answer:
    """Return the part of an outcome that a table of predictions shows.

    Raises
    ------
    PerioGTError
        An error that concerns more than this polymer.
    """
    if outcome.error is not None:
        if not isinstance(outcome.error, ROW_ERRORS):
            raise outcome.error
        return RowFailure.of(outcome.error)
    if outcome.value is None:
        raise InternalError("An outcome without an error has no value; this is a bug.")
    bounds = None if outcome.interval is None else _bounds(outcome.interval)
    domain = "" if outcome.domain is None else outcome.domain.status
    return PredictedValue(outcome.value, outcome.units, outcome.warnings, bounds, domain)


def _bounds(interval: Interval) -> tuple[float, float]:
    """Return lower and upper bound in float32's shortest decimal form, as values are."""
    return shortest(np.float32(interval.lower)), shortest(np.float32(interval.upper))


def predicted_value(answer: PredictResponse) -> PredictedValue:
    """Return the part of an answer that a table of predictions shows."""
    bounds = None if answer.interval is None else (answer.interval.lower, answer.interval.upper)
    domain = "" if answer.domain is None else answer.domain.status
    return PredictedValue(answer.prediction.value, answer.prediction.units, tuple(answer.warnings), bounds, domain)
