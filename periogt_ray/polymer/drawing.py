"""Drawings of repeat units as SVG, connection points marked, the chain from left to right.

RDKit's drawing module loads libraries of the X window system, which a bare compute node may lack. Only
:func:`draw` needs it, so it is loaded there.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdMolTransforms

from periogt_ray.errors import DrawingUnavailableError, ValidationError
from periogt_ray.polymer.limits import MAX_DRAWN_ATOMS
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["DrawingProblem", "Theme", "draw", "drawing_problem", "laid_out", "new_canvas", "svg_of"]

Theme = Literal["light", "dark"]

_PIXELS_PER_ANGSTROM = 28  # a bond is 1.5 of them
_MARK: dict[Theme, tuple[float, float, float]] = {"light": (0.60, 0.84, 0.80), "dark": (0.11, 0.40, 0.38)}


@dataclass(frozen=True)
class DrawingProblem:
    """Why nothing can be drawn on this machine.

    Attributes
    ----------
    reason : str
        What the loader said.
    remedy : str
        What to install.
    """

    reason: str
    remedy: str = (
        "Install libxrender1 libxext6 libexpat1 (Debian, Ubuntu) or libXrender libXext expat (Red Hat, Rocky), or use "
        "the container."
    )

    def __str__(self) -> str:
        return f"Drawings are off: {self.reason}. {self.remedy}"


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
    DrawingUnavailableError
        If RDKit's drawing module does not load on this machine.
    """
    mol = laid_out(unit)
    drawing, canvas = new_canvas()
    options: Any = canvas.drawOptions()  # RDKit's stubs give its fields the type of the whole
    if theme == "dark":
        drawing.SetDarkMode(options)
    options.highlightRadius = 0.4
    options.setHighlightColour(_MARK[theme])
    drawing.PrepareAndDrawMolecule(canvas, mol, highlightAtoms=list(unit.connection_points), highlightBonds=[])
    return svg_of(canvas)


def laid_out(unit: RepeatUnit) -> Chem.Mol:
    """Return a repeat unit's molecule with places of its atoms in a drawing.

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
    return mol


def new_canvas() -> tuple[Any, Any]:
    """Return RDKit's drawing module, and a canvas without background whose size follows from the molecule.

    Raises
    ------
    DrawingUnavailableError
        If the module does not load on this machine.
    """
    drawing = _drawing_module()
    canvas = drawing.MolDraw2DSVG(-1, -1)
    options: Any = canvas.drawOptions()
    options.clearBackground = False
    options.scalingFactor = _PIXELS_PER_ANGSTROM
    options.bondLineWidth = 2
    return drawing, canvas


def svg_of(canvas: Any) -> str:
    """Finish a canvas and return its ``svg`` element."""
    canvas.FinishDrawing()
    text: str = canvas.GetDrawingText()
    return text[text.index("<svg") :]


def drawing_problem() -> DrawingProblem | None:
    """Return why nothing can be drawn on this machine; None if drawings work."""
    try:
        _drawing_module()
    except DrawingUnavailableError as error:
        return DrawingProblem(str(error.__cause__))
    return None


def _drawing_module() -> Any:
    try:
        from rdkit.Chem.Draw import rdMolDraw2D
    except (ImportError, OSError) as error:
        # The cause may name a path of this machine, which no client may see.
        raise DrawingUnavailableError(
            "Drawings are off: a library that RDKit draws with does not load on this machine. Predictions do not need "
            "it; `periogt doctor` there says what to install."
        ) from error
    return rdMolDraw2D


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
