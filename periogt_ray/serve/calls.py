"""What the service hands on to be computed, and what it gets back; what computes is a :class:`Backend`."""

from dataclasses import dataclass
from typing import Protocol

from periogt_ray.model.explanation import Explanation
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["Backend", "ExplainCall", "ExplainReply", "PredictCall", "PredictReply"]


@dataclass(frozen=True)
class PredictCall:
    """Tasks that go to a predictor together.

    Attributes
    ----------
    tasks : tuple of Task
        What is asked.
    deadline : float
        Seconds since the epoch; tasks are dropped that nobody waits for any longer.
    """

    tasks: tuple[Task, ...]
    deadline: float


@dataclass(frozen=True)
class PredictReply:
    """One outcome a task, and where the time went.

    Attributes
    ----------
    outcomes : tuple of Outcome
        In the order of the tasks.
    batch_size : int
        Calls that shared the forward pass.
    queue_s, forward_s : float
        Seconds before and in the forward pass.
    """

    outcomes: tuple[Outcome, ...]
    batch_size: int
    queue_s: float
    forward_s: float


@dataclass(frozen=True)
class ExplainCall:
    """A prediction to explain.

    Attributes
    ----------
    smiles : str
        As it was sent.
    unit : RepeatUnit
        What it is.
    polymer : FeaturizedPolymer
        By the scheme of the property.
    property_id : str
        The property.
    passes : int or None
        Most subsets of bonds that are computed.
    has_drawing : bool
        Whether the reply holds a drawing.
    deadline : float
        Seconds since the epoch; then the work is dropped.
    """

    smiles: str
    unit: RepeatUnit
    polymer: FeaturizedPolymer
    property_id: str
    passes: int | None
    has_drawing: bool
    deadline: float


@dataclass(frozen=True)
class ExplainReply:
    """An explanation.

    Attributes
    ----------
    explanation : Explanation
        The values.
    drawing : str or None
        As SVG; None unless it was asked for, and where nothing can be drawn.
    """

    explanation: Explanation
    drawing: str | None = None


class Backend(Protocol):
    """What featurizes, draws and predicts; raises nothing but PerioGTError."""

    async def parse(self, smiles: str) -> RepeatUnit:
        """Validate a long SMILES away from the event loop."""

    async def draw(self, unit: RepeatUnit, theme: Theme) -> str:
        """Draw a repeat unit as SVG in another process: even in a thread RDKit would hold up the event loop."""

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        """Compute the features of a polymer."""

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer tasks."""

    async def explain(self, call: ExplainCall) -> ExplainReply:
        """Explain a prediction, without holding up predictions."""
