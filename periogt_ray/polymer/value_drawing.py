"""Drawings of repeat units whose atoms and bonds are coloured by values, with a colour bar.

The scale is diverging and symmetrical about 0: blue for negative values, white for 0, orange for positive ones. Blue
and orange are told apart with every common colour vision deficiency, and black lines stay readable on both. The
background is white, so that the drawing can be read on a page of any theme.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, TypeAlias

from rdkit import Chem

from periogt_ray.polymer.drawing import laid_out, new_canvas, svg_of
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["colour_of", "draw_values"]

Colour: TypeAlias = tuple[float, float, float]

_NEGATIVE: Colour = (0.34, 0.63, 0.90)
_POSITIVE: Colour = (0.98, 0.60, 0.20)
_N_STEPS = 41  # of the colour bar; odd, so that 0 is white
_STEP_WIDTH = 6
_MARGIN = 12
_HEAD, _FOOT = 50, 62  # pixels for the two lines of text above, and for the colour bar below
_TITLE_PIXELS, _TEXT_PIXELS = 16, 13
_PIXELS_PER_CHARACTER = 0.58  # of the font size; sans-serif digits and letters
_FONT = "font-family='system-ui, sans-serif' fill='#111'"
_SIZE = re.compile(r"width='(\d+)px' height='(\d+)px'")


def draw_values(
    unit: RepeatUnit,
    atoms: Mapping[int, float],
    bonds: Mapping[int, float],
    *,
    title: str,
    subtitle: str,
    units: str,
) -> str:
    """Draw a repeat unit with its atoms and bonds coloured.

    Parameters
    ----------
    unit : RepeatUnit
        At most 200 atoms, hydrogens left out.
    atoms, bonds : Mapping
        Values by index in the repeat unit's molecule.
    title, subtitle : str
        Lines above the drawing.
    units : str
        Of the values, at the colour bar; may be empty.

    Returns
    -------
    str
        An ``svg`` element without scripts or references.

    Raises
    ------
    ValidationError
        If the repeat unit is too large to be drawn.
    DrawingUnavailableError
        If RDKit's drawing module does not load on this machine.
    """
    most = max(map(abs, [*atoms.values(), *bonds.values()]), default=0.0)
    molecule = _coloured(unit, atoms, bonds, most)
    found = _SIZE.search(molecule)
    assert found is not None, "RDKit writes the size of its drawing"
    width, height = map(int, found.groups())
    bar = _N_STEPS * _STEP_WIDTH
    texts = len(title) * _TITLE_PIXELS, len(subtitle) * _TEXT_PIXELS
    total = round(max(width, bar + 60, _PIXELS_PER_CHARACTER * max(texts))) + 2 * _MARGIN
    whole = height + _HEAD + _FOOT
    words = escape(f"{title}; {subtitle}", quote=True)
    placed = molecule.replace("<svg", f"<svg x='{(total - width) // 2}' y='{_HEAD}'", 1)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{total}px' height='{whole}px' viewBox='0 0 {total} {whole}' "
        f"role='img' aria-label='{words}'>\n"
        f"<rect width='{total}' height='{whole}' rx='6' fill='#fff'/>\n"
        f"{_text(title, _MARGIN, 22, _TITLE_PIXELS)}{_text(subtitle, _MARGIN, 42, _TEXT_PIXELS)}"
        f"{placed}\n{_colour_bar((total - bar) // 2, _HEAD + height + 8, most, units)}</svg>\n"
    )


def colour_of(value: float, most: float) -> Colour:
    """Return the colour of a value, red, green and blue from 0 to 1.

    Parameters
    ----------
    value : float
        Between ``-most`` and ``most``.
    most : float
        At the ends of the scale.

    Examples
    --------
    >>> colour_of(0.0, 2.0)
    (1.0, 1.0, 1.0)
    """
    share = 0.0 if most == 0 else min(abs(value) / most, 1.0)
    end = _NEGATIVE if value < 0 else _POSITIVE
    red, green, blue = (round(1 - share * (1 - part), 4) for part in end)
    return red, green, blue


def _coloured(unit: RepeatUnit, atoms: Mapping[int, float], bonds: Mapping[int, float], most: float) -> str:
    mol: Chem.Mol = laid_out(unit)
    drawing, canvas = new_canvas()
    options: Any = canvas.drawOptions()
    options.fillHighlights = True
    options.highlightRadius = 0.34
    options.highlightBondWidthMultiplier = 14
    # Black letters: the elements' own colours would compete with the scale.
    options.useBWAtomPalette()
    drawing.PrepareAndDrawMolecule(
        canvas,
        mol,
        highlightAtoms=list(atoms),
        highlightBonds=list(bonds),
        highlightAtomColors={atom: colour_of(value, most) for atom, value in atoms.items()},
        highlightBondColors={bond: colour_of(value, most) for bond, value in bonds.items()},
    )
    return svg_of(canvas)


def _colour_bar(left: int, top: int, most: float, units: str) -> str:
    steps = []
    for step in range(_N_STEPS):
        value = most * (2 * step / (_N_STEPS - 1) - 1)
        red, green, blue = (round(255 * part) for part in colour_of(value, most))
        place = f"x='{left + step * _STEP_WIDTH}' y='{top}' width='{_STEP_WIDTH}' height='14'"
        steps.append(f"<rect {place} fill='rgb({red},{green},{blue})'/>")
    width = _N_STEPS * _STEP_WIDTH
    frame = f"<rect x='{left}' y='{top}' width='{width}' height='14' fill='none' stroke='#777'/>"
    labels = (f"-{most:.2g}", "0", f"+{most:.2g}") if most else ("", "0", "")
    marks = [
        _text(label, left + share * width / 2, top + 28, _TEXT_PIXELS, anchor="middle")
        for share, label in enumerate(labels)
    ]
    meaning = f"added to the prediction, {units}" if units else "added to the prediction"
    below = _text(meaning, left + width / 2, top + 46, _TEXT_PIXELS, anchor="middle")
    return "".join([*steps, frame, *marks, below]) + "\n"


def _text(text: str, x: float, y: float, pixels: int, anchor: str = "start") -> str:
    return f"<text x='{x:g}' y='{y:g}' font-size='{pixels}' text-anchor='{anchor}' {_FONT}>{escape(text)}</text>\n"
