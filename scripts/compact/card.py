"""The model card, as JSON for programs and as text for people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from periogt_ray.artifacts.properties import describe
from periogt_ray.runtime.files import write_bytes_atomically, write_json_atomically

__all__ = ["CARD_NAME", "TEXT_NAME", "read_card", "write_card"]

CARD_NAME = "model_card.json"
TEXT_NAME = "MODEL_CARD.md"

_INTRODUCTION = """\
# {name}

A small network of the PerioGT architecture, trained by `scripts/train_compact.py` and shipped with
the package so that it answers without a download. **These are not the published PerioGT weights**:
it is smaller by a factor of more than a hundred, was pretrained on {n_pretraining} polymers
instead of millions, and is less accurate. Prompt scheme: `{scheme}`.

## Data
Seven sets of computed (DFT) properties of homopolymers (Kuenneth et al., Patterns 2, 100238, 2021)
with the train, val and test splits of the authors of PerioGT. A polymer is identified by its canonical
repeat unit. {n_polymers} polymers altogether; {n_dropped} train rows dropped because the same
polymer is also held out or repeated.

## Training
1. Pretraining without labels (masked triplets, reconstruction of fingerprint and descriptors), and
   the descriptor scaler: {n_pretraining} polymers, none of them in the test split of any property.
2. A joint network over all seven properties, on train rows of those same polymers only.
3. A network for each property, started from the joint one: the property's own train rows, and the
   predictions of a teacher for {n_transfer} unlabelled polymers that are in no test split (none for egc, whose
   rows are nearly all the polymers there are). The teacher is a weighted average of a Gaussian process, a
   support vector machine and extra trees on fingerprint, descriptors and counts of atom environments, fitted
   on the same train rows: part of what the network knows is distilled from an ensemble. The network is kept
   as it was at the epoch that was best on the property's val rows.

What is shipped is, for each property, the exponential moving average of the weights along one training
trajectory; where there is no teacher, the average of {n_branches} such trajectories, which start from the joint
network and differ in their seeds. All weights are rounded to float16, and every figure here was measured
with the rounded weights. Hyperparameters were chosen on val rows and by cross-validation within
train and val. Test rows were evaluated once, after everything else.
"""

_LIMITS = """
## Limits of use
- Computed properties of ideal chains and crystals; not measurements.
- Homopolymers of C, H and the common hetero-atoms; other elements, ions, networks and copolymers
  were not, or hardly, seen in training, and the answer there is a guess; for some of them it comes with a warning.
- Errors are those of the table for polymers like those of the data; elsewhere they are larger.
- The same chain cut at another backbone bond gets a slightly different value.
- The model repeats the labels' own oddities: in egc poly(4-fluorostyrene) has 2.05 eV and
  poly(2-chlorostyrene) 2.41 eV, where poly(3-methylstyrene) has 5.19 eV.
"""


def read_card(root: Path) -> dict[str, Any]:
    """Read the card of an artifact directory."""
    card: dict[str, Any] = json.loads((root / CARD_NAME).read_text(encoding="utf-8"))
    return card


_SUMMARY = (
    "A small network of the PerioGT architecture, trained on seven public sets of computed properties and shipped "
    "with the package. These are not the published PerioGT weights; MODEL_CARD.md tells accuracy and limits."
)


def write_card(root: Path, card: Mapping[str, Any]) -> None:
    """Write the model card as JSON and as text."""
    write_json_atomically(root / CARD_NAME, {"summary": _SUMMARY, **card})
    write_bytes_atomically(root / TEXT_NAME, _as_text(card).encode())


def _as_text(card: Mapping[str, Any]) -> str:
    data = card["data"]
    introduction = _INTRODUCTION.format(
        name=card["name"],
        scheme=card["scheme"],
        n_pretraining=data["n_pretraining"],
        n_polymers=data["n_polymers"],
        n_dropped=len(data["dropped_rows"]),
        n_transfer=card["recipe"]["n_transfer"],
        n_branches=card["recipe"]["n_branches"],
    )
    return "\n".join([introduction, *_scores(card), _LIMITS, *_well_known(card)]) + "\n"


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of scores."""
    yield "## Accuracy"
    if card["test"] is None:
        yield "Validation rows (they decided when to stop); the test rows have not been evaluated."
        yield "| property | unit | rows | R2 | RMSE |"
        yield "| --- | --- | --- | --- | --- |"
        for name, score in card["validation"].items():
            yield f"| {name} | {describe(name)[1]} | {score['n']} | {score['r2']:.3f} | {score['rmse']:.3f} |"
        return
    yield "Test rows. The baseline is the average of extra trees (300) and histogram gradient boosting on the same"
    yield "fingerprint and descriptors, fitted on the same train rows."
    yield "| property | unit | train rows | test rows | R2 | RMSE | baseline R2 | baseline RMSE |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, ours in card["test"].items():
        n_train, trees = card["data"]["n_rows"][name]["train"], card["baseline"].get(name)
        baseline = f"{trees['r2']:.3f} | {trees['rmse']:.3f}" if trees else "not measured | not measured"
        yield (
            f"| {name} | {describe(name)[1]} | {n_train} | {ours['n']} | {ours['r2']:.3f} | {ours['rmse']:.3f} "
            f"| {baseline} |"
        )
    worse = [name for name, trees in card["baseline"].items() if card["test"][name]["r2"] <= trees["r2"]]
    yield ""
    yield f"Not better than the measured baseline: {', '.join(sorted(worse)) or 'none'}."
    for note in card["notes"]:
        yield f"\n{note}"


def _well_known(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of well-known polymers."""
    yield "## Well-known polymers"
    properties = list(card["validation"])
    yield "| polymer | " + " | ".join(properties) + " |"
    yield "| --- " * (len(properties) + 1) + "|"
    for name, values in card["well_known"].items():
        yield f"| {name} | " + " | ".join(f"{values[key]:.2f}" for key in properties) + " |"
