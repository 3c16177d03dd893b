"""Load every network of an artifact directory once, strictly, as a prediction would."""

import logging
from pathlib import Path

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ModelLoadError

__all__ = ["load_everything"]

logger = logging.getLogger("periogt_ray.setup")


def load_everything(root: Path) -> dict[str, str]:
    """Build the encoder and each property's network from their weights, one at a time.

    Returns
    -------
    dict
        Property id -> reason, for those whose network cannot be built.

    Raises
    ------
    ModelLoadError
        The encoder cannot be built, so nothing can be predicted.
    """
    from periogt_ray.model.composite_network import load_head
    from periogt_ray.model.network import load_encoder

    artifacts = ArtifactDirectory.open(root)
    load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    logger.info("%s loads", artifacts.encoder)
    rejected = {}
    for property_id in artifacts.supported:
        info = artifacts.property(property_id)
        try:
            for member, path in enumerate(info.weight_paths):
                load_head(info.family, artifacts.property_state_dict(property_id, member=member), path)
        except ModelLoadError as error:
            rejected[property_id] = error.message
        else:
            logger.info("%s loads", ", ".join(info.weight_paths))
    return rejected
