"""Repeat units, and the molecules that are made of them.

A repeat unit is a SMILES with two connection points (``*``); the atom that a connection point is
bonded to is its attachment atom. An oligomer is a chain of repeat units capped with hydrogen, a
multimer a chain that keeps its outer connection points, a frame shift the same infinite chain cut
at another backbone bond. The rules are those the published checkpoints were trained with
(Wu et al., Nature Computational Science 5, 1214, 2025).
"""

import functools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from rdkit import Chem, rdBase

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.atoms_and_bonds import atoms_of
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.polymer.spelling import advice_on_atoms, advice_on_text

__all__ = ["OLIGOMER_SIZES", "RepeatUnit", "parse_smiles", "shared_molecule"]

OLIGOMER_SIZES = (3, 6, 9)

_CHIRAL_TAGS = (
    Chem.ChiralType.CHI_UNSPECIFIED,
    Chem.ChiralType.CHI_TETRAHEDRAL_CW,
    Chem.ChiralType.CHI_TETRAHEDRAL_CCW,
)
_WRITTEN_ORDER = "_smilesAtomOutputOrder"  # where RDKit notes the atoms in the order of a SMILES that it wrote
_JOINABLE = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


def parse_smiles(smiles: str) -> Chem.Mol:
    """Parse a SMILES and sanitize it.

    Raises
    ------
    ValidationError
        If RDKit cannot read it; the message carries RDKit's reason.
    """
    with rdBase.BlockLogs(), rdBase.CaptureErrorLog() as log:
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValidationError(
            f"RDKit cannot parse the SMILES {_shown(smiles)}: {_reason(log.messages)}. "
            + (advice_on_text(smiles) or "Check brackets, ring closures and valences. ")
            + "Expected a SMILES such as *CC(*)c1ccccc1."
        )
    return mol


@functools.lru_cache(maxsize=16)
def shared_molecule(smiles: str) -> Chem.Mol:
    """Parse a SMILES as :func:`parse_smiles` does; the molecule must not be modified.

    A repeat unit is looked at from several sides, and parsing it costs more than most of them. The last few are kept.
    """
    return parse_smiles(smiles)


@dataclass(frozen=True)
class RepeatUnit:
    """A valid repeat unit; make one with :meth:`parse`.

    Attributes
    ----------
    smiles : str
        Canonical SMILES: equal for equivalent spellings, and what all features are computed from.
    warnings : tuple of str
        What was left out of the SMILES that was given; units that differ in this only are equal. No warning holds
        a semicolon, because tables separate warnings by one.
    """

    smiles: str
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, smiles: str) -> "RepeatUnit":
        """Validate a SMILES and bring it into canonical form.

        Parameters
        ----------
        smiles : str
            1 to 2000 characters with two connection points, ``*`` or ``[*]``. Isotopes and map numbers are
            left out, with a warning unless they stand at a connection point.

        Raises
        ------
        ValidationError
            Naming what is wrong and what was expected.

        Examples
        --------
        >>> RepeatUnit.parse("[2H]C(*)C*")
        RepeatUnit(smiles='*CC*', warnings=('Isotopes were left out, because the networks do not know them',))
        """
        text = smiles.strip()
        if not text:
            raise ValidationError(
                "The SMILES is empty; expected a repeat unit with two connection points, such as *CC(*)c1ccccc1."
            )
        if len(smiles) > MAX_SMILES_LENGTH:
            raise ValidationError(f"The SMILES has {len(smiles)} characters; at most {MAX_SMILES_LENGTH} are accepted.")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValidationError(
                f"The SMILES {_shown(text)} holds a space, a control or a non-ASCII character. {advice_on_text(text)}"
                "Expected a SMILES only, without a name or extensions behind it."
            )
        mol = parse_smiles(text)
        _check_connections(mol, text)
        _check_bonds(mol, text)
        warnings = _clear_labels(mol)
        return cls(_canonical(mol), warnings)

    @property
    def key(self) -> str:
        """Text that is equal for equal polymers."""
        return self.smiles

    @cached_property
    def mol(self) -> Chem.Mol:
        """The molecule of the canonical SMILES; not to be modified."""
        return shared_molecule(self.smiles)

    @cached_property
    def connection_points(self) -> tuple[int, int]:
        """Indices of the connection points, ascending."""
        first, second = _connection_points(self.mol)
        return first.GetIdx(), second.GetIdx()

    @cached_property
    def attachment_atoms(self) -> tuple[int, int]:
        """Indices of the atoms that the connection points are bonded to, in their order."""
        first, second = (self.mol.GetAtomWithIdx(i).GetNeighbors()[0].GetIdx() for i in self.connection_points)
        return first, second

    @cached_property
    def connection_bond(self) -> Chem.BondType:
        """Type of the bonds to the connection points, hence between repeat units."""
        return self.mol.GetAtomWithIdx(self.connection_points[0]).GetBonds()[0].GetBondType()

    @property
    def n_backbone_atoms(self) -> int:
        """Atoms on the shortest path between the connection points, which are left out."""
        return len(self._backbone) - 2

    @cached_property
    def _backbone(self) -> tuple[int, ...]:
        return tuple(Chem.GetShortestPath(self.mol, *self.connection_points))

    def mirror_image(self) -> "RepeatUnit":
        """Return the repeat unit with every stereocentre inverted; without any, the unit itself."""
        if "@" not in self.smiles:
            return self
        mol = Chem.Mol(self.mol)
        for atom in mol.GetAtoms():
            atom.InvertChirality()
        return RepeatUnit(_canonical(mol))

    def first_of_mirror_images(self) -> "RepeatUnit":
        """Return this unit or its mirror image, whichever canonical SMILES sorts first.

        Examples
        --------
        >>> left, right = RepeatUnit.parse("*O[C@@H](C)C(=O)*"), RepeatUnit.parse("*O[C@H](C)C(=O)*")
        >>> left.first_of_mirror_images() == right.first_of_mirror_images()
        True
        """
        return min(self, self.mirror_image(), key=lambda unit: unit.smiles)

    def oligomer(self, n_units: int) -> Chem.Mol:
        """Return the chain of ``n_units`` repeat units with hydrogen at both ends.

        The molecule is parsed from its own canonical SMILES, because some descriptors depend on
        the Kekule form that the parser chooses.
        """
        return self.oligomer_and_units(n_units)[0]

    def oligomer_and_units(self, n_units: int) -> tuple[Chem.Mol, np.ndarray | None]:
        """Return the chain, and for each of its atoms which of the repeat units it belongs to.

        Returns
        -------
        tuple of (rdkit.Chem.Mol, numpy.ndarray or None)
            The units are int64 [atoms], counted from 0 at one end; None where the chain needs more than bonds.

        Examples
        --------
        >>> RepeatUnit.parse("*CO*").oligomer_and_units(3)[1].tolist()
        [0, 0, 1, 1, 2, 2]
        """
        if self._core is not None:
            with suppress(ValueError, RuntimeError), rdBase.BlockLogs():
                smiles, units = self._capped_smiles(n_units)
                # None where it is not valid, which is told below.
                if (oligomer := Chem.MolFromSmiles(smiles, _as_written())) is not None:
                    # Apart from the parsing, which would look for stereocentres: a chain with a core has no labels.
                    Chem.SanitizeMol(oligomer)
                    return oligomer, units
        chain, ends = self._chain(n_units)
        for end in ends:
            chain.GetAtomWithIdx(end).SetAtomicNum(1)
        try:
            with rdBase.BlockLogs():
                capped = Chem.RemoveHs(chain.GetMol())
            return parse_smiles(Chem.MolToSmiles(capped)), None
        except (ValueError, RuntimeError, ValidationError) as error:
            raise ValidationError(
                f"{n_units} repeat units of {_shown(self.smiles)} do not join to a valid molecule: "
                f"{_reason(str(error))}. Check the valences of the attachment atoms."
            ) from error

    @cached_property
    def _core(self) -> tuple[Chem.Mol, int, int] | None:
        """The repeat unit without connection points and the indices of its attachment atoms.

        None where a chain of it needs more than bonds: where hydrogens or a stereocentre's neighbours have to be
        accounted for.
        """
        mol, joints = self.mol, self.attachment_atoms
        atoms = [mol.GetAtomWithIdx(index) for index in joints]
        if (
            self.connection_bond != Chem.BondType.SINGLE
            or any(mark in self.smiles for mark in "@/\\")
            or any(atom.GetNoImplicit() or (atom.GetIsAromatic() and atom.GetAtomicNum() != 6) for atom in atoms)
            or 1 in map(Chem.Atom.GetAtomicNum, atoms_of(mol))
        ):
            return None
        core = Chem.RWMol(mol)
        for point in sorted(self.connection_points, reverse=True):
            core.RemoveAtom(point)
        head, tail = (joint - sum(point < joint for point in self.connection_points) for joint in joints)
        return core.GetMol(), head, tail

    def _capped_smiles(self, n_units: int) -> tuple[str, np.ndarray]:
        """Return the SMILES of the chain with hydrogen at both ends, and each atom's unit; the unit has a core."""
        assert self._core is not None
        core, head, tail = self._core
        n_atoms = core.GetNumAtoms()
        chain = Chem.RWMol(core)
        for unit in range(1, n_units):
            chain.InsertMol(core)
            chain.AddBond((unit - 1) * n_atoms + tail, unit * n_atoms + head, Chem.BondType.SINGLE)
        chain.UpdatePropertyCache()
        Chem.GetSymmSSSR(chain)
        smiles = str(Chem.MolToSmiles(chain))
        written = json.loads(chain.GetProp(_WRITTEN_ORDER).replace(",]", "]"))
        return smiles, np.array(written, dtype=np.int64) // n_atoms

    def multimer(self, n_units: int) -> str:
        """Return the SMILES of ``n_units`` repeat units; one unit is the repeat unit itself."""
        if n_units == 1:
            return self.smiles
        chain, _ = self._chain(n_units)
        return Chem.MolToSmiles(chain.GetMol())

    def frame_shifts(self) -> list[str]:
        """Return the repeat unit and its distinct shifted cuts, as SMILES, without repeats.

        Every backbone bond that is in no ring is cut once and the old connection points joined.
        """
        shifts = [self.smiles, *(str(Chem.MolToSmiles(cut)) for cut in self.shifted_cuts())]
        return list(dict.fromkeys(shifts))

    def shifted_cuts(self) -> Iterator[Chem.Mol]:
        """Yield the molecule of each shifted cut as it is after the cutting: not sanitized, and without rings."""
        for left, right in pairwise(self._backbone[1:-1]):
            bond = self.mol.GetBondBetweenAtoms(left, right)
            if not bond.IsInRing():
                yield self._cut(left, right, bond.GetBondType())

    def _cut(self, left: int, right: int, bond_type: Chem.BondType) -> Chem.Mol:
        shifted = Chem.RWMol(self.mol)
        shifted.RemoveBond(left, right)
        for atom in (left, right):
            shifted.AddBond(atom, shifted.AddAtom(Chem.Atom(0)), bond_type)
        shifted.AddBond(*self.attachment_atoms, self.connection_bond)
        for point in sorted(self.connection_points, reverse=True):
            shifted.RemoveAtom(point)
        return shifted.GetMol()

    def _chain(self, n_units: int) -> tuple[Chem.RWMol, tuple[int, int]]:
        """Join copies; return the chain and the indices of its outer connection points."""
        n_atoms = self.mol.GetNumAtoms()
        (first, second), (head, tail) = self.connection_points, self.attachment_atoms
        chain = Chem.RWMol(self.mol)
        inner: list[int] = []
        for unit in range(1, n_units):
            offset = unit * n_atoms
            chain.InsertMol(self.mol)
            chain.AddBond(offset - n_atoms + tail, offset + head, self.connection_bond)
            inner += [offset - n_atoms + second, offset + first]
        ends = first, (n_units - 1) * n_atoms + second
        for point in sorted(inner, reverse=True):
            chain.RemoveAtom(point)
        left, right = (end - sum(point < end for point in inner) for end in ends)
        return chain, (left, right)


@functools.cache
def _as_written() -> Chem.SmilesParserParams:
    """Return how to parse a SMILES of RDKit's own: hydrogens as they are, without sanitizing."""
    parameters = Chem.SmilesParserParams()
    parameters.sanitize = False  # type: ignore[assignment]  # RDKit's stubs name another type
    parameters.removeHs = False  # type: ignore[assignment]
    return parameters


def _clear_labels(mol: Chem.Mol) -> tuple[str, ...]:
    """Remove isotopes and map numbers; return a warning for each kind that stood at an atom of the polymer."""
    has_isotope = has_number = False
    for atom in atoms_of(mol):
        if atom.GetAtomicNum():
            has_isotope |= atom.GetIsotope() > 0
            has_number |= atom.GetAtomMapNum() > 0
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    warnings = []
    if has_isotope:
        warnings.append("Isotopes were left out, because the networks do not know them")
    if has_number:
        warnings.append("Atom-map numbers were left out")
    return tuple(warnings)


def _canonical(mol: Chem.Mol) -> str:
    """Return the canonical SMILES; parsing again perceives what depends on labels that were changed."""
    return str(Chem.MolToSmiles(shared_molecule(Chem.MolToSmiles(mol))))


def _connection_points(mol: Chem.Mol) -> list[Chem.Atom]:
    return [atom for atom in atoms_of(mol) if atom.GetAtomicNum() == 0]


def _check_bonds(mol: Chem.Mol, smiles: str) -> None:
    """Refuse what descriptors are not defined for, or what has no canonical form."""
    for index in range(mol.GetNumBonds()):
        if mol.GetBondWithIdx(index).GetBondTypeAsDouble() == 0:
            raise ValidationError(
                f"A bond of {_shown(smiles)} has no order; expected single, double, triple, aromatic or dative bonds."
            )
    for index in range(mol.GetNumAtoms()):
        atom = mol.GetAtomWithIdx(index)
        if atom.GetChiralTag() not in _CHIRAL_TAGS:
            raise ValidationError(
                f"Atom {index} ({atom.GetSymbol()}) of {_shown(smiles)} has a stereo label other than @ or @@, for "
                "which there is no unique spelling; leave the label out."
            )


def _check_connections(mol: Chem.Mol, smiles: str) -> None:
    n_fragments = len(Chem.GetMolFrags(mol))
    if n_fragments != 1:
        raise ValidationError(
            f"The SMILES {_shown(smiles)} holds {n_fragments} fragments; expected one repeat unit. Leave solvents out, "
            "and write a salt as its neutral acid or base: charged repeat units were hardly seen in training."
        )
    points = _connection_points(mol)
    if len(points) != 2:
        raise ValidationError(
            f"The SMILES {_shown(smiles)} has {len(points)} connection point{'s' * (len(points) != 1)} (*). "
            f"{advice_on_atoms(mol)}Expected exactly 2, one at each end of the repeat unit, as in *CC(*)c1ccccc1."
        )
    for point in points:
        if point.GetDegree() != 1:
            raise ValidationError(
                f"A connection point (*) of {_shown(smiles)} has {point.GetDegree()} neighbours; expected exactly 1, "
                "because it stands for the next repeat unit."
            )
        if point.GetFormalCharge() or point.GetTotalNumHs() or point.GetNumRadicalElectrons():
            raise ValidationError(
                f"A connection point of {_shown(smiles)} carries a charge, hydrogen or radical; expected a plain *."
            )
    if points[0].GetNeighbors()[0].GetIdx() == points[1].GetIdx():
        raise ValidationError(
            f"There are no atoms between the connection points of {_shown(smiles)}; "
            "expected a repeat unit such as *CC*."
        )
    first, second = (point.GetBonds()[0].GetBondType() for point in points)
    if first != second:
        raise ValidationError(
            f"The connection points of {_shown(smiles)} are attached by unequal bonds "
            f"({first.name.lower()} and {second.name.lower()}); expected the same type, or repeat units cannot join."
        )
    if first not in _JOINABLE:
        raise ValidationError(
            f"The connection points of {_shown(smiles)} are attached by {first.name.lower()} bonds; "
            "expected single, double or triple bonds."
        )


def _reason(log: str) -> str:
    """Shorten RDKit's log to the sentence that says what is wrong."""
    lines = [line.split("] ", 1)[-1].strip() for line in log.splitlines()]
    lines = [
        line
        for line in lines
        if line and not line.startswith(("SMILES Parse Error: check", "Failed Expression", "---", "*"))
    ]
    return (lines[0] if lines else "no reason given").removeprefix("SMILES Parse Error: ").rstrip(".!: ")


def _shown(smiles: str) -> str:
    text = repr(smiles)
    return text if len(text) <= 120 else f"{text[:110]}...{text[-6:]}"
