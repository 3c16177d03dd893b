"""Which bonds carry a prediction: Shapley values of one polymer by a predictor's networks.

The players are the bonds of the repeat unit, the bond between units once, and the whole-molecule features (see
``occlusion.py`` for what leaving one out means). Values are in the unit of the property and sum exactly to the
prediction less the baseline, which is the answer without any player (``coalitions.py``).
"""

import logging
import time
from collections.abc import Iterator

import numpy as np
import torch

from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import GPUOutOfMemoryError, InternalError
from periogt_ray.model.coalitions import Coalitions, ShapleyValues, fewest_passes, plan_coalitions
from periogt_ray.model.composite_answers import not_finite
from periogt_ray.model.explanation import Explanation, check_explained
from periogt_ray.model.occlusion import OccludedPolymer
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import shortest
from periogt_ray.polymer.equivalent_bonds import atoms_in, chain_bonds, equivalent_bonds
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["explain", "explanation_steps"]

logger = logging.getLogger(__name__)

# Without a number of passes: of polystyrene all 1024 subsets (embedded model, 10 s on one core), of larger polymers so
# many that all networks together compute about as many nodes.
_DEFAULT_PASSES = 1024
_DEFAULT_NODES = 100_000
# Nodes of the prompt graphs in one pass on a CPU. More are no faster, and predictions of others wait for a pass.
_CPU_NODES = 400
_TELL_EVERY_S = 10.0


def explain(
    predictor: Predictor,
    polymer: FeaturizedPolymer,
    unit: RepeatUnit,
    *,
    property_id: str,
    smiles: str | None = None,
    passes: int | None = None,
) -> Explanation:
    """Explain a prediction; see :func:`explanation_steps`."""
    found: Explanation | None = None
    for step in explanation_steps(predictor, polymer, unit, property_id=property_id, smiles=smiles, passes=passes):
        found = step
    if found is None:
        raise InternalError("An explanation ended without a result; this is a bug.")
    return found


def explanation_steps(
    predictor: Predictor,
    polymer: FeaturizedPolymer,
    unit: RepeatUnit,
    *,
    property_id: str,
    smiles: str | None = None,
    passes: int | None = None,
) -> Iterator[Explanation | None]:
    """Explain a prediction in steps, between which others can use the predictor.

    Parameters
    ----------
    predictor : Predictor
        What answers.
    polymer : FeaturizedPolymer
        Featurized by the scheme of the property.
    unit : RepeatUnit
        What was featurized, of which ``polymer`` may be the mirror image.
    property_id : str
        Of a property that is predicted of a repeat unit.
    smiles : str, optional
        As given; None: that of ``unit``.
    passes : int, optional
        Most coalitions that are computed, which bounds the time; None: about 10 s of one core with the embedded model.

    Yields
    ------
    Explanation or None
        None after each step, at last the explanation.

    Raises
    ------
    ValidationError
        If the property takes another input, the polymer is too large or the passes are too few.
    PerioGTError
        As for a prediction.
    """
    info = predictor.artifacts.property(property_id)
    check_explained(unit, info)
    on_device = predictor.device.type == "cuda"
    most_nodes = predictor.packing.first_nodes or _CPU_NODES if on_device else _CPU_NODES
    n_copies = max(1, most_nodes // polymer.n_triplets)
    occluded = OccludedPolymer(polymer, n_copies=n_copies, device=predictor.device)
    coalitions = plan_coalitions(occluded.n_players, passes or _default_passes(polymer, info, occluded.n_players))
    worths = np.empty(len(coalitions.present))
    told_s = time.monotonic()
    for start in range(0, len(worths), n_copies):
        if time.monotonic() - told_s > _TELL_EVERY_S:
            logger.info("explaining: %d of %d passes", start, len(worths))
            told_s = time.monotonic()
        chosen = slice(start, start + n_copies)
        worths[chosen] = _worths(predictor, occluded, coalitions.present[chosen], info=info, polymer=polymer)
        yield None
    yield Explanation.of(
        unit,
        info,
        smiles=smiles or unit.smiles,
        prediction=shortest(np.float32(worths[coalitions.present.all(axis=1)][0])),
        values=_values_of_bonds(occluded, coalitions, worths, unit=unit, computed=RepeatUnit(polymer.smiles)),
        method="exact" if coalitions.is_exact else "sampled",
        passes=len(worths),
    )


def _default_passes(polymer: FeaturizedPolymer, info: PropertyInfo, n_players: int) -> int:
    n_nodes = polymer.n_triplets + len(info.weight_paths) * polymer.graphs[0].n_triplets
    return max(fewest_passes(n_players), min(_DEFAULT_PASSES, _DEFAULT_NODES // n_nodes))


def _worths(
    predictor: Predictor,
    occluded: OccludedPolymer,
    present: np.ndarray,
    *,
    info: PropertyInfo,
    polymer: FeaturizedPolymer,
) -> np.ndarray:
    """Return the property of some coalitions, float64 [C]."""
    try:
        with predictor.held(info.id, polymer) as networks:
            worths = occluded.worths(present, networks)
    except torch.cuda.OutOfMemoryError as error:
        raise GPUOutOfMemoryError(
            f"Copies of the polymer {polymer.smiles!r} do not fit into the GPU's memory. Use a larger GPU or "
            "PERIOGT_DEVICE=cpu."
        ) from error
    if not np.isfinite(worths).all():
        raise not_finite(polymer, info.id)
    return worths


def _values_of_bonds(
    occluded: OccludedPolymer, coalitions: Coalitions, worths: np.ndarray, *, unit: RepeatUnit, computed: RepeatUnit
) -> ShapleyValues:
    """Return the values of the bonds of a repeat unit's chain, and last that of the whole-molecule features."""
    bonds = chain_bonds(computed)
    players = np.array([occluded.player_of_bond[bond.in_smiles[0]] for bond in bonds])
    classes = np.full(occluded.n_players, len(bonds))
    classes[players] = equivalent_bonds(computed)
    found = coalitions.shapley(worths, classes)
    order = [*players[_places(unit, computed)], occluded.n_players - 1]
    return ShapleyValues(found.values[order], found.standard_errors[order])


def _places(unit: RepeatUnit, computed: RepeatUnit) -> list[int]:
    """Return for each bond of a repeat unit's chain its place among those of the mirror image that was computed."""
    atoms = atoms_in(unit, computed)
    inner = chain_bonds(computed)[:-1]
    place = {frozenset((atoms[bond.begin], atoms[bond.end])): number for number, bond in enumerate(inner)}
    return [
        len(inner) if bond.is_between_units else place[frozenset((bond.begin, bond.end))] for bond in chain_bonds(unit)
    ]
