"""Takes a request from its questions to their outcomes; knows neither HTTP nor Ray.

The service validates, looks into the feature cache, has polymers featurized and predicted by a
:class:`~periogt_ray.serve.calls.Backend`, and bounds the polymers in work.

This is the one list of the places where something waits, in the order in which a request passes them. The waits
4 to 15 end at the request's deadline (``PERIOGT_TIMEOUT_S``) or when its client leaves; what has not begun then is
dropped, unless another request waits for it, too. Bounds are those of the whole service, but for 2, 4 and 6, which
are those of one request.

1. Connections, in the kernel (``serve/ingress.py``): 4096, a constant. A burst of clients is not refused; nor are
   they while another ingress takes the place of one that was lost, as ``periogt serve`` holds the socket, too
   (``runtime/shared_socket.py``). Ingresses stand in line for it: only one has connections, and so the places below.
2. The head of a request (``serve/http/head_limits.py``): 64 KB and 20 s, constants. An endless head would hold
   up every other client.
3. Requests by way of Serve's proxy, in Serve (``serve/application.py``; ``periogt serve`` has no proxy): 10 000 at
   a time, a constant, so that none waits: the service itself refuses, and health must not wait behind predictions.
4. The body of a request (``serve/http/gate.py``): ``PERIOGT_MAX_BODY_KB``. It arrives as fast as the client sends.
5. Admission (:meth:`Service.answer`): nothing waits; beyond ``PERIOGT_MAX_QUEUE`` polymers a request is refused as
   overloaded. This bounds every place below, except for long SMILES that are to be parsed, which 9 bounds.
6. The polymers of one request (:meth:`Service.answer`): ``FEATURIZING_EACH`` for each of ``PERIOGT_FEATURIZERS``
   go on at a time. Otherwise a request of 100 polymers would stand in line at 8 before all others.
7. Requests for a polymer that is being featurized (``serve/feature_cache.py``): until it is done. It is computed
   once.
8. Polymers, in line for featurizers (``serve/backend.py``): ``FEATURIZING_EACH`` for each of
   ``PERIOGT_FEATURIZERS`` are handed on, in order of arrival; drawings have a line of their own, one for each.
   Serve's own queue is no substitute: while all replicas are taken it asks again at growing intervals, and a
   featurizer that becomes free stays idle meanwhile.
9. Calls to featurizers, in Serve (``serve/application.py``): twice ``FEATURIZING_EACH`` at each, twice
   ``PERIOGT_MAX_QUEUE`` in all. Only long SMILES wait here, and calls that meet a full featurizer by chance.
10. The lock of a featurizer (``serve/featurizer_replica.py``): one polymer at a time. Serve runs calls in threads,
    and two at a time on one core would each take twice as long.
11. Calls, in front of the batcher (``serve/batcher.py``): while two passes for each of ``PERIOGT_PREDICTORS`` are
    on their way. So calls gather while predictors work, and the next pass takes many of them.
12. Calls, in ``serve.batch`` (``serve/batcher.py``): until ``PERIOGT_MAX_BATCH`` are together, at most
    ``PERIOGT_BATCH_WAIT_MS``, and not at all while no pass is on its way. Calls that arrive meanwhile share a pass.
13. Passes, in Serve (``serve/application.py``): four at each predictor, twice ``PERIOGT_MAX_QUEUE`` in all. 11 lets
    fewer through, so nothing waits here unless a predictor was lost.
14. The lock of a predictor (``serve/predictor_replica.py``): one pass at a time, the next one is in its process.
15. Explanations (:meth:`Service.explain`): one at a time for each of ``PERIOGT_PREDICTORS``, and
    ``EXPLAINING_EACH`` for each are taken on; more are refused as overloaded. They are computed in groups of passes,
    and each group waits at 14 behind the passes that are there: a prediction waits for one group at most.
16. The end (``serve/ingress.py``): open requests are answered, for 60 s or ``PERIOGT_TIMEOUT_S`` at most,
    whichever is less; then connections close within 5 s.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import check_kind
from periogt_ray.errors import NotReadyError, OverloadedError, PerioGTError, RequestTimeoutError
from periogt_ray.model.explanation import check_explained
from periogt_ray.model.intervals import DEFAULT_LEVEL
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.given import GivenInput
from periogt_ray.polymer.input_features import featurized_input
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import PolymerInput, monomers_of
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.calls import Backend, ExplainCall, ExplainReply, PredictCall
from periogt_ray.serve.drawing_cache import DrawingCache
from periogt_ray.serve.feature_cache import FeatureCache, FeatureKey
from periogt_ray.serve.trace import Recorder, Trace
from periogt_ray.settings import Settings

__all__ = [
    "EXPLAINING_EACH",
    "FEATURIZING_EACH",
    "Asked",
    "Service",
    "Status",
]

# The time of canonicalisation grows faster than linearly: 2000 characters take up to half a second, these a
# few milliseconds, which is less than a call to another process.
_PARSED_HERE = 300
_DRAWING_BYTES = 8 << 20
_TaskKey: TypeAlias = tuple[str, str | None, bool, tuple[str, ...], float]
FEATURIZING_EACH = 2  # polymers for each featurizer: it works on one while the next is on its way
EXPLAINING_EACH = 4  # explanations for each predictor, in work or waiting; each takes seconds to minutes


class Asked(NamedTuple):
    """One thing that a client asks for; no property asks for the embedding alone."""

    polymer: str | GivenInput  # a SMILES, or what is more than that
    property_id: str | None = None
    return_embedding: bool = False
    level: float = DEFAULT_LEVEL

    @property
    def given(self) -> GivenInput:
        """The polymer, whatever it is."""
        return GivenInput.of_smiles(self.polymer) if isinstance(self.polymer, str) else self.polymer


class Status(Enum):
    """What the service can do."""

    LOADING = "loading"  # no predictor is loaded, or the last one was lost
    READY = "ready"
    DRAINING = "draining"  # what is open is answered, what is new refused
    FAILED = "failed"  # what is to be served cannot be read


_NEXT: Mapping[Status, frozenset[Status]] = {
    Status.LOADING: frozenset({Status.READY, Status.DRAINING, Status.FAILED}),
    Status.READY: frozenset({Status.LOADING, Status.DRAINING}),
    Status.DRAINING: frozenset(),
    Status.FAILED: frozenset({Status.DRAINING}),
}


class Service:
    """Answers what is asked.

    Parameters
    ----------
    settings : Settings
        Descriptor engine and bounds.
    backend : Backend
        What featurizes and predicts.
    recorder : Recorder
        Where figures go.

    Attributes
    ----------
    artifacts : ArtifactDirectory or None
        What is served; None until it is known.
    status : Status
        Changed by :meth:`become` only.
    device : str or None
        ``cpu`` or ``cuda``, where the model runs; None until a predictor is loaded.
    has_model : bool
        Whether a predictor is loaded; as it was last, where the service drains.
    n_open : int
        Polymers in work or waiting.
    """

    def __init__(self, settings: Settings, backend: Backend, recorder: Recorder) -> None:
        self._engine = settings.descriptor_engine
        self._bounds = settings.service
        self._backend = backend
        self.recorder = recorder
        self.cache = FeatureCache(settings.service.cache_bytes)
        self.artifacts: ArtifactDirectory | None = None
        self.status = Status.LOADING
        self.device: Literal["cpu", "cuda"] | None = None
        self.has_model = False
        self.n_open = 0
        self._drawings = DrawingCache(_DRAWING_BYTES)
        self._n_explaining = 0

    @property
    def max_open(self) -> int:
        """Polymers that are taken on together; more are refused."""
        return self._bounds.max_queue

    def become(self, status: Status, *, device: Literal["cpu", "cuda"] | None = None) -> None:
        """Change the status; the status that it has already is no change.

        Parameters
        ----------
        status : Status
            LOADING and READY follow each other as predictors are lost and loaded; FAILED follows LOADING; DRAINING
            follows any of these and is the last.
        device : str, optional
            Where the model runs, with READY.

        Raises
        ------
        ValueError
            If the status cannot follow the present one.
        """
        if status is not self.status and status not in _NEXT[self.status]:
            raise ValueError(f"A service that is {self.status.value} cannot become {status.value}.")
        self.status = status
        self.device = device or self.device
        if status is not Status.DRAINING:
            self.has_model = status is Status.READY

    def known_artifacts(self) -> ArtifactDirectory:
        """Return what is served.

        Raises
        ------
        NotReadyError
            Until it is known, where it cannot be read, and once the service shuts down.
        """
        if self.status is Status.DRAINING:
            raise NotReadyError("The service is shutting down; send the request to another one, or later.")
        if self.status is Status.FAILED:
            raise NotReadyError("The service cannot read its model files; the reason is in its log.")
        if self.artifacts is None:
            raise NotReadyError("The service is starting; send the request again in a few seconds.")
        return self.artifacts

    def loaded_artifacts(self) -> ArtifactDirectory:
        """Return what is served, once the model can answer.

        Raises
        ------
        NotReadyError
            Until then, and once the service shuts down.
        """
        artifacts = self.known_artifacts()
        if self.status is not Status.READY:
            raise NotReadyError("The model is still loading; send the request again in a few seconds.")
        return artifacts

    async def answer(self, asked: Sequence[Asked], *, deadline: float, trace: Trace) -> list[Outcome]:
        """Answer requests together, equal ones once.

        Parameters
        ----------
        asked : sequence of Asked
            What is asked.
        deadline : float
            Seconds since the epoch, after which work is dropped.
        trace : Trace
            Filled in.

        Returns
        -------
        list of Outcome
            In order; errors of single polymers are outcomes.

        Raises
        ------
        NotReadyError, OverloadedError
            If nothing at all can be taken on.
        """
        artifacts = self.loaded_artifacts()
        trace.n_polymers = len(asked)
        trace.properties = sorted({one.property_id for one in asked if one.property_id is not None})
        distinct = list(dict.fromkeys(asked))
        with self._admitted(len(distinct)):
            # Place 6 of the list at the top.
            room = asyncio.Semaphore(FEATURIZING_EACH * (self._bounds.n_featurizers or 1))

            async def task(one: Asked) -> Task | PerioGTError:
                async with room:
                    return await self._task(artifacts, one, deadline, trace)

            tasks = await asyncio.gather(*map(task, distinct))
            found = await self._predicted(tasks, deadline, trace)
        outcomes = dict(zip(distinct, found, strict=True))
        return [outcomes[one] for one in asked]

    async def depict(self, smiles: str, theme: Theme) -> str:
        """Draw a repeat unit as SVG; needs no model.

        Raises
        ------
        ValidationError
            As for a prediction, and where it is too large to be drawn.
        OverloadedError
            If too much is in work.
        """
        unit = await self._parse(smiles)
        drawing = self._drawings.get(unit, theme)
        if drawing is None:
            with self._admitted(1):
                drawing = await self._backend.draw(unit, theme)
            self._drawings.put(unit, theme, drawing)
        return drawing

    async def explain(
        self,
        smiles: str,
        property_id: str,
        *,
        passes: int | None,
        has_drawing: bool,
        deadline: float,
        trace: Trace,
    ) -> ExplainReply:
        """Explain a prediction.

        Parameters
        ----------
        smiles : str
            As it was sent.
        property_id : str
            Of a property of a repeat unit.
        passes : int or None
            Most subsets of bonds that are computed.
        has_drawing : bool
            Whether the reply holds a drawing.
        deadline : float
            Seconds since the epoch, after which work is dropped.
        trace : Trace
            Filled in.

        Raises
        ------
        PerioGTError
            As for a prediction; OverloadedError also where too many explanations are in work.
        """
        info = self.loaded_artifacts().property(property_id)
        trace.n_polymers, trace.properties = 1, [info.id]
        unit = await self._parse(smiles)
        check_explained(unit, info)
        with self._admitted(1), self._explaining():
            polymer, is_hit = await self._features(unit, info.prompt_scheme, deadline)
            self.recorder.cache(is_hit=is_hit)
            trace.n_cache_hits, trace.n_triplets = int(is_hit), polymer.n_triplets
            return await self._backend.explain(
                ExplainCall(smiles, unit, polymer, info.id, passes, has_drawing, deadline)
            )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        most = EXPLAINING_EACH * (self._bounds.n_predictors or 1)
        if self._n_explaining >= most:
            raise OverloadedError(
                f"{most} explanations are in work or waiting, and no more are taken. Send the request again later."
            )
        self._n_explaining += 1
        try:
            yield
        finally:
            self._n_explaining -= 1

    @contextmanager
    def _admitted(self, n_polymers: int) -> Iterator[None]:
        if self.n_open + n_polymers > self._bounds.max_queue:
            raise OverloadedError(
                f"{self.n_open} polymers are in work or waiting; at most {self._bounds.max_queue} are taken. "
                "Send the request again later."
            )
        self.n_open += n_polymers
        try:
            yield
        finally:
            self.n_open -= n_polymers

    async def _task(
        self, artifacts: ArtifactDirectory, asked: Asked, deadline: float, trace: Trace
    ) -> Task | PerioGTError:
        """Validate and featurize; an error is the answer to this polymer alone."""
        try:
            scheme = artifacts.embedding_scheme
            given = asked.given
            if asked.property_id is not None:
                info = artifacts.property(asked.property_id)
                check_kind(info, given.kind)
                scheme = info.prompt_scheme
            read = await self._read(given)
            started = time.perf_counter()
            # Monomers one after the other, so that a request holds no more places in line than it has polymers.
            features = {unit.smiles: await self._features(unit, scheme, deadline) for unit in monomers_of(read)}
            polymer = featurized_input(read, lambda unit: features[unit.smiles][0])
            is_hit = all(was_there for _, was_there in features.values())
        except PerioGTError as error:
            return error
        seconds = time.perf_counter() - started
        self.recorder.cache(is_hit=is_hit)
        self.recorder.stage("featurize", seconds)
        trace.n_cache_hits += is_hit
        trace.featurize_s = max(trace.featurize_s, seconds)
        trace.n_triplets += polymer.n_triplets
        return Task(polymer, asked.property_id, asked.return_embedding, read.warnings, asked.level)

    async def _read(self, given: GivenInput) -> PolymerInput:
        """Validate an input; a bad monomer is named once all are parsed."""
        if given.kind is InputKind.HOMOPOLYMER:
            return await self._parse(given.cells[0])
        parsed: dict[str, RepeatUnit | PerioGTError] = {}
        for smiles in given.smiles:
            try:
                parsed[smiles] = await self._parse(smiles)
            except PerioGTError as error:
                parsed[smiles] = error

        def known(smiles: str) -> RepeatUnit:
            found = parsed[smiles]
            if isinstance(found, PerioGTError):
                raise found
            return found

        return given.read(known)

    async def _features(
        self, unit: RepeatUnit, scheme: PromptScheme, deadline: float
    ) -> tuple[FeaturizedPolymer, bool]:
        """Return features and whether they were cached; requests for the same polymer share one computation."""
        while True:
            try:
                return await self.cache.get(
                    FeatureKey(unit.smiles, scheme, self._engine),
                    lambda: self._backend.featurize(unit, scheme, deadline=deadline),
                )
            except RequestTimeoutError:
                # The deadline was that of whoever asked first.
                if time.time() >= deadline:
                    raise

    async def _parse(self, smiles: str) -> RepeatUnit:
        if _PARSED_HERE < len(smiles) <= MAX_SMILES_LENGTH:
            return await self._backend.parse(smiles)
        return RepeatUnit.parse(smiles)

    async def _predicted(self, tasks: Sequence[Task | PerioGTError], deadline: float, trace: Trace) -> list[Outcome]:
        """Have the tasks among these answered, in calls of at most as many tasks as a pass takes calls."""
        # Two spellings of a polymer are one task.
        distinct: dict[_TaskKey, Task] = {}
        for task in tasks:
            if isinstance(task, Task):
                distinct.setdefault(_task_key(task), task)
        todo = list(distinct.values())
        step = self._bounds.calls_per_pass
        calls = [PredictCall(tuple(todo[at : at + step]), deadline) for at in range(0, len(todo), step)]
        found = await asyncio.gather(*(self._call(call, trace) for call in calls))
        outcomes = dict(zip(distinct, (outcome for part in found for outcome in part), strict=True))
        return [outcomes[_task_key(task)] if isinstance(task, Task) else Outcome(error=task) for task in tasks]

    async def _call(self, call: PredictCall, trace: Trace) -> Sequence[Outcome]:
        try:
            reply = await self._backend.predict(call)
        except PerioGTError as error:
            return [Outcome(error=error)] * len(call.tasks)
        self.recorder.stage("queue", reply.queue_s)
        self.recorder.stage("forward", reply.forward_s)
        self.recorder.batch(reply.batch_size)
        trace.queue_s = max(trace.queue_s, reply.queue_s)
        trace.forward_s = max(trace.forward_s, reply.forward_s)
        trace.batch_size = max(trace.batch_size, reply.batch_size)
        return reply.outcomes


def _task_key(task: Task) -> _TaskKey:
    return task.polymer.key, task.property_id, task.return_embedding, task.warnings, task.level
