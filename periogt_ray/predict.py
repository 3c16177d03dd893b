"""SMILES in, values out, in this process and without Ray: for the command line and for doctor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings

if TYPE_CHECKING:  # torch is loaded after the input has been checked
    from periogt_ray.model.predictor import Predictor
    from periogt_ray.model.tasks import Outcome
    from periogt_ray.polymer.descriptors import DescriptorEngine

__all__ = ["embed_one", "predict_one", "predict_properties"]


def predict_one(
    smiles: str, properties: Sequence[str], settings: Settings, *, return_embedding: bool = False
) -> "tuple[Predictor, dict[str, Outcome]]":
    """Load the model and compute properties of one polymer.

    Parameters
    ----------
    smiles : str
        Repeat unit.
    properties : sequence of str
        Property ids, or only ``all``.
    settings : Settings
        Which artifacts, on which device.
    return_embedding : bool
        Whether each prediction comes with the embedding.

    Returns
    -------
    Predictor
        What computed them.
    dict
        Outcomes by property id, in the order given. What is wrong with one prediction is its ``error``.

    Raises
    ------
    ValidationError, UnsupportedPropertyError
        If the input is wrong; this is checked before the model is loaded.
    PerioGTError
        If the model cannot be loaded.
    """
    RepeatUnit.parse(smiles)
    ids = ArtifactDirectory.open(settings.checkpoint_dir).property_ids(properties)

    from periogt_ray.model.predictor import Predictor

    predictor = Predictor.load(settings)
    outcomes = predict_properties(
        predictor, smiles, ids, engine=settings.descriptor_engine, return_embedding=return_embedding
    )
    return predictor, dict(zip(ids, outcomes, strict=True))


def embed_one(smiles: str, settings: Settings) -> "Outcome":
    """Load the model and compute the embedding of one polymer; raises as :func:`predict_one`."""
    RepeatUnit.parse(smiles)

    from periogt_ray.model.predictor import Predictor

    predictor = Predictor.load(settings)
    [outcome] = predict_properties(predictor, smiles, [None], engine=settings.descriptor_engine)
    return outcome


def predict_properties(
    predictor: "Predictor",
    smiles: str,
    property_ids: Sequence[str | None],
    *,
    engine: "DescriptorEngine" = "native",
    return_embedding: bool = False,
) -> "list[Outcome]":
    """Compute properties of one polymer, featurized once a prompt scheme; one outcome a property, in order."""
    from periogt_ray.model.tasks import Task

    unit = RepeatUnit.parse(smiles)
    schemes = [predictor.scheme(property_id) for property_id in property_ids]
    features = {scheme: featurize(unit, scheme, engine=engine) for scheme in set(schemes)}
    return predictor.predict_many(
        [
            Task(features[scheme], property_id, return_embedding, unit.warnings)
            for scheme, property_id in zip(schemes, property_ids, strict=True)
        ]
    )
