"""What a text that is no repeat unit was probably meant to be, and how to write that.

Other programs mark connection points by rare elements or by R groups, and other notations describe polymers. Each
function returns advice for an error message, one or more sentences with a blank behind them, or an empty string.
"""

import re

from rdkit import Chem

__all__ = ["advice_on_atoms", "advice_on_period", "advice_on_text"]

# Elements that programs put where a repeat unit goes on, because no polymer has them.
_PLACEHOLDERS = frozenset({"Ce", "Th", "At", "Lr", "Po", "Xe", "U"})
_R_GROUP = re.compile(r"\[(?:R\d*|Q|X\d*)\]")
_BIGSMILES = re.compile(r"\{.*[\]\[$<>].*\}")
_LADDER = 4  # connection points
_NOT_METALS = frozenset(
    {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Te", "I", "At"}
    | {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}
)


def advice_on_text(text: str) -> str:
    """Return advice on a text that cannot be read as a SMILES.

    Examples
    --------
    >>> advice_on_text("[R1]CC[R2]")
    'Write a connection point as *: *CC*. '
    """
    if _BIGSMILES.search(text):
        return "BigSMILES cannot be read; write the repeat unit with * for each bonding descriptor. "
    if len(_R_GROUP.findall(text)) == 2:
        return f"Write a connection point as *: {_R_GROUP.sub('*', text)}. "
    if "," in text:
        return "One polymer is expected, not a list. "
    first, *rest = text.split()
    if rest:
        return f"Leave out what follows the SMILES {first!r}. "
    return ""


def advice_on_atoms(mol: Chem.Mol) -> str:
    """Return advice on a molecule that has not two connection points.

    Examples
    --------
    >>> advice_on_atoms(Chem.MolFromSmiles("[Ce]OCC[Th]"))
    'Ce and Th at its ends look like connection points; write them as *: *CCO*. '
    """
    points = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    if len(points) == _LADDER:
        return "Ladder polymers, whose units are joined by two bonds at each end, are not served. "
    ends = [atom for atom in mol.GetAtoms() if atom.GetSymbol() in _PLACEHOLDERS]
    if points or len(ends) != 2 or any(atom.GetDegree() != 1 for atom in ends):
        return ""
    symbols = sorted({atom.GetSymbol() for atom in ends})
    written = Chem.RWMol(mol)
    for atom in ends:
        written.ReplaceAtom(atom.GetIdx(), Chem.Atom(0))
    return (
        f"{' and '.join(symbols)} at its ends look like connection points; "
        f"write them as *: {Chem.MolToSmiles(written)}. "
    )


def advice_on_period(mol: Chem.Mol) -> str:
    """Return advice on a repeat unit that is not found in a chain of itself.

    Examples
    --------
    >>> advice_on_period(Chem.MolFromSmiles("*C[Fe]C*"))
    'It holds a metal (Fe), and the networks were trained on polymers without metals. '
    """
    metals = sorted({atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum()} - _NOT_METALS)
    if metals:
        return f"It holds a metal ({', '.join(metals)}), and the networks were trained on polymers without metals. "
    return "Another spelling of the polymer, cut at another backbone bond, may work. "
