"""The model card, as JSON for programs and as text for people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compact.copolymer_card import with_copolymers
from periogt_ray.artifacts.properties import describe
from periogt_ray.runtime.files import write_bytes_atomically, write_json_atomically

__all__ = ["CARD_NAME", "TEXT_NAME", "read_card", "write_card", "write_copolymer_card"]

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
2. {n_folds} folds by a hash of the polymer, so that a polymer is in the same fold for every property. For each fold a
   joint network over all seven properties, on train and val rows outside the fold whose polymer is in no test split.
3. For each fold and property a network, started from the joint one, on the property's own train and val rows outside
   the fold; its weights are the exponential moving average along the training, for a fixed number of epochs.

A prediction is the mean of the {n_folds} networks of its property. Matrices are stored as multiples of a 24th of each
row's standard deviation, and every figure here was measured with the rounded weights. Test rows were evaluated once,
after everything else.
"""

_LIMITS = """
## Limits of use
- Computed properties of ideal chains and crystals; not measurements.
- Homopolymers of C, H and the common hetero-atoms; other elements, ions and networks
  were not, or hardly, seen in training, and the answer there is a guess; for some of them it comes with a warning.
- Copolymers: two conjugated monomers, one of them of the nine that training knows well; see above.
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
    "A small network of the PerioGT architecture, trained on public sets of computed properties and shipped with "
    "the package. These are not the published PerioGT weights; MODEL_CARD.md tells accuracy and limits."
)


def write_card(root: Path, card: Mapping[str, Any]) -> None:
    """Write the model card as JSON and as text."""
    write_json_atomically(root / CARD_NAME, {"summary": _SUMMARY, **card})
    write_bytes_atomically(root / TEXT_NAME, with_copolymers(_as_text(card), card).encode())


def write_copolymer_card(root: Path, card: Mapping[str, Any]) -> None:
    """Write the model card as JSON, and as text with its section on copolymers; the rest of the text stays."""
    write_json_atomically(root / CARD_NAME, {**card, "summary": _SUMMARY})
    path = root / TEXT_NAME
    write_bytes_atomically(path, with_copolymers(path.read_text(encoding="utf-8"), card).encode())


def _as_text(card: Mapping[str, Any]) -> str:
    data = card["data"]
    introduction = _INTRODUCTION.format(
        name=card["name"],
        scheme=card["scheme"],
        n_pretraining=data["n_pretraining"],
        n_polymers=data["n_polymers"],
        n_dropped=len(data["dropped_rows"]),
        n_folds=card["recipe"]["n_folds"],
    )
    return "\n".join([introduction, *_scores(card), _LIMITS, *_well_known(card)]) + "\n"


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables of scores."""
    yield "## Accuracy on the folds"
    yield "Mean over the folds of R2 on rows that the network did not learn from: one network each, not their mean. The"
    yield "baseline is the average of extra trees (300) and histogram gradient boosting on the same fingerprint and"
    yield "descriptors, on the same folds."
    yield "| property | rows | R2 | RMSE | baseline R2 |"
    yield "| --- | --- | --- | --- | --- |"
    for name, ours in card["out_of_fold"].items():
        trees = f"{ours['trees_mean_r2']:.3f}" if "trees_mean_r2" in ours else "not measured"
        yield f"| {name} | {ours['n']} | {ours['mean_r2']:.3f} | {ours['rmse']:.3f} | {trees} |"
    compared = {name: ours for name, ours in card["out_of_fold"].items() if "trees_mean_r2" in ours}
    worse = sorted(name for name, ours in compared.items() if ours["mean_r2"] <= ours["trees_mean_r2"])
    yield ""
    yield f"Not better than the measured baseline on the folds: {', '.join(worse) or 'none'}."
    yield ""
    if "other_training" in card:
        yield from _other_training(card["other_training"])
    yield "## Accuracy"
    if card["test"] is None:
        yield "The test rows have not been evaluated."
    else:
        yield from _test_scores(card)
    for note in card["notes"]:
        yield f"\n{note}"


def _other_training(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines on a training with another seed."""
    encoder = "the same pretrained encoder" if found["has_same_encoder"] else "encoders of their own"
    yield "## Another training"
    yield "The same seed gives the same files on the same machine. With another seed single networks give other values;"
    yield "the root mean square of the difference, on rows that neither learned from, is also given in standard"
    yield f"deviations of the labels. The two trainings start from {encoder}."
    yield "| property | rows | R2 | R2 of the other | difference | in deviations |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, one in found["properties"].items():
        yield (
            f"| {name} | {one['n']} | {one['r2']:.3f} | {one['other_r2']:.3f} | {one['rms_difference']:.3f} "
            f"| {one['in_deviations']:.2f} |"
        )
    yield ""


def _test_scores(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables of the test rows."""
    yield "Test rows, mean of the networks. The baseline was fitted on the train rows."
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
    yield ""
    yield "## Intervals and domain"
    yield "Made from the residuals on the folds; measured here on the test rows (a random split), which they were not"
    yield "made from."
    yield (
        "| property | scale | 50 % covers | 80 % | 90 % | 95 % | width of 90 % | of the deviation | interval score "
        "| rank correlation with error | inside the domain |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name in card["test"]:
        found = card["intervals"][name]
        levels = found["levels"]
        covers = " | ".join(
            f"{100 * one['coverage']:.0f} ± {100 * one['coverage_error']:.0f}" for one in levels.values()
        )
        at = levels["0.9"]
        yield (
            f"| {name} | {card['out_of_fold'][name]['scale']} | {covers} | {at['width']:.3f} "
            f"| {100 * at['relative_width']:.0f} % | {at['score']:.3f} | {at['rank_correlation']:.2f} "
            f"| {found['domain'].get('inside', 0)} of {at['n']:.0f} |"
        )
    pooled = card["intervals"]["pooled"]
    shares = ", ".join(
        f"{100 * float(level):g} %: {100 * pooled[level]:.1f} %" for level in ("0.5", "0.8", "0.9", "0.95")
    )
    yield ""
    yield f"Coverage over all {pooled['n']} test rows: {shares}."
    if "by_similarity" in card:
        yield ""
        yield from _by_similarity(card["by_similarity"])


def _by_similarity(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of coverage on polymers near and far."""
    yield "On the folds, by the similarity to the nearest polymer that the network learned from: 90 % intervals of the"
    yield "rows of a fold, made from the other folds, one network each. Errors and widths in deviations of labels. The"
    yield "first line is the farthest that the data hold; polymers of other classes are not measured."
    yield "| similarity | rows | 90 % covers | RMSE | width of 90 % | coverage by property, with rows |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in found["pooled"]:
        each = ", ".join(
            f"{name} {100 * row['coverage']:.0f} % of {row['n']:.0f}"
            for name, rows in found.items()
            for row in rows
            if name != "pooled" and row["low"] == one["low"]
        )
        yield (
            f"| {one['low']:g} to {one['high']:g} | {one['n']:.0f} | {100 * one['coverage']:.1f} ± "
            f"{100 * one['coverage_error']:.1f} | {one['rmse']:.2f} | {one['width']:.2f} | {each} |"
        )


def _well_known(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of well-known polymers."""
    yield "## Well-known polymers"
    properties = list(card["out_of_fold"])
    yield "| polymer | " + " | ".join(properties) + " |"
    yield "| --- " * (len(properties) + 1) + "|"
    for name, values in card["well_known"].items():
        yield f"| {name} | " + " | ".join(f"{values[key]:.2f}" for key in properties) + " |"
