"""The JSON that goes over the wire, and that the command line prints."""

from typing import Annotated, Any, Literal, Self
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH, MOST_PASSES

__all__ = [
    "MAX_ITEMS",
    "Accuracy",
    "AtomPartBody",
    "BatchItem",
    "BatchRequest",
    "BatchResponse",
    "BondPartBody",
    "ConditionRange",
    "CopolymerChoices",
    "CopolymerInput",
    "Coverage",
    "DomainBody",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "ErrorBody",
    "ErrorResponse",
    "Example",
    "ExplainRequest",
    "ExplainResponse",
    "HealthResponse",
    "IntervalBody",
    "LeftOutPackage",
    "ModelReference",
    "ModelResponse",
    "PartBody",
    "PredictRequest",
    "PredictResponse",
    "Prediction",
    "PropertiesResponse",
    "PropertyCard",
    "PropertyCardResponse",
    "PropertyEntry",
    "Score",
    "UnsupportedProperty",
    "new_request_id",
]

MAX_ITEMS = 100
MODEL_NAME = "PerioGT"
_MOST_FIELDS = 16

_SentSmiles = Annotated[str, Field(description="As it was sent.")]
_Embedding = Annotated[list[float], Field(description="What the encoder makes of the repeat unit, without unit.")]
_Label = Annotated[str, Field(description="Name of the property.")]
_Units = Annotated[str, Field(description="Unit of the value; empty for a dimensionless property.")]
_Warnings = Annotated[
    list[str], Field(description="Reasons not to trust the value, and what was left out of the SMILES; usually empty.")
]
_RequestId = Annotated[str, Field(description="As in the header X-Request-ID and in the service's log.")]


_LEVELS = (0.5, 0.8, 0.9, 0.95)


def _known_level(level: float) -> float:
    if level not in _LEVELS:
        raise PydanticCustomError("level", f"expected one of {', '.join(map(str, _LEVELS))}")
    return level


_Level = Annotated[float, AfterValidator(_known_level), WithJsonSchema({"type": "number", "enum": list(_LEVELS)})]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Request(BaseModel):
    # Strict, and closed: "yes" for true or a misspelt option must not pass.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_many_fields(cls, given: Any) -> Any:
        """Refuse an object of very many fields at once; an error for each would keep the event loop from others."""
        if isinstance(given, dict) and len(given) > _MOST_FIELDS:
            expected = ", ".join(cls.model_fields)
            raise PydanticCustomError("too_many_fields", f"the object has {len(given)} fields; expected {expected}")
        return given


class EmbeddingRequest(_Request):
    """A polymer."""

    smiles: str = Field(
        min_length=1,
        max_length=MAX_SMILES_LENGTH,
        description="Repeat unit with two connection points, written *.",
        examples=["*CC(*)c1ccccc1"],
    )


class CopolymerInput(_Request):
    """Two monomers, how much of each, and how they follow each other."""

    smiles_a: str = Field(description="Repeat unit of the first monomer.", examples=["*CC(*)c1ccccc1"])
    smiles_b: str = Field(description="Repeat unit of the second monomer; it may be the same.", examples=["*CC*"])
    ratio_a: float = Field(
        description="Molar fraction of the first monomer: 0.25, 0.5 or 0.75; the second one has the rest."
    )
    architecture: str = Field(max_length=128, description="alternating, block or random.", examples=["random"])


_Conditions = Annotated[
    dict[str, float] | None,
    Field(max_length=_MOST_FIELDS, description="Beside `smiles`, where the property takes them: standardised numbers."),
]


class PredictRequest(_Request):
    """A polymer and the property that is asked for: `smiles`, `smiles` with `conditions`, or `copolymer`.

    Which one a property takes is its `input` in /v1/properties.
    """

    smiles: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SMILES_LENGTH,
        description="Repeat unit with two connection points, written *.",
        examples=["*CC(*)c1ccccc1"],
    )
    copolymer: CopolymerInput | None = Field(default=None, description="In place of `smiles`.")
    conditions: _Conditions = None
    property: str = Field(
        min_length=1, max_length=128, description="Property id, as /v1/properties lists them.", examples=["eps"]
    )
    return_embedding: bool = Field(
        default=False, description="Whether the answer holds the embedding, which only a repeat unit has."
    )
    level: _Level = Field(default=0.9, description="Coverage of the interval: 0.5, 0.8, 0.9 or 0.95.")

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        if self.smiles is None and self.copolymer is None:
            raise PydanticCustomError("missing_input", "smiles is missing; give smiles, or copolymer")
        if self.copolymer is not None and (self.smiles is not None or self.conditions is not None):
            raise PydanticCustomError("two_inputs", "copolymer stands alone; leave smiles and conditions out")
        return self


class BatchItem(PredictRequest):
    """One prediction among several; a SMILES that is empty or too long is an error in its place."""

    smiles: str | None = Field(
        default=None,
        description=f"Repeat unit with two connection points, written *, of at most {MAX_SMILES_LENGTH} characters.",
        examples=["*CC(*)c1ccccc1"],
    )


class BatchRequest(_Request):
    """Up to 100 predictions that are computed together."""

    items: list[BatchItem] = Field(
        min_length=1, max_length=MAX_ITEMS, description=f"1 to {MAX_ITEMS} predictions; equal ones are computed once."
    )


class Prediction(_Wire):
    """A value in its unit."""

    value: float = Field(allow_inf_nan=False, description="In the unit beside it.")
    units: _Units


class ModelReference(_Wire):
    """Which weights answered."""

    name: str = Field(default=MODEL_NAME, description="Of the network.")
    checkpoint: str = Field(description="Path relative to the artifact directory.")
    artifacts: str = Field(description="Name of the artifacts, for example of the embedded compact model.")


class IntervalBody(_Wire):
    """A conformal interval."""

    level: float = Field(description="Share of polymers like the data's whose value lies inside.")
    lower: float = Field(allow_inf_nan=False, description="In the unit of the value.")
    upper: float = Field(allow_inf_nan=False, description="In the unit of the value.")


class DomainBody(_Wire):
    """How the polymer lies to those that the network learned from."""

    status: Literal["inside", "outside", "far_outside"] = Field(
        description="`outside`: rarer than 95 % of the training polymers, or a value beyond their labels; "
        "`far_outside`: rarer than 99.9 %, an unseen element or charge, or an impossible value."
    )
    similarity: float = Field(description="Tanimoto similarity to the nearest training polymer, 0 to 1.")
    percentile: float = Field(description="Percent of the training polymers that lie closer to the others.")
    reasons: list[str] = Field(description="Why it is not inside; usually empty.")


class PredictResponse(_Wire):
    """Answer to one prediction."""

    smiles: str | None = Field(description="As it was sent; null for a copolymer.")
    copolymer: CopolymerInput | None = Field(default=None, description="As it was sent.")
    conditions: dict[str, float] | None = Field(default=None, description="As they were sent.")
    property: str = Field(description="Property id, as it was sent.")
    prediction: Prediction
    embedding: _Embedding | None = Field(default=None, description="Of the repeat unit; null unless asked for.")
    model: ModelReference
    interval: IntervalBody | None = Field(
        default=None, description="Null where the property is not calibrated, or by too few polymers."
    )
    domain: DomainBody | None = Field(default=None, description="Null where the property is not calibrated.")
    warnings: _Warnings = []
    request_id: _RequestId


class EmbeddingResponse(_Wire):
    """Answer to one embedding."""

    smiles: _SentSmiles
    embedding: _Embedding
    dim: int = Field(description="Numbers in the embedding.")
    warnings: _Warnings = []
    request_id: _RequestId


class ExplainRequest(EmbeddingRequest):
    """A polymer and the property whose prediction is explained."""

    property: str = Field(
        min_length=1, max_length=128, description="Id of a property of a repeat unit.", examples=["eps"]
    )
    passes: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PASSES,
        description="Most subsets of bonds to compute; more take longer and have smaller errors. Null: by the size.",
    )
    drawing: bool = Field(default=False, description="Whether the answer holds a drawing.")


class PartBody(_Wire):
    """What a part of the polymer adds to the prediction."""

    value: float = Field(allow_inf_nan=False, description="In the unit of the property.")
    standard_error: float = Field(
        allow_inf_nan=False, description="Of the sampling; 0 where all subsets were computed."
    )


class BondPartBody(PartBody):
    """What a bond adds."""

    atoms: tuple[int, int] = Field(description="Its atoms, counted from 0 in `repeat_unit`.")
    symbols: tuple[str, str] = Field(description="Their elements.")
    is_between_units: bool = Field(description="Whether it joins two repeat units.")


class AtomPartBody(_Wire):
    """Half of what the bonds of an atom add."""

    atom: int = Field(description="Counted from 0 in `repeat_unit`.")
    symbol: str = Field(description="Its element.")
    value: float = Field(allow_inf_nan=False, description="In the unit of the property.")


class ExplainResponse(_Wire):
    """Which bonds and atoms carry a prediction: `baseline` + bonds + whole-molecule features = `prediction`."""

    smiles: _SentSmiles
    repeat_unit: str = Field(description="Canonical SMILES whose atoms the answer counts.")
    property: str = Field(description="Property id.")
    label: _Label
    units: _Units
    prediction: float = Field(allow_inf_nan=False, description="What the model answers.")
    baseline: float = Field(allow_inf_nan=False, description="What it answers when every part is replaced.")
    bonds: list[BondPartBody] = Field(description="Bonds of the repeat unit; the bond between units is last.")
    atoms: list[AtomPartBody] = Field(description="Atoms of the repeat unit, without connection points.")
    whole_molecule: PartBody = Field(description="Fingerprint and descriptors.")
    method: Literal["exact", "sampled"] = Field(description="All subsets of parts, or random orders.")
    passes: int = Field(description="Subsets that were computed.")
    meaning: str = Field(description="What the values are, and what they are not.")
    drawing: str | None = Field(default=None, description="SVG; null unless asked for, and where nothing can be drawn.")
    warnings: _Warnings = []
    request_id: _RequestId


class CopolymerChoices(_Wire):
    """What a copolymer may be."""

    ratio_a: list[float] = Field(description="Molar fractions of the first monomer.")
    architecture: list[str] = Field(description="How the monomers may follow each other.")
    trained: list[tuple[float, str]] = Field(description="Pairs of these two that training saw; others get a warning.")


class ConditionRange(_Wire):
    """A condition, and its range in training; values beyond get a warning."""

    name: str = Field(description="As `conditions` takes it.")
    label: str = Field(description="What it is.")
    low: float = Field(description="Lowest standardised value in training.")
    high: float = Field(description="Highest standardised value in training.")


_Input = Annotated[
    InputKind,
    Field(
        description="What the property is predicted of: `smiles`, `copolymer`, or `smiles` with `conditions`.",
        strict=False,
    ),
]


_IsPackage = Annotated[bool, Field(description="Whether it is a finetuned property, from a package of the user.")]


class PropertyEntry(_Wire):
    """A property that is served."""

    id: str = Field(description="Property id, as /v1/predict takes it.")
    label: _Label
    units: _Units
    input: _Input
    copolymer: CopolymerChoices | None = Field(default=None, description="Where `input` is copolymer.")
    conditions: list[ConditionRange] | None = Field(
        default=None, description="Where `input` is conditions: standardised numbers, as in the data set."
    )
    is_package: _IsPackage = False


class UnsupportedProperty(_Wire):
    """A known property that is not served."""

    id: str = Field(description="Property id.")
    label: _Label
    reason: str = Field(description="Why it is not served.")
    is_package: _IsPackage = False


class LeftOutPackage(_Wire):
    """A directory of a package that is not used at all."""

    name: str = Field(description="Of the directory.")
    reason: str = Field(description="Why.")


class PropertiesResponse(_Wire):
    """What is served, and by which model."""

    properties: list[PropertyEntry] = Field(description="What can be asked for.")
    unsupported: list[UnsupportedProperty] = Field(default=[], description="What cannot, with the reason.")
    left_out: list[LeftOutPackage] = Field(default=[], description="Packages that cannot be read or have a taken name.")
    artifacts: str = Field(description="Name of the artifacts that answer.")
    description: str = Field(description="What the artifacts are.")


class Accuracy(_Wire):
    """Error on test rows, which training did not see."""

    r2: float = Field(description="Coefficient of determination.")
    rmse: float = Field(description="Root mean square error, in the property's unit.")
    n: int = Field(description="Test rows.")


class PropertyCard(_Wire):
    """What is known of one property's network; what the artifacts do not tell is null."""

    id: str = Field(description="Property id.")
    label: str = Field(description="Name of the property.")
    units: str = Field(description="Unit of its values; empty for a dimensionless property.")
    checkpoint: str = Field(description="Path relative to the artifact directory.")
    test: Accuracy | None = Field(description="Error on test rows.")
    n_train: int | None = Field(description="Training rows.")
    input: _Input = InputKind.HOMOPOLYMER
    label_mean: float | None = Field(description="Mean of the training labels.")
    label_std: float | None = Field(description="Standard deviation of the training labels.")
    interval_scale: str | None = Field(
        default=None,
        description="What widths of intervals follow from: constant, neighbours or spread; null if not calibrated.",
    )
    n_calibration: int | None = Field(default=None, description="Polymers that the intervals were made from.")
    prompt_scheme: str | None = Field(default=None, description="Which prompt graphs the network takes.")
    is_scheme_verified: bool | None = Field(
        default=None, description="Whether that is known; false: assumed, until `periogt calibrate` has found out."
    )


class Example(_Wire):
    """A well-known polymer."""

    name: str = Field(description="What it is called.")
    smiles: str = Field(description="Its repeat unit.")


class ModelResponse(_Wire):
    """The model that answers, and how far it can be trusted."""

    artifacts: str = Field(description="Name of the artifacts that answer.")
    description: str = Field(description="What the artifacts are.")
    version: str = Field(description="Of the service.")
    properties: list[PropertyCard] = Field(description="Accuracy and training data by property.")
    limits: list[str] = Field(description="What the model is not for.")
    examples: list[Example] = Field(description="Well-known polymers.")
    card: str | None = Field(default=None, description="The model's card, as Markdown; null where there is none.")


class Score(_Wire):
    """Error of one model on polymers that it did not learn from."""

    division: str = Field(description="test, out_of_fold, or cluster: polymers unlike those of training.")
    model: str = Field(description="network, trees, or mean: the mean of the training values.")
    n: int = Field(description="Polymers.")
    r2: float = Field(allow_inf_nan=False, description="Coefficient of determination.")
    rmse: float = Field(allow_inf_nan=False, description="Root mean square error, in the property's unit.")


class Coverage(_Wire):
    """How many polymers lay within their intervals."""

    division: str = Field(description="test, or cluster: polymers unlike those of training.")
    level: float = Field(allow_inf_nan=False, description="Share that was wanted.")
    coverage: float = Field(allow_inf_nan=False, description="Share that was found.")
    n: int = Field(description="Polymers.")


class PropertyCardResponse(_Wire):
    """What was measured of one property; of a finetuned one, its own card."""

    id: str = Field(description="Property id.")
    label: _Label
    units: _Units
    is_package: _IsPackage = False
    reason: str | None = Field(default=None, description="Why it is not served; null if it is.")
    verdict: str | None = Field(default=None, description="In words, whether the network is worth using.")
    n_train: int | None = Field(default=None, description="Polymers or rows of training.")
    n_networks: int = Field(description="Networks whose mean answers.")
    scores: list[Score] = Field(default=[], description="Errors of the network and of what it is compared with.")
    coverage: list[Coverage] = Field(default=[], description="Of intervals.")
    text: str | None = Field(description="Its card, or that of the model that it belongs to, as Markdown.")


class ErrorBody(_Wire):
    """What went wrong."""

    code: str = Field(description="What kind of failure, for programs.", examples=["validation_error"])
    message: str = Field(description="What was given, what was expected and what to do, for people.")
    details: dict[str, Any] = Field(default_factory=dict, description="More, by kind of failure.")


class ErrorResponse(_Wire):
    """Answer to a request that failed."""

    error: ErrorBody
    request_id: _RequestId


class BatchResponse(_Wire):
    """Answers in the order of the items; one that failed is an error body."""

    results: list[PredictResponse | ErrorBody] = Field(description="As many as items, in their order.")
    request_id: _RequestId


class HealthResponse(_Wire):
    """Whether the model can answer."""

    status: Literal["ok", "initializing"] = Field(
        description="`ok` while predictions are answered; else it starts or ends."
    )
    model_loaded: bool = Field(description="Whether a predictor has loaded the weights.")
    checkpoints_present: bool = Field(description="Whether the artifacts were found.")
    gpu_available: bool = Field(description="Whether the model runs on a GPU.")
    version: str = Field(description="Of the service.")
    device: Literal["cpu", "cuda"] | None = Field(description="Where the model runs; null until it is loaded.")
    artifacts: str | None = Field(description="Name of the artifacts that answer; null until they are known.")
    n_open: int = Field(ge=0, description="Polymers in work or waiting.")
    max_open: int = Field(ge=0, description="Polymers that are taken on together; more are `overloaded`.")


def new_request_id() -> str:
    """Return a fresh request id."""
    return str(uuid4())
