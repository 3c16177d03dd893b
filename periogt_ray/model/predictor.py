"""From featurized polymers to predictions and embeddings.

One polymer costs a prompt pass of the pretrained network over all its prompt graphs and, for each
property, a head pass of that property's finetuned network over its own graph. A copolymer costs a prompt pass of each
monomer that was not computed lately, and a head pass over the graph of both (``composite_passes``).
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo, check_kind
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import GPUOutOfMemoryError, PerioGTError
from periogt_ray.model.composite_answers import no_embedding, not_finite
from periogt_ray.model.composite_passes import (
    CompositeInput,
    MonomerInput,
    MonomerPrompts,
    composite_input,
    monomer_input,
    monomers_of,
)
from periogt_ray.model.device import choose_device, probe_device
from periogt_ray.model.head_networks import HeadNetworks
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.model.passes import HeadInput, PassInput, made_ahead, pass_input
from periogt_ray.model.plausibility import polymer_warnings
from periogt_ray.model.precision import Precision, arithmetic
from periogt_ray.model.prompts import MonomerKey, finished, monomer_key
from periogt_ray.model.tasks import Outcome, Task, shortest
from periogt_ray.model.trust import Judges
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import Featurized, FeaturizedComposite, featurized_kind
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.settings import Settings

__all__ = ["HeldNetworks", "Predictor"]

logger = logging.getLogger(__name__)


class _Pack(NamedTuple):
    """Polymers that share a pass."""

    polymers: list[Featurized]
    indices: list[int]  # of the tasks that ask for them
    unknown: list[FeaturizedPolymer]  # repeat units of composites whose prompts have to be computed


class _Encoded(NamedTuple):
    """Result of the prompt pass."""

    states: Tensor  # [T, D]
    embeddings: Tensor | None  # [polymers, 3D], of homopolymers


class _Started(NamedTuple):
    """A pass that a card may still compute."""

    given: PassInput | CompositeInput
    embeddings: Tensor | None  # [polymers, 3D], of homopolymers
    values: dict[str, Tensor]  # normalized, of the polymers that each property is asked of
    errors: dict[str, PerioGTError]  # by property


class _Known(NamedTuple):
    """The answers of a pass that was split, or that found no room."""

    outcomes: list[Outcome]


_Answers = _Started | _Known


class HeldNetworks(NamedTuple):
    """What computes one property, for as long as a predictor is held."""

    encoder: PerioGTEncoder
    members: list[PerioGTRegressor]
    scaler: Scaler
    statistics: LabelStats


class _Predicted(NamedTuple):
    """A value in the property's unit, and the standard deviation over its members."""

    value: float
    spread: float


class Predictor:
    """A pretrained network and the finetuned networks that share it.

    Finetuned networks are loaded on first use and stay within a memory budget, the least recently
    used going first. One thread at a time predicts.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        Where the weights are.
    device : torch.device
        Where the networks run.
    weights_bytes : int
        Memory for finetuned networks; at least one is always kept.
    packing : Packing, optional
        How polymers share a pass.
    precision : Precision
        Of linear layers on a GPU.
    """

    def __init__(
        self,
        artifacts: ArtifactDirectory,
        device: torch.device,
        *,
        weights_bytes: int = 8 << 30,
        packing: Packing | None = None,
        precision: Precision = Precision.EXACT,
    ) -> None:
        self.artifacts = artifacts
        self.device = device
        self.precision = precision
        self._scaler: Scaler = artifacts.scaler()
        self._encoder: PerioGTEncoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder).to(device)
        width = self._encoder.sizes.width
        self.packing = packing or Packing.for_device(device, width=width)
        self._heads = HeadNetworks(artifacts, device, width=width, max_bytes=weights_bytes)
        self._judges = Judges(artifacts)
        self._monomers = MonomerPrompts(self._encoder, self._monomer_inputs, device=device)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, settings: Settings) -> "Predictor":
        """Load the pretrained network on the device that the settings ask for.

        Raises
        ------
        CheckpointMissingError, ChecksumMismatchError, ModelLoadError
            If an artifact is absent or corrupt; absence is told before anything is loaded.
        CudaUnavailableError, GPUUnsupportedError, DriverIncompatibleError
            If CUDA was asked for and cannot be used.
        """
        return cls.of(ArtifactDirectory.of_settings(settings), settings)

    @classmethod
    def of(cls, artifacts: ArtifactDirectory, settings: Settings) -> "Predictor":
        """Load the pretrained network of artifacts that are open already; raises as :meth:`load`."""
        choice = choose_device(settings.device, probe_device(), min_driver=settings.min_driver)
        if choice.warning:
            logger.warning("%s", choice.warning)
        device = torch.device(choice.device)
        precision = Precision(settings.precision)
        predictor = cls(artifacts, device, weights_bytes=settings.weights_bytes, precision=precision)
        how = f" in {precision} precision" if choice.device == "cuda" else ""
        logger.info("%s: encoder %s on %s%s", artifacts.name, artifacts.encoder, choice.device, how)
        return predictor

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding, 3D."""
        return 3 * self._encoder.sizes.width

    def scheme(self, property_id: str | None) -> PromptScheme:
        """Return the scheme to featurize a polymer with; embeddings do not depend on it.

        Raises
        ------
        UnsupportedPropertyError, CheckpointMissingError
            If the property cannot be served.
        """
        if property_id is None:
            return self.artifacts.embedding_scheme
        return self.artifacts.property(property_id).prompt_scheme

    @contextmanager
    def held(self, property_id: str, polymer: FeaturizedPolymer) -> Iterator[HeldNetworks]:
        """Hold the predictor and lend the networks of a property, in the arithmetic of predictions.

        Raises
        ------
        PerioGTError
            If the property cannot be predicted of such a polymer.
        """
        with self._lock, torch.inference_mode(), _one_thread(), arithmetic(self.precision, self.device):
            info = self._info(property_id, [polymer])
            statistics = self.artifacts.label_stats(info.id)
            yield HeldNetworks(self._encoder, self._heads.get(info), self._scaler, statistics)

    def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Answer tasks together.

        A polymer's prompt pass is run once however many tasks ask for it. An answer does not depend
        on what else is asked (see the tests for how exactly). On a GPU the tensors of the next passes are made while
        the card computes, and answers are read once the pass after theirs is under way.

        Returns
        -------
        list of Outcome
            One a task, in order. Only what a user can act on becomes an outcome; anything else is raised.
        """
        answers: list[list[Outcome]] = []
        with self._lock, torch.inference_mode(), _one_thread(), arithmetic(self.precision, self.device):
            packs = self._packs(tasks)
            prepared = made_ahead(
                lambda pack: self._prepare(pack.polymers, [tasks[i] for i in pack.indices], unknown=pack.unknown),
                packs,
                n_ahead=self.packing.n_ahead,
            )
            under_way: list[_Answers] = []
            for given in prepared:
                under_way.append(self._start_or_split(given))
                if len(under_way) > (self.packing.n_ahead > 0):
                    answers.append(self._read(under_way.pop(0)))
            answers += [self._read(started) for started in under_way]
        outcomes: dict[int, Outcome] = {}
        for pack, found in zip(packs, answers, strict=True):
            outcomes |= zip(pack.indices, found, strict=True)
        return [outcomes[i] if i in outcomes else Outcome(error=no_embedding()) for i in range(len(tasks))]

    def _packs(self, tasks: Sequence[Task]) -> list[_Pack]:
        """Gather what shares a pass; tasks of an embedding that there is not are in none."""
        asked: dict[tuple[InputKind, PromptScheme, str], list[int]] = {}
        for index, task in enumerate(tasks):
            kind = featurized_kind(task.polymer)
            if kind is InputKind.HOMOPOLYMER or not task.wants_embedding:
                asked.setdefault((kind, task.polymer.scheme, task.polymer.key), []).append(index)
        homopolymers: list[tuple[FeaturizedPolymer, list[int]]] = []
        composites: dict[tuple[InputKind, PromptScheme], list[tuple[FeaturizedComposite, list[int]]]] = {}
        for (kind, scheme, _), indices in asked.items():
            polymer = tasks[indices[0]].polymer
            if isinstance(polymer, FeaturizedPolymer):
                homopolymers.append((polymer, indices))
            else:
                composites.setdefault((kind, scheme), []).append((polymer, indices))
        packs = [
            _Pack([homopolymers[i][0] for i in chosen], [index for i in chosen for index in homopolymers[i][1]], [])
            for chosen in self.packing.passes([polymer for polymer, _ in homopolymers])
        ]
        for members in composites.values():
            packs += self._composite_packs(members)
        return packs

    def _composite_packs(self, members: Sequence[tuple[FeaturizedComposite, list[int]]]) -> Iterator[_Pack]:
        """Yield what shares a head pass; a monomer's prompts are computed with the first pass that holds it."""
        planned: set[MonomerKey] = set()
        for chosen in self.packing.composite_passes([polymer for polymer, _ in members]):
            polymers = [members[i][0] for i in chosen]
            unknown = [
                monomer
                for monomer in monomers_of(polymers)
                if monomer_key(monomer) not in planned and not self._monomers.is_kept(monomer)
            ]
            planned.update(map(monomer_key, unknown))
            yield _Pack([*polymers], [index for i in chosen for index in members[i][1]], unknown)

    def _prepare(
        self, polymers: Sequence[Featurized], tasks: Sequence[Task], *, unknown: Sequence[FeaturizedPolymer] = ()
    ) -> PassInput | CompositeInput:
        """Lay out a pass, of homopolymers or of composites; without a network, in a thread."""
        max_padding = self.packing.max_padding
        given: PassInput | CompositeInput
        if composites := [polymer for polymer in polymers if not isinstance(polymer, FeaturizedPolymer)]:
            prompts = self._monomer_inputs(unknown)
            given = composite_input(composites, tasks, self._scaler, max_padding=max_padding, prompts=prompts)
        else:
            homopolymers = [polymer for polymer in polymers if isinstance(polymer, FeaturizedPolymer)]
            given = pass_input(homopolymers, tasks, self._scaler, max_padding=max_padding)
        return given.pinned() if self.device.type == "cuda" else given

    def _monomer_inputs(self, monomers: Sequence[FeaturizedPolymer]) -> Iterator[MonomerInput]:
        for chosen in self.packing.passes(monomers):
            yield monomer_input([monomers[i] for i in chosen], self._scaler, max_padding=self.packing.max_padding)

    def _start_or_split(self, given: PassInput | CompositeInput) -> _Answers:
        """Start a pass; where memory is short, in two halves."""
        try:
            return self._start(given)
        except torch.cuda.OutOfMemoryError:
            # The exception holds the frames whose tensors fill the memory, so go on outside.
            pass
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        polymers, tasks = given.polymers, given.tasks
        if len(polymers) == 1:
            error = GPUOutOfMemoryError(
                f"The polymer {polymers[0].smiles!r} ({polymers[0].n_triplets} graph nodes) does not fit into the "
                "GPU's memory on its own. Use a larger GPU or PERIOGT_DEVICE=cpu."
            )
            return _Known([Outcome(error=error)] * len(tasks))
        logger.warning("out of GPU memory with %d polymers in a pass: splitting", len(polymers))
        outcomes: dict[int, Outcome] = {}
        half = len(polymers) // 2
        for chosen in (range(half), range(half, len(polymers))):
            members = [index for index, row in enumerate(given.rows) if row in chosen]
            part = self._prepare([polymers[row] for row in chosen], [tasks[index] for index in members])
            outcomes |= zip(members, self._read(self._start_or_split(part)), strict=True)
        return _Known([outcomes[index] for index in range(len(tasks))])

    def _start(self, given: PassInput | CompositeInput) -> _Started:
        """Start the prompt pass, then one head pass for each property."""
        encoded = self._encoded(given)
        values: dict[str, Tensor] = {}
        errors: dict[str, PerioGTError] = {}
        on_device: dict[tuple[int, ...], HeadInput] = {}
        for property_id in given.properties:
            positions = given.positions(property_id)
            try:
                info = self._info(property_id, [given.polymers[row] for row in positions])
                networks = self._heads.get(info)
            except PerioGTError as error:
                errors[property_id] = error
                continue
            if positions not in on_device:
                on_device[positions] = given.heads[positions].to(self.device)
            states = finished(encoded.states, info.prompt_scheme)
            values[property_id] = self._head_pass(networks, on_device[positions], states)
        return _Started(given, encoded.embeddings, values, errors)

    def _read(self, answers: _Answers) -> list[Outcome]:
        """Wait for a pass and return one outcome a task."""
        if isinstance(answers, _Known):
            return answers.outcomes
        given, errors = answers.given, answers.errors
        embeddings = None if answers.embeddings is None else answers.embeddings.cpu().numpy()
        values: dict[tuple[str, int], _Predicted] = {}
        for property_id, normalized in answers.values.items():
            found = self._in_units(property_id, normalized.cpu().numpy())
            values |= {(property_id, row): one for row, one in zip(given.positions(property_id), found, strict=True)}
        return [
            self._outcome(task, values, errors, row=row, embedding=None if embeddings is None else embeddings[row])
            for row, task in zip(given.rows, given.tasks, strict=True)
        ]

    def _encoded(self, given: PassInput | CompositeInput) -> _Encoded:
        """Run the pretrained network over all prompt graphs of all polymers, or of monomers that are not known."""
        if isinstance(given, CompositeInput):
            return _Encoded(self._monomers.states(given), None)
        batch = given.prompt_batch.to(self.device)
        states = self._encoder(batch)
        own = torch.from_numpy(given.own_graphs).to(self.device)
        return _Encoded(states, self._encoder.readout(states, batch)[own])

    def _head_pass(self, networks: Sequence[PerioGTRegressor], head: HeadInput, states: Tensor) -> Tensor:
        """Return the normalized property of a head's polymers by each member, float32 [members, polymers]."""
        # Members are computed one after the other, so a polymer's mean has the same bits in every pass.
        return torch.stack([network.predict(head.batch, states, head.prompts) for network in networks])

    def _in_units(self, property_id: str, normalized: np.ndarray) -> list[_Predicted]:
        """Return the property of polymers: the mean over its members, and their spread."""
        statistics = self.artifacts.label_stats(property_id)
        members = normalized.astype(np.float64)
        values = statistics.values(members.mean(axis=0)).astype(np.float32)
        spreads = statistics.values(members).std(axis=0)
        return [_Predicted(shortest(value), float(spread)) for value, spread in zip(values, spreads, strict=True)]

    def _info(self, property_id: str, polymers: Sequence[Featurized]) -> PropertyInfo:
        """Return what is known of a property; ValueError where polymers were featurized by another scheme."""
        info = self.artifacts.property(property_id)
        check_kind(info, featurized_kind(polymers[0]))
        if any(polymer.scheme != info.prompt_scheme for polymer in polymers):
            raise ValueError(f"{property_id} needs polymers featurized by the scheme {info.prompt_scheme.name!r}")
        self.artifacts.label_stats(property_id)  # absent statistics are told before anything is computed
        return info

    def _outcome(
        self,
        task: Task,
        values: Mapping[tuple[str, int], _Predicted],
        errors: Mapping[str, PerioGTError],
        *,
        row: int,
        embedding: np.ndarray | None,
    ) -> Outcome:
        if task.wants_embedding and embedding is not None and not np.isfinite(embedding).all():
            return Outcome(error=not_finite(task.polymer, "embedding"))
        shown = embedding if task.wants_embedding else None
        if task.property_id is None:
            warnings = (*task.warnings, *polymer_warnings(task.polymer.smiles))
            return Outcome(checkpoint=self.artifacts.encoder, embedding=shown, warnings=warnings)
        if task.property_id in errors:
            return Outcome(error=errors[task.property_id])
        value, spread = values[task.property_id, row]
        if not np.isfinite(value):
            return Outcome(error=not_finite(task.polymer, task.property_id))
        info = self.artifacts.property(task.property_id)
        try:
            said = self._judges.judge(
                info, value, polymer=task.polymer, embedding=embedding, spread=spread, level=task.level
            )
        except PerioGTError as error:
            return Outcome(error=error)
        return Outcome(
            value=value,
            units=info.units,
            checkpoint=info.checkpoint,
            embedding=shown,
            warnings=(*task.warnings, *said.warnings),
            spread=spread,
            interval=said.interval,
            domain=said.domain,
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from splitting a product among threads.

    How it splits depends on the number of rows and of cores, and with it the rounding. Cores are
    used by running one predictor on each.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
