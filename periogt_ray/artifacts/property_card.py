"""What was measured of one property: of a finetuned one from its package, of the others from the model's card."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from periogt_ray.artifacts.card import CARD_TEXT_NAME, card_text, property_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.packages import Package
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import UnsupportedPropertyError
from periogt_ray.schemas import Coverage, PropertyCardResponse, Score

__all__ = ["read_property_card"]

_METRICS_NAME = "metrics.json"
_DIVISIONS = ("test", "out_of_fold", "cluster")
_MODELS = ("network", "trees", "mean")


def read_property_card(artifacts: ArtifactDirectory, property_id: str) -> PropertyCardResponse:
    """Collect what was measured of a property, whether it is served or not.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        With the packages.
    property_id : str
        As /v1/properties lists it.

    Raises
    ------
    UnsupportedPropertyError
        The artifacts do not have it at all; ``details["supported"]`` lists the ids that are served.

    Examples
    --------
    >>> from periogt_ray.settings import EMBEDDED_DIR
    >>> card = read_property_card(ArtifactDirectory.open(EMBEDDED_DIR), "egc")
    >>> [score.division for score in card.scores]
    ['test']
    """
    info = artifacts.properties.get(property_id)
    if info is None:
        raise UnsupportedPropertyError(
            f"There is no property {property_id!r} to tell of; supported: {', '.join(artifacts.supported) or 'none'}.",
            {"property": property_id, "supported": artifacts.supported},
        )
    package = artifacts.packages.get(property_id)
    return _of_model(artifacts, info) if package is None else _of_package(package, info)


def _of_model(artifacts: ArtifactDirectory, info: PropertyInfo) -> PropertyCardResponse:
    known = property_card(artifacts, info) if info.supported else None
    test = None if known is None else known.test
    return PropertyCardResponse(
        id=info.id,
        label=info.label,
        units=info.units,
        reason=info.reason,
        n_train=None if known is None else known.n_train,
        n_networks=len(info.weight_paths),
        scores=[] if test is None else [Score(division="test", model="network", **test.model_dump())],
        text=card_text(artifacts.root),
    )


def _of_package(package: Package, info: PropertyInfo) -> PropertyCardResponse:
    metrics = _metrics(package)
    n_train, verdict = package.summary.get("n_train"), package.summary.get("verdict")
    scores = [score for division in _DIVISIONS for score in _scores(division, metrics.get(division))]
    if not scores:
        scores = list(_scores("test", {"network": package.summary.get("test")}))
    return PropertyCardResponse(
        id=info.id,
        label=info.label,
        units=info.units,
        is_package=True,
        reason=info.reason,
        verdict=verdict if isinstance(verdict, str) else None,
        n_train=n_train if isinstance(n_train, int) else None,
        n_networks=len(package.members),
        scores=scores,
        coverage=list(_coverage(metrics.get("coverage"))),
        text=card_text(package.root) if _is_whole(package, CARD_TEXT_NAME) else None,
    )


def _is_whole(package: Package, name: str) -> bool:
    """Whether a file of a package is the one that was recorded, and lies in the package."""
    path, record = package.root / name, package.files.get(name)
    return record is not None and not path.is_symlink() and record.difference(path) is None


def _metrics(package: Package) -> Mapping[str, Any]:
    """Return the figures of a package; what cannot be read counts as not there, because packages come from others."""
    if not _is_whole(package, _METRICS_NAME):
        return {}
    try:
        found = json.loads((package.root / _METRICS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _scores(division: str, by_model: object) -> Iterator[Score]:
    if not isinstance(by_model, Mapping):
        return
    for model in _MODELS:
        n, r2, rmse = (_number(by_model.get(model), name) for name in ("n", "r2", "rmse"))
        if n is not None and r2 is not None and rmse is not None:
            yield Score(division=division, model=model, n=int(n), r2=r2, rmse=rmse)


def _coverage(by_division: object) -> Iterator[Coverage]:
    if not isinstance(by_division, Mapping):
        return
    for division in _DIVISIONS:
        entries = by_division.get(division)
        for entry in entries if isinstance(entries, list) else []:
            level, share, n = (_number(entry, name) for name in ("level", "coverage", "n"))
            if level is not None and share is not None and n is not None:
                yield Coverage(division=division, level=level, coverage=share, n=int(n))


def _number(mapping: object, name: str) -> float | None:
    """Return a finite number of a mapping; None where there is none."""
    found = mapping.get(name) if isinstance(mapping, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        number = float(found)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None
