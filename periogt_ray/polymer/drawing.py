"""Drawings of repeat units as SVG, connection points marked, the chain from left to right."""

import math
from typing import Any, Literal

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdMolTransforms
from rdkit.Chem.Draw import rdMolDraw2D

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.limits import MAX_DRAWN_ATOMS
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["Theme", "draw"]

Theme = Literal["light", "dark"]

_PIXELS_PER_ANGSTROM = 28  # a bond is 1.5 of them
_MARK: dict[Theme, tuple[float, float, float]] = {"light": (0.60, 0.84, 0.80), "dark": (0.11, 0.40, 0.38)}


def draw(unit: RepeatUnit, *, theme: Theme = "light") -> str:
    """Draw a repeat unit.

    Parameters
    ----------
    unit : RepeatUnit
        At most 200 atoms, hydrogens left out.
    theme : str
        ``light`` for dark lines, ``dark`` for light ones; the background is transparent.

    Returns
    -------
    str
        An ``svg`` element without scripts or references; about 600 bytes an atom.

    Raises
    ------
    ValidationError
        If it is too large to be drawn.
    """
    n_atoms = unit.mol.GetNumAtoms()
    if n_atoms > MAX_DRAWN_ATOMS:
        raise ValidationError(
            f"The repeat unit has {n_atoms} atoms; at most {MAX_DRAWN_ATOMS} are drawn. It can be predicted without "
            "a drawing."
        )
    mol = Chem.Mol(unit.mol)
    rdDepictor.Compute2DCoords(mol)
    _lay_flat(mol, *unit.connection_points)
    canvas = rdMolDraw2D.MolDraw2DSVG(-1, -1)
    options: Any = canvas.drawOptions()  # RDKit's stubs give its fields the type of the whole
    if theme == "dark":
        rdMolDraw2D.SetDarkMode(options)
    options.clearBackground = False
    options.scalingFactor = _PIXELS_PER_ANGSTROM
    options.bondLineWidth = 2
    options.highlightRadius = 0.4
    options.setHighlightColour(_MARK[theme])
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol, highlightAtoms=list(unit.connection_points), highlightBonds=[])
    canvas.FinishDrawing()
    text: str = canvas.GetDrawingText()
    return text[text.index("<svg") :]


def _lay_flat(mol: Chem.Mol, first: int, second: int) -> None:
    """Turn a drawing so that the chain runs from left to right."""
    conformer = mol.GetConformer()
    start, end = conformer.GetAtomPosition(first), conformer.GetAtomPosition(second)
    angle = math.atan2(end.y - start.y, end.x - start.x)
    if math.hypot(end.x - start.x, end.y - start.y) < 1e-3:
        return
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    rdMolTransforms.TransformConformer(conformer, turn)
