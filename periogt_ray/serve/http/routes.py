"""The routes of /v1, their documentation, and how errors are answered."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from periogt_ray import __version__
from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.property_card import read_property_card
from periogt_ray.errors import PerioGTError, ValidationError
from periogt_ray.model.answers import embedding_response, error_body, predict_response, properties_response
from periogt_ray.model.consistency import with_consistency
from periogt_ray.model.explanation import MEANING
from periogt_ray.model.tasks import Outcome
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.given import GivenInput
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.schemas import (
    BatchRequest,
    BatchResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ErrorBody,
    ErrorResponse,
    ExplainRequest,
    ExplainResponse,
    HealthResponse,
    ModelResponse,
    PredictRequest,
    PredictResponse,
    PropertiesResponse,
    PropertyCardResponse,
)
from periogt_ray.serve.http.auth import API_KEY_HEADER
from periogt_ray.serve.http.gate import Gate, deadline_of, error_response, trace_of
from periogt_ray.serve.http.malformed import malformed_request, with_plus_hint
from periogt_ray.serve.http.page import add_page
from periogt_ray.serve.http.paths import NodePrefix, TrailingSlash
from periogt_ray.serve.service import Asked, Service, Status
from periogt_ray.settings import Settings

__all__ = ["create_api"]

_DESCRIPTION = """Polymer properties from the SMILES of a repeat unit, by PerioGT.

A repeat unit has two connection points, written `*`: polystyrene is `*CC(*)c1ccccc1`.
An answer that failed is `{"error": {"code", "message", "details"}, "request_id"}`; those with
`Retry-After` may be sent again as they are.
"""
_SVG = "image/svg+xml"
_SVG_HEADERS = {
    "Cache-Control": "private, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
_STYRENE = "*CC(*)c1ccccc1"
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_FAILURES: Mapping[int, str] = {
    401: "`unauthorized`: the API key is missing or wrong.",
    413: "`validation_error`: the body is larger than is accepted.",
    422: "`validation_error` or `unsupported_property`: what was sent cannot be answered.",
    500: "`internal_error`, `model_load_failed` or `checksum_mismatch`.",
    501: "`internal_error`: this machine lacks the libraries that draw. Predictions do not need them.",
    503: "`overloaded`, `not_ready`, `gpu_out_of_memory`, `checkpoint_missing` or a GPU that cannot be used.",
    504: "`timeout`: the deadline passed and the work was dropped.",
}


def create_api(service: Service, settings: Settings) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    service : Service
        What answers.
    settings : Settings
        The key, the bounds, and the artifact directory, whose path no answer holds.
    """
    api = FastAPI(
        title="PerioGT",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    public = _path_remover(settings)
    _add_error_handlers(api, public)
    _add_reading_routes(api, service)
    _add_predicting_routes(api, service, public)
    _add_drawing_route(api, service)
    _add_documentation(api, has_key=settings.api_key is not None)
    add_page(api)
    api.add_middleware(Gate, settings=settings, recorder=service.recorder)
    # The last one added is the first to see a request.
    api.add_middleware(TrailingSlash)
    api.add_middleware(NodePrefix)
    return api


def _add_reading_routes(api: FastAPI, service: Service) -> None:
    @api.get("/v1/health", response_model=HealthResponse, responses=_responses(401))
    async def health() -> Response:
        """Tell whether the model can answer; never waits for anything."""
        return _json(
            HealthResponse(
                status="ok" if service.status is Status.READY else "initializing",
                model_loaded=service.has_model,
                checkpoints_present=service.artifacts is not None,
                gpu_available=service.device == "cuda",
                version=__version__,
                device=service.device,
                artifacts=None if service.artifacts is None else service.artifacts.name,
                n_open=service.n_open,
                max_open=service.max_open,
            )
        )

    # Monitors ask with HEAD; the server leaves the body out.
    api.add_api_route("/v1/health", health, methods=["HEAD"], include_in_schema=False)

    @api.get("/v1/properties", response_model=PropertiesResponse, responses=_responses(401, 503))
    async def properties() -> Response:
        """List the properties that are served, and by which model."""
        return _json(properties_response(service.known_artifacts()))

    @api.get(
        "/v1/properties/{property_id}/card", response_model=PropertyCardResponse, responses=_responses(401, 422, 503)
    )
    async def card(property_id: Annotated[str, PathParameter(max_length=128, description="Property id.")]) -> Response:
        """Tell what was measured of one property; of a finetuned one, from its package."""
        return _json(await asyncio.to_thread(read_property_card, service.known_artifacts(), property_id))

    @api.get("/v1/model", response_model=ModelResponse, responses=_responses(401, 503))
    async def model() -> Response:
        """Tell which model answers, its accuracy on held-out polymers, its limits, and examples."""
        return _json(await asyncio.to_thread(read_card, service.known_artifacts()))


def _add_drawing_route(api: FastAPI, service: Service) -> None:
    svg: dict[int | str, dict[str, Any]] = {200: {"content": {_SVG: {"schema": {"type": "string"}}}}}

    @api.get("/v1/depict", response_class=Response, responses={**svg, **_responses(401, 422, 500, 501, 503, 504)})
    async def depict(
        request: Request,
        smiles: Annotated[
            str,
            Query(min_length=1, max_length=MAX_SMILES_LENGTH, description="Repeat unit to draw.", examples=[_STYRENE]),
        ],
        theme: Annotated[Theme, Query(description="Dark lines, or light ones for a dark background.")] = "light",
    ) -> Response:
        """Draw a repeat unit as SVG, its connection points marked."""
        try:
            drawing = await service.depict(smiles, theme)
        except ValidationError as error:
            raise with_plus_hint(error, request.url.query) from error
        return Response(drawing, media_type=_SVG, headers=_SVG_HEADERS)


def _add_predicting_routes(api: FastAPI, service: Service, public: Callable[[PerioGTError], PerioGTError]) -> None:
    failures = _responses(*(status for status in _FAILURES if status != HTTPStatus.NOT_IMPLEMENTED))

    async def outcomes_of(request: Request, asked: list[Asked]) -> tuple[list[Outcome], ArtifactDirectory, str]:
        trace = trace_of(request.scope)
        artifacts = service.loaded_artifacts()
        outcomes = await service.answer(asked, deadline=deadline_of(request.scope), trace=trace)
        return outcomes, artifacts, trace.request_id

    @api.post("/v1/predict", response_model=PredictResponse, responses=failures)
    async def predict(request: Request, body: Annotated[PredictRequest, Body(openapi_examples=_PREDICT)]) -> Response:
        """Predict one property of one polymer."""
        [outcome], artifacts, request_id = await outcomes_of(request, [_asked(body)])
        return _json(
            predict_response(outcome, artifacts, given=_given(body), property_id=body.property, request_id=request_id)
        )

    @api.post("/v1/embeddings", response_model=EmbeddingResponse, responses=failures)
    async def embeddings(
        request: Request, body: Annotated[EmbeddingRequest, Body(openapi_examples=_EMBED)]
    ) -> Response:
        """Return the embedding of one polymer."""
        [outcome], _, request_id = await outcomes_of(request, [Asked(body.smiles)])
        return _json(embedding_response(outcome, smiles=body.smiles, request_id=request_id))

    @api.post("/v1/explain", response_model=ExplainResponse, responses=failures)
    async def explain(request: Request, body: Annotated[ExplainRequest, Body(openapi_examples=_EXPLAIN)]) -> Response:
        """Tell which bonds and atoms carry a prediction; takes seconds, or longer for large polymers."""
        trace = trace_of(request.scope)
        reply = await service.explain(
            body.smiles,
            body.property,
            passes=body.passes,
            has_drawing=body.drawing,
            deadline=deadline_of(request.scope),
            trace=trace,
        )
        told: dict[str, Any] = {"meaning": MEANING, "drawing": reply.drawing, "request_id": trace.request_id}
        return _json(ExplainResponse(**reply.explanation.as_dict(), **told))

    @api.post("/v1/predict/batch", response_model=BatchResponse, responses=failures)
    async def predict_batch(request: Request, body: Annotated[BatchRequest, Body(openapi_examples=_BATCH)]) -> Response:
        """Answer up to 100 predictions together, in order; an item that failed is an error body."""
        outcomes, artifacts, request_id = await outcomes_of(request, [_asked(item) for item in body.items])
        outcomes = with_consistency([(item.smiles, item.property) for item in body.items], outcomes)
        results: list[PredictResponse | ErrorBody] = []
        for item, outcome in zip(body.items, outcomes, strict=True):
            try:
                result = predict_response(
                    outcome, artifacts, given=_given(item), property_id=item.property, request_id=request_id
                )
            except PerioGTError as error:
                results.append(error_body(public(error)))
            else:
                results.append(result)
        return _json(BatchResponse(results=results, request_id=request_id))


def _add_error_handlers(api: FastAPI, public: Callable[[PerioGTError], PerioGTError]) -> None:
    @api.exception_handler(PerioGTError)
    async def answer_error(request: Request, error: PerioGTError) -> Response:
        return error_response(public(error), trace_of(request.scope))

    @api.exception_handler(RequestValidationError)
    async def answer_malformed(request: Request, error: RequestValidationError) -> Response:
        return error_response(malformed_request(request, error), trace_of(request.scope))

    @api.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in (404, 405, 413) else 422
        reason = {
            404: "There is nothing at this path; the routes are listed at /docs.",
            405: "This path does not take this method; the routes are listed at /docs.",
            413: "The body is larger than this service accepts; send fewer items at once.",
            422: "The body cannot be read as JSON.",
        }[status]
        response = error_response(
            ValidationError(reason), trace_of(request.scope), status=status, code=_HTTP_CODES.get(status)
        )
        response.headers.update(error.headers or {})
        return response


def _add_documentation(api: FastAPI, *, has_key: bool) -> None:
    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            if has_key:
                scheme = {"type": "apiKey", "in": "header", "name": API_KEY_HEADER}
                schema["components"]["securitySchemes"] = {"ApiKey": scheme}
                schema["security"] = [{"ApiKey": []}]
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = document  # type: ignore[method-assign]

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return document()


def _path_remover(settings: Settings) -> Callable[[PerioGTError], PerioGTError]:
    """Return what takes the artifact directory's place on this machine out of an error."""
    root = str(settings.checkpoint_dir)

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(f"{root}/", "").replace(root, "the artifact directory")
        if isinstance(value, list | tuple):
            return [cleaned(item) for item in value]
        if isinstance(value, Mapping):
            return {key: cleaned(item) for key, item in value.items()}
        return value

    def public(error: PerioGTError) -> PerioGTError:
        return type(error)(cleaned(error.message), cleaned(error.details))

    return public


def _asked(body: PredictRequest) -> Asked:
    return Asked(_given(body), body.property, body.return_embedding, body.level)


def _given(body: PredictRequest) -> GivenInput:
    if body.copolymer is not None:
        return GivenInput.of_copolymer(**body.copolymer.model_dump())
    smiles = body.smiles or ""
    return (
        GivenInput.of_smiles(smiles) if body.conditions is None else GivenInput.with_conditions(smiles, body.conditions)
    )


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document failures."""
    return {
        status: {
            "model": ErrorResponse,
            "description": f"{HTTPStatus(status).phrase}. {_FAILURES[status]}",
        }
        for status in statuses
    }


_PREDICT: dict[str, Any] = {
    "polystyrene": {"summary": "Dielectric constant", "value": {"smiles": _STYRENE, "property": "eps"}},
    "copolymer": {
        "summary": "Electron affinity of a copolymer",
        "value": {
            "copolymer": {
                "smiles_a": "*c1ccc(*)cc1",
                "smiles_b": "*c1ccc(*)s1",
                "ratio_a": 0.5,
                "architecture": "alternating",
            },
            "property": "ea",
        },
    },
    "conditions": {
        "summary": "With conditions, standardised numbers",
        "value": {
            "smiles": "*c1ccc(*)s1",
            "conditions": {"homo": -0.6, "bandgap": 1.0, "molar_mass": -0.5},
            "property": "opv",
        },
    },
    "with embedding": {
        "summary": "With the embedding",
        "value": {"smiles": "*CC*", "property": "eps", "return_embedding": True},
    },
}
_EMBED: dict[str, Any] = {"polystyrene": {"summary": "Polystyrene", "value": {"smiles": _STYRENE}}}
_EXPLAIN: dict[str, Any] = {
    "acrylic acid": {"summary": "Poly(acrylic acid)", "value": {"smiles": "*CC(*)C(=O)O", "property": "eps"}},
}
_BATCH: dict[str, Any] = {
    "two polymers": {
        "summary": "Two polymers",
        "value": {"items": [{"smiles": "*CC*", "property": "eps"}, {"smiles": _STYRENE, "property": "eps"}]},
    }
}
