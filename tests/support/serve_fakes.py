"""Stand-ins for what is behind the routes, which record what they are asked."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from periogt_ray.errors import PerioGTError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.drawing import Theme, draw
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.calls import ExplainCall, ExplainReply, PredictCall, PredictReply
from periogt_ray.serve.explaining import ExplanationRunner
from periogt_ray.settings import ServiceSettings, Settings
from support.golden import ARTIFACTS

KEY = "a-key-of-32-characters-0123456789"
STYRENE = "*CC(*)c1ccccc1"


def settings_with(api_key: str | None = None, **bounds: object) -> Settings:
    return Settings(
        base_dir=Path("/nonexistent"),
        checkpoint_dir=ARTIFACTS,
        results_dir=Path("/nonexistent"),
        device="cpu",
        host="127.0.0.1",
        api_key=api_key,
        service=ServiceSettings(**bounds),  # type: ignore[arg-type]
    )


@dataclass
class RecordedFigures:
    requests: list[tuple[str, str]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    lookups: list[bool] = field(default_factory=list)

    def request(self, route: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((route, outcome))

    def stage(self, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages.append(stage)

    def batch(self, size: int) -> None:
        self.batches.append(size)

    def cache(self, *, is_hit: bool) -> None:
        self.lookups.append(is_hit)


class InProcessBackend:
    """The real featurizer and predictor, without Ray."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.parsed: list[str] = []
        self.drawn: list[str] = []
        self.featurized: Counter[str] = Counter()
        self.calls: list[PredictCall] = []
        self.explained: list[ExplainCall] = []

    async def parse(self, smiles: str) -> RepeatUnit:
        self.parsed.append(smiles)
        return RepeatUnit.parse(smiles)

    async def draw(self, unit: RepeatUnit, theme: Theme) -> str:
        self.drawn.append(f"{unit.smiles} {theme}")
        return draw(unit, theme=theme)

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        assert deadline > time.time()
        self.featurized[unit.smiles] += 1
        return featurize(unit, scheme)

    async def predict(self, call: PredictCall) -> PredictReply:
        self.calls.append(call)
        return PredictReply(tuple(self._predictor.predict_many(call.tasks)), batch_size=1, queue_s=0.0, forward_s=0.001)

    async def explain(self, call: ExplainCall) -> ExplainReply:
        self.explained.append(call)
        reply = await ExplanationRunner(self._predictor, asyncio.Lock()).explain(call)
        if isinstance(reply, PerioGTError):
            raise reply
        return reply


class HeldBackend(InProcessBackend):
    """Featurizes only once it is let go."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self.let_go = asyncio.Event()
        self.n_cancelled = 0

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        return await super().featurize(unit, scheme, deadline=deadline)


class RecordingPredictor:
    """Takes a fixed time for a pass, as a GPU does, and records how many tasks shared it."""

    def __init__(self, forward_s: float = 0.0, bug: str | None = None) -> None:
        self.batches: list[int] = []
        self.n_at_once = 0
        self._forward_s = forward_s
        self._bug = bug

    def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]:
        self.n_at_once += 1
        assert self.n_at_once == 1, "two passes at a time"
        self.batches.append(len(tasks))
        time.sleep(self._forward_s)
        self.n_at_once -= 1
        if self._bug in [task.property_id for task in tasks]:
            raise ZeroDivisionError("a bug at /srv/secret")
        # Each outcome tells its task, so that a mix-up shows.
        return [Outcome(value=float(len(task.polymer.smiles)), checkpoint=task.polymer.smiles) for task in tasks]
