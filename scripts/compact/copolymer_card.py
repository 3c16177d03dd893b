"""The part of the model card that tells of copolymers."""

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

from periogt_ray.artifacts.properties import describe

__all__ = ["with_copolymers"]

_HEADING = "## Copolymers"
_NEXT_HEADING = "## Limits of use"


def with_copolymers(text: str, card: Mapping[str, Any]) -> str:
    """Return the text of a model card with the section on copolymers as the card has it, or without one."""
    before, found, after = text.partition(f"{_HEADING}\n")
    if found:
        text = before + _NEXT_HEADING + after.partition(_NEXT_HEADING)[2]
    if card.get("copolymers") is None:
        return text
    section = "\n".join(_lines(card["copolymers"], card["data"]["n_rows"]))
    before, found, after = text.partition(_NEXT_HEADING)
    return f"{before}{section}\n\n{found}{after}"


def _lines(ours: Mapping[str, Any], n_rows: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    names = list(ours["val"])
    settings = ours["settings"]
    yield _HEADING
    yield _paragraph(
        f"{' and '.join(names)}: {n_rows[names[0]]['train']} train rows of xTB values (Aldeghi and Coley, Chem. Sci. "
        "13, 10486, 2022), with the split of the authors of PerioGT.",
        f"There are {ours['n_monomers']} monomers; each copolymer has at least one of {ours['n_partners']} (A).",
        f"{ours['n_dropped']} rows were dropped because the same copolymer, with A and B swapped, is also held out or "
        "repeated.",
        "One network was trained with an output for each property. It started from a joint network of the "
        "homopolymers' properties, whose attention to prompts it keeps, and saw the train rows "
        f"{settings['n_cycles'] * settings['epochs']} times.",
        "Each property has a copy of it with its own output: one network a property, not several.",
        "Intervals follow from the residuals on val rows and have one width.",
    )
    if ours["test"] is None:
        yield "The test rows have not been evaluated."
        return
    random = "Test rows, a random split: training saw their pairs of monomers in other ratios or architectures."
    yield from _table(random, ours["test"])
    held_out = ours["held_out"]
    if held_out is None:
        yield ""
        yield "New monomers have not been measured."
        return
    names = [f"`{name}`" for name in held_out["monomers"]]
    yield from _table(
        f"New monomers: a network that learned from the {held_out['n_train']} train rows without {', '.join(names)}, "
        "on the test rows with one of these as A.",
        held_out,
    )
    yield ""
    yield _paragraph(
        "The table answers with the mean of the train rows of the same pair; for a new pair with the mean of what it "
        "knows of the monomers.",
        "The last columns are of the 90 % intervals of the shipped networks. They do not hold for new monomers, so an "
        "answer for a pair that training did not see has none.",
    )


def _paragraph(*sentences: str) -> str:
    return fill(" ".join(sentences), 118, break_long_words=False, break_on_hyphens=False)


def _table(title: str, figures: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield _paragraph(title)
    yield "| property | unit | rows | R2 | RMSE | R2 of the table | RMSE of the table | 90 % intervals cover | width |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, one in figures.items():
        if not isinstance(one, Mapping):
            continue
        table = one["table"]
        yield (
            f"| {name} | {describe(name)[1]} | {one['n']} | {one['r2']:.3f} | {one['rmse']:.3f} | {table['r2']:.3f} "
            f"| {table['rmse']:.3f} | {100 * one['covered']['0.9']:.1f} % | {one['width']['0.9']:.3f} |"
        )
