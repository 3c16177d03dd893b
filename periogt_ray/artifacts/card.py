"""What is known of the model that answers: accuracy on held-out polymers, limits, examples."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from periogt_ray import __version__
from periogt_ray.artifacts.calibration import CalibrationFacts
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import ModelLoadError
from periogt_ray.schemas import Accuracy, Example, ModelResponse, PropertyCard
from periogt_ray.settings import EXAMPLES

__all__ = ["CARD_TEXT_NAME", "card_text", "describe", "property_card", "read_card", "read_examples"]

CARD_TEXT_NAME = "MODEL_CARD.md"
_MOST_CHARACTERS = 1 << 18  # of a card; ours have eight thousand
_LIMITS_HEADING = "limits of use"


def describe(artifacts: ArtifactDirectory) -> str:
    """Return one sentence that says what the artifacts are."""
    return str((artifacts.model_card or {}).get("summary", "Published PerioGT checkpoints."))


def read_card(artifacts: ArtifactDirectory) -> ModelResponse:
    """Collect the facts that an artifact directory has about its model, with the text of its card."""
    return ModelResponse(
        artifacts=artifacts.name,
        description=describe(artifacts),
        version=__version__,
        properties=[property_card(artifacts, info) for info in artifacts.properties.values() if info.supported],
        limits=_limits(card_text(artifacts.root)),
        examples=read_examples(),
        card=card_text(artifacts.root),
    )


def card_text(root: Path) -> str | None:
    """Return the card of a model or a package as Markdown, cut where it is very long; None where there is none."""
    path = root / CARD_TEXT_NAME
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MOST_CHARACTERS)


def read_examples() -> list[Example]:
    """Return the polymers that are shipped as examples."""
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        return [Example(name=row["id"], smiles=row["smiles"]) for row in csv.DictReader(file)]


def property_card(artifacts: ArtifactDirectory, info: PropertyInfo) -> PropertyCard:
    """Collect what the model's card, a package or a calibration has about one property that is served."""
    card = artifacts.model_card or {}
    calibration = _calibration(artifacts, info.id)
    report: Mapping[str, Any] = {} if calibration is None else calibration.report
    # A card may come from elsewhere: what is not a mapping where one is expected is not shown.
    test = _part(_part(card, "test"), info.id) or _part(report, "test")
    n_train = _part(_part(_part(card, "data"), "n_rows"), info.id).get("train")
    if info.id in artifacts.packages:
        summary = artifacts.packages[info.id].summary
        test, n_train = _part(summary, "test"), summary.get("n_train")
    labels = artifacts.statistics.get(info.id)
    return PropertyCard(
        id=info.id,
        label=info.label,
        units=info.units,
        checkpoint=info.checkpoint,
        test=_accuracy(test),
        n_train=n_train if isinstance(n_train, int) else None,
        input=info.input_kind,
        label_mean=None if labels is None else labels.mean,
        label_std=None if labels is None else labels.std,
        interval_scale=None if calibration is None else calibration.scale,
        n_calibration=report.get("n_calibration"),
        prompt_scheme=info.prompt_scheme.name,
        is_scheme_verified="scheme" in report or info.prompt_scheme.is_mirror_invariant,
    )


def _accuracy(test: Mapping[str, Any]) -> Accuracy | None:
    """Return what a card or a package says of its test rows; None where these are no numbers."""
    if not {"r2", "rmse", "n"} <= set(test):
        return None
    try:
        found = Accuracy(r2=test["r2"], rmse=test["rmse"], n=test["n"])
    except ValueError:  # pydantic's, too
        return None
    return found if math.isfinite(found.r2) and math.isfinite(found.rmse) else None


def _calibration(artifacts: ArtifactDirectory, property_id: str) -> CalibrationFacts | None:
    """Return the facts of a calibration; None for a damaged one, which answers report."""
    try:
        found = artifacts.calibration(property_id)
    except ModelLoadError:
        return None
    return None if found is None else found.facts


def _part(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = mapping.get(name)
    return part if isinstance(part, Mapping) else {}


def _limits(text: str | None) -> list[str]:
    """Return the items under "Limits of use" of a card's text, where there is one."""
    items: list[str] = []
    is_inside = False
    for line in (text or "").splitlines():
        if line.startswith("#"):
            is_inside = line.strip("# ").lower() == _LIMITS_HEADING
        elif is_inside and line.startswith("- "):
            items.append(line[2:].strip())
        elif is_inside and items and line.strip():
            items[-1] += f" {line.strip()}"
    return items
