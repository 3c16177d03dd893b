"""The polymers of a data set, featurized and encoded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.errors import InternalError, ValidationError
from periogt_ray.model.network import load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import (
    Featurized,
    FeaturizedComposite,
    FeaturizedCopolymer,
    featurized_input,
    fingerprint_of,
)
from periogt_ray.polymer.input_kinds import ARCHITECTURES, RATIOS, InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import PRIVATE_DIRECTORY_MODE, make_directory
from periogt_ray.settings import Settings
from periogt_ray.training.composite_set import CompositeSet
from periogt_ray.training.dataset import Dataset, without_polymers
from periogt_ray.training.kept_prompts import KeptPrompts
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import Encoded, encode

__all__ = ["Prepared", "prepare"]


class Prepared(NamedTuple):
    """Polymers that are ready for training.

    Attributes
    ----------
    dataset : Dataset
        Without the polymers that have no features.
    polymers : PolymerSet
        In its order.
    fingerprints : numpy.ndarray
        uint8 [n, 1191]; of a copolymer the bits of both monomers.
    tree_features : numpy.ndarray
        float32 [n, 2804], fingerprint and descriptors; of copolymers [n, 2807], see `_composite_features`.
    embeddings : numpy.ndarray
        float32 [n, 3D]; copolymers have none, [n, 1] of zeros.
    known_as : tuple of str
        What a calibration knows each polymer by.
    """

    dataset: Dataset
    polymers: PolymerSet
    fingerprints: np.ndarray
    tree_features: np.ndarray
    embeddings: np.ndarray
    known_as: tuple[str, ...]

    @property
    def has_places(self) -> bool:
        """Whether a polymer has a place among the others; copolymers have none."""
        return self.dataset.kind is InputKind.HOMOPOLYMER


def prepare(
    dataset: Dataset,
    artifacts: ArtifactDirectory,
    settings: Settings,
    *,
    scheme: PromptScheme,
    device: torch.device,
    work: Path,
    shared: Path | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    on_polymer: Callable[[int, int], None] = lambda *_: None,
) -> Prepared:
    """Featurize the polymers and run the pretrained network over them; what a run before has done is kept.

    Parameters
    ----------
    dataset : Dataset
        As read.
    artifacts : ArtifactDirectory
        Of the encoder.
    settings : Settings
        Of features.
    scheme : PromptScheme
        Of the prompts.
    device : torch.device
        Where networks run.
    work : pathlib.Path
        For features and prompts.
    shared : pathlib.Path, optional
        For those instead, where runs of several columns share them.
    is_stopping : callable
        Whether to stop.
    on_polymer : callable
        Takes how many polymers are featurized, and of how many.

    Raises
    ------
    InterruptedError
        It was told to stop.
    """
    if settings.feature_store is None:
        features = (shared or work) / "features"
        make_directory(features, mode=PRIVATE_DIRECTORY_MODE)
        settings = replace(settings, feature_store=features)
    found: list[Featurized] = []
    features_of = cache(lambda unit: featurized(unit, scheme, settings)[0])
    failed: dict[str, str] = {}
    for number, polymer in enumerate(dataset.polymers, 1):
        if is_stopping():
            raise InterruptedError
        try:
            found.append(featurized_input(polymer.unit, features_of))
        except ValidationError as error:
            failed[polymer.key] = error.message
        on_polymer(number, len(dataset.polymers))
    dataset = without_polymers(dataset, failed)
    scaler = artifacts.scaler()
    packing = Packing.for_device(device, width=artifacts.encoder_dims["width"])
    how = _Encoding(artifacts, scaler, packing, device)
    encoded = _encoded(_units(found), how, work=work, shared=shared or work)
    fingerprints = np.stack([fingerprint_of(polymer) for polymer in found])
    if dataset.kind is not InputKind.HOMOPOLYMER:
        composites = [polymer for polymer in found if not isinstance(polymer, FeaturizedPolymer)]
        prompts_of = {smiles: each.prompts for smiles, each in encoded.items()}
        return Prepared(
            dataset,
            CompositeSet(composites, prompts_of, scaler, packing=packing, device=device),
            fingerprints,
            np.stack([_composite_features(polymer) for polymer in composites]),
            np.zeros((len(found), 1), np.float32),
            tuple(polymer.unit.key for polymer in dataset.polymers),
        )
    polymers = [polymer for polymer in found if isinstance(polymer, FeaturizedPolymer)]
    prompts = [encoded[polymer.smiles].prompts for polymer in polymers]
    return Prepared(
        dataset,
        PolymerSet.of(polymers, prompts, scaler, packing=packing, device=device),
        fingerprints,
        np.stack([_features(polymer) for polymer in polymers]),
        np.stack([encoded[polymer.smiles].embedding for polymer in polymers]),
        tuple(polymer.smiles for polymer in dataset.polymers),
    )


def _units(polymers: Sequence[Featurized]) -> list[FeaturizedPolymer]:
    """Return the repeat units of polymers, each once."""
    units = (unit for one in polymers for unit in ((one,) if isinstance(one, FeaturizedPolymer) else one.monomers))
    return list({unit.smiles: unit for unit in units}.values())


def _features(polymer: FeaturizedPolymer) -> np.ndarray:
    """Return what trees learn from, float32 [2804]."""
    of_trimer = polymer.oligomers[1]
    return np.concatenate([of_trimer.fingerprint, of_trimer.descriptors]).astype(np.float32)


def _composite_features(polymer: FeaturizedComposite) -> np.ndarray:
    """Return the same of a copolymer, float32 [2807]: the monomers' by their ratios, and the architecture."""
    if not isinstance(polymer, FeaturizedCopolymer):
        raise InternalError("Trees are for repeat units and copolymers.")
    shares = [RATIOS[ratio] for ratio in polymer.ratios]
    parts = [share * _features(monomer) for share, monomer in zip(shares, polymer.monomers, strict=True)]
    architecture = np.arange(len(ARCHITECTURES)) == polymer.architecture
    return np.concatenate([np.sum(parts, axis=0), architecture]).astype(np.float32)


class _Encoding(NamedTuple):
    """What prompts are computed with."""

    artifacts: ArtifactDirectory
    scaler: Scaler
    packing: Packing
    device: torch.device


def _encoded(polymers: Sequence[FeaturizedPolymer], how: _Encoding, *, work: Path, shared: Path) -> dict[str, Encoded]:
    """Return prompts and embeddings by SMILES; what a run before, or that of another column, has computed is read."""
    scheme = polymers[0].scheme.name
    kept = KeptPrompts(shared, encoder_sha256=how.artifacts.encoder_sha256, scheme=scheme)
    known = kept.read()
    unknown = [polymer for polymer in polymers if polymer.smiles not in known]
    if unknown:
        encoder = load_encoder(how.artifacts.encoder_state_dict(), how.artifacts.encoder).to(how.device)
        spill = work / "prompts.npy"
        encoded = encode(encoder, unknown, how.scaler, packing=how.packing, device=how.device, spill=spill)
        names = [polymer.smiles for polymer in unknown]
        if not spill.is_file():
            kept.add(names, encoded)
        known.update(zip(names, encoded, strict=True))
    return {polymer.smiles: known[polymer.smiles] for polymer in polymers}
