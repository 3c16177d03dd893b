"""From featurized polymers to predictions and embeddings.

One polymer costs a prompt pass of the pretrained network over all its prompt graphs and, for each
property, a head pass of that property's finetuned network over its own graph. A copolymer costs a prompt pass of each
monomer that was not computed lately, and a head pass over the graph of both (``composite_passes``).
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo, check_kind
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.errors import GPUOutOfMemoryError, InternalError, PerioGTError
from periogt_ray.model.collate import collate, collate_prompts
from periogt_ray.model.composite_answers import CompositeAnswers
from periogt_ray.model.composite_network import load_head
from periogt_ray.model.composite_passes import CompositePasses
from periogt_ray.model.device import choose_device, probe_device
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder
from periogt_ray.model.plausibility import polymer_warnings, value_warnings
from periogt_ray.model.prompts import FinishedPrompts, finished, path_origins, prompt_rows
from periogt_ray.model.tasks import Outcome, Task, shortest
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import FeaturizedComposite
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.settings import Settings

__all__ = ["Packing", "Predictor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packing:
    """How polymers share a pass.

    Attributes
    ----------
    max_nodes : int
        Most nodes, padding aside, in one pass; a larger polymer goes alone.
    max_padding : float
        Largest share of padding nodes among graphs that share an attention.
    """

    max_nodes: int
    max_padding: float

    @classmethod
    def for_device(cls, device: torch.device) -> "Packing":
        """Return the sizes for a device: without padding on a CPU, as measured; a GPU's are not measured yet."""
        return cls(max_nodes=16384, max_padding=0.15) if device.type == "cuda" else cls(2048, 0.0)

    def passes(self, polymers: Sequence[FeaturizedPolymer]) -> Iterator[list[int]]:
        """Yield positions of polymers that share a pass, largest polymers first."""
        together: list[int] = []
        n_nodes = 0
        for position in sorted(range(len(polymers)), key=lambda index: -polymers[index].n_triplets):
            cost = polymers[position].n_triplets
            if together and n_nodes + cost > self.max_nodes:
                yield together
                together, n_nodes = [], 0
            together.append(position)
            n_nodes += cost
        if together:
            yield together


class _HeadNetworks:
    """The finetuned networks, loaded on first use; the least recently used ones go when memory is full.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        Where the weights are.
    device : torch.device
        Where the networks run.
    width : int
        Width of the encoder, which theirs has to equal.
    max_bytes : int
        Memory for all of them; one is always kept.
    """

    def __init__(self, artifacts: ArtifactDirectory, device: torch.device, *, width: int, max_bytes: int) -> None:
        self._artifacts = artifacts
        self._device = device
        self._width = width
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[str, PerioGTRegressor] = OrderedDict()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Properties whose networks are in memory, the least recently used one first."""
        return tuple(self._loaded)

    def get(self, info: PropertyInfo) -> PerioGTRegressor:
        """Return the network of a property.

        Raises
        ------
        CheckpointMissingError, ModelLoadError
            If its weights are absent or cannot be used.
        InternalError
            If it does not belong to the encoder.
        """
        if info.id in self._loaded:
            self._loaded.move_to_end(info.id)
            return self._loaded[info.id]
        network = load_head(info.family, self._artifacts.property_state_dict(info.id), info.checkpoint)
        if network.sizes.width != self._width:
            raise InternalError(
                f"{info.checkpoint} has width {network.sizes.width}, the encoder {self._width}; "
                "they are not of one release."
            )
        needed = _n_bytes(network)
        while self._loaded and needed + sum(map(_n_bytes, self._loaded.values())) > self._max_bytes:
            dropped, _ = self._loaded.popitem(last=False)
            logger.info("dropped the weights of %s to make room for %s", dropped, info.id)
        self._loaded[info.id] = network.to(self._device)
        return self._loaded[info.id]


class _Encoded(NamedTuple):
    """Result of the prompt pass for one pack."""

    states: Tensor  # [T, D]
    first_nodes: list[np.ndarray]  # of each polymer's prompt graphs
    embeddings: np.ndarray  # float32 [polymers, 3D]


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
    """

    def __init__(
        self,
        artifacts: ArtifactDirectory,
        device: torch.device,
        *,
        weights_bytes: int = 8 << 30,
        packing: Packing | None = None,
    ) -> None:
        self.artifacts = artifacts
        self.device = device
        self.packing = packing or Packing.for_device(device)
        self._scaler: Scaler = artifacts.scaler()
        self._encoder: PerioGTEncoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder).to(device)
        width = self._encoder.sizes.width
        self._heads = _HeadNetworks(artifacts, device, width=width, max_bytes=weights_bytes)
        passes = CompositePasses(
            self._finished_prompts,
            self.packing.passes,
            scaler=self._scaler,
            device=device,
            max_nodes=self.packing.max_nodes,
            max_padding=self.packing.max_padding,
        )
        self._composites = CompositeAnswers(artifacts, passes, network_of=self._heads.get)
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
        artifacts = ArtifactDirectory.open(settings.checkpoint_dir)
        choice = choose_device(settings.device, probe_device(), min_driver=settings.min_driver)
        if choice.warning:
            logger.warning("%s", choice.warning)
        predictor = cls(artifacts, torch.device(choice.device), weights_bytes=settings.weights_bytes)
        logger.info("%s: encoder %s on %s", artifacts.name, artifacts.encoder, choice.device)
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

    def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Answer tasks together.

        A polymer's prompt pass is run once however many tasks ask for it. An answer does not depend
        on what else is asked (see the tests for how exactly).

        Returns
        -------
        list of Outcome
            One a task, in order. Only what a user can act on becomes an outcome; anything else is raised.
        """
        asked: dict[tuple[str, PromptScheme], list[int]] = {}
        polymers: list[FeaturizedPolymer] = []
        composite: dict[str | None, list[tuple[int, FeaturizedComposite]]] = {}
        for index, task in enumerate(tasks):
            if not isinstance(task.polymer, FeaturizedPolymer):
                composite.setdefault(task.property_id, []).append((index, task.polymer))
                continue
            key = (task.polymer.smiles, task.polymer.scheme)
            if key not in asked:
                polymers.append(task.polymer)
            asked.setdefault(key, []).append(index)
        outcomes: dict[int, Outcome] = {}
        groups = list(asked.values())
        with self._lock, torch.inference_mode(), _one_thread():
            for property_id, members in composite.items():
                outcomes |= self._composites.outcomes(property_id, members, tasks)
            for pack in self.packing.passes(polymers):
                indices = [index for position in pack for index in groups[position]]
                answers = self._answer_or_split([polymers[position] for position in pack], [tasks[i] for i in indices])
                outcomes |= zip(indices, answers, strict=True)
        return [outcomes[index] for index in range(len(tasks))]

    def _answer_or_split(self, polymers: Sequence[FeaturizedPolymer], tasks: Sequence[Task]) -> list[Outcome]:
        """Answer the tasks of a pack; where memory is short, in two halves."""
        try:
            return self._answer(polymers, tasks)
        except torch.cuda.OutOfMemoryError:
            # The exception holds the frames whose tensors fill the memory, so go on outside.
            pass
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(polymers) == 1:
            error = GPUOutOfMemoryError(
                f"The polymer {polymers[0].smiles!r} ({polymers[0].n_triplets} graph nodes) does not fit into the "
                "GPU's memory on its own. Use a larger GPU or PERIOGT_DEVICE=cpu."
            )
            return [Outcome(error=error)] * len(tasks)
        logger.warning("out of GPU memory with %d polymers in a pass: splitting", len(polymers))
        outcomes: dict[int, Outcome] = {}
        for half in (polymers[: len(polymers) // 2], polymers[len(polymers) // 2 :]):
            keys = {(polymer.smiles, polymer.scheme) for polymer in half}
            members = [i for i, task in enumerate(tasks) if (task.polymer.smiles, task.polymer.scheme) in keys]
            outcomes |= zip(members, self._answer_or_split(half, [tasks[i] for i in members]), strict=True)
        return [outcomes[index] for index in range(len(tasks))]

    def _answer(self, polymers: Sequence[FeaturizedPolymer], tasks: Sequence[Task]) -> list[Outcome]:
        """Run the prompt pass, then one head pass for each property."""
        position = {(polymer.smiles, polymer.scheme): index for index, polymer in enumerate(polymers)}
        rows = [position[task.polymer.smiles, task.polymer.scheme] for task in tasks]
        encoded = self._prompt_pass(polymers)
        values: dict[tuple[str, int], float] = {}
        errors: dict[str, PerioGTError] = {}
        for property_id in dict.fromkeys(task.property_id for task in tasks if task.property_id is not None):
            needed = sorted({row for row, task in zip(rows, tasks, strict=True) if task.property_id == property_id})
            try:
                found = self._head_pass(property_id, [polymers[row] for row in needed], encoded, needed)
            except PerioGTError as error:
                errors[property_id] = error
                continue
            values |= {(property_id, row): shortest(value) for row, value in zip(needed, found, strict=True)}
        return [
            self._outcome(task, values, errors, row=row, embedding=encoded.embeddings[row])
            for row, task in zip(rows, tasks, strict=True)
        ]

    def _prompt_pass(self, polymers: Sequence[FeaturizedPolymer]) -> _Encoded:
        """Run the pretrained network over all prompt graphs of all polymers."""
        graphs = [graph for polymer in polymers for graph in polymer.graphs]
        scaled = [{n: self._scaler.transform(f.descriptors) for n, f in p.oligomers.items()} for p in polymers]
        batch = collate(
            graphs,
            [polymer.oligomers[n].fingerprint for polymer in polymers for n in polymer.n_units],
            [values[n] for polymer, values in zip(polymers, scaled, strict=True) for n in polymer.n_units],
            max_padding=self.packing.max_padding,
            path_origins=path_origins(polymers),
        )
        on_device = batch.to(self.device)
        states = self._encoder(on_device)
        ends = np.cumsum([len(polymer.graphs) for polymer in polymers])
        own = torch.from_numpy(ends - [len(polymer.graphs) for polymer in polymers]).to(self.device)
        embeddings = self._encoder.readout(states, on_device)[own]
        return _Encoded(states, np.split(batch.first_nodes, ends[:-1]), embeddings.cpu().numpy())

    def _head_pass(
        self, property_id: str, polymers: Sequence[FeaturizedPolymer], encoded: _Encoded, positions: Sequence[int]
    ) -> np.ndarray:
        """Return the property of polymers, float32 [polymers], in the property's unit."""
        info = self.artifacts.property(property_id)
        check_kind(info, InputKind.HOMOPOLYMER)
        if any(polymer.scheme != info.prompt_scheme for polymer in polymers):
            raise ValueError(f"{property_id} needs polymers featurized by the scheme {info.prompt_scheme.name!r}")
        statistics = self.artifacts.label_stats(property_id)
        network = self._heads.get(info)
        counts, rows = [], []
        for polymer, position in zip(polymers, positions, strict=True):
            count, row = prompt_rows(polymer, encoded.first_nodes[position])
            counts.append(count)
            rows.append(row)
        batch = collate(
            [polymer.graphs[0] for polymer in polymers],
            [polymer.oligomers[1].fingerprint for polymer in polymers],
            [self._scaler.transform(polymer.oligomers[1].descriptors) for polymer in polymers],
            max_padding=self.packing.max_padding,
        )
        prompts = collate_prompts(counts, rows, batch.first_nodes)
        states = finished(encoded.states, info.prompt_scheme)
        normalized = network.predict(batch.to(self.device), states, prompts.to(self.device))
        values = normalized.cpu().numpy().astype(np.float64) * statistics.std + statistics.mean
        return values.astype(np.float32)

    def _finished_prompts(self, polymers: Sequence[FeaturizedPolymer]) -> list[FinishedPrompts]:
        """Run the prompt pass over repeat units, and keep of it what a head pass needs."""
        encoded = self._prompt_pass(polymers)
        made = []
        for polymer, starts in zip(polymers, encoded.first_nodes, strict=True):
            counts, rows = prompt_rows(polymer, starts)
            states = encoded.states[torch.from_numpy(rows).to(self.device)]
            made.append(FinishedPrompts(counts, finished(states, polymer.scheme)))
        return made

    def _outcome(
        self,
        task: Task,
        values: Mapping[tuple[str, int], float],
        errors: Mapping[str, PerioGTError],
        *,
        row: int,
        embedding: np.ndarray,
    ) -> Outcome:
        if task.wants_embedding and not np.isfinite(embedding).all():
            return Outcome(error=_not_finite(task.polymer.smiles, "embedding"))
        shown = embedding if task.wants_embedding else None
        warnings = (*task.warnings, *polymer_warnings(task.polymer.smiles))
        if task.property_id is None:
            return Outcome(checkpoint=self.artifacts.encoder, embedding=shown, warnings=warnings)
        if task.property_id in errors:
            return Outcome(error=errors[task.property_id])
        value = values[task.property_id, row]
        if not np.isfinite(value):
            return Outcome(error=_not_finite(task.polymer.smiles, task.property_id))
        info = self.artifacts.property(task.property_id)
        return Outcome(
            value=value,
            units=info.units,
            checkpoint=info.checkpoint,
            embedding=shown,
            warnings=(*warnings, *value_warnings(info, value)),
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


def _n_bytes(network: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _not_finite(smiles: str, what: str) -> InternalError:
    return InternalError(
        f"The network's {what} for {smiles!r} is not a finite number; it is far outside what the network knows."
    )
