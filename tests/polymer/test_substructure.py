import json
import random
from typing import Any, ClassVar

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.errors import ValidationError
from periogt_ray.polymer import bond_classes, substructure
from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.features import featurize, prompt_graphs
from periogt_ray.polymer.prompt_molecule import PromptMolecule, atom_texts, bond_texts, parse_prompt
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.substructure import SubstructureSearch
from periogt_ray.polymer.triplet_graph import build_triplet_graph
from support.golden import GOLDEN, golden_polymers

# RDKit takes 20 s for the matches of this one.
IMIDE = json.loads((GOLDEN / "imide_matches.json").read_text())
# Five by five fused cyclobutanes and an alkyl chain: all atoms look alike, and paths through the sheet are too many.
SHEET = "*CCCCCCCCCCC1C2C3C4CC5C6C7C(*)C8C9C%10CC%11C%12C1C21C32C54C63C78C94C%10%11C%121C342"

LINKS = (
    "C", "CC", "CCC", "O", "S", "N", "C(=O)", "C(=O)O", "C(=O)N", "S(=O)(=O)", "C=C", "C#C", "C(F)(F)", "C(C)(C)",
    "C(C)(C#N)", "C(C(F)(F)F)", "[C@@H](C)", "[Si](C)(C)", "[N+](C)(C)", "N=N", "P(=O)(C)", "C([2H])([2H])",
)  # fmt: skip
RINGS = (
    "c1ccc(%s)cc1", "c1cccc(%s)c1", "c1ccc(%s)s1", "c1ccc(%s)[nH]1", "c1ccc(%s)c2ccccc12", "C1CCC(%s)CC1",
    "N1C(=O)c2ccc(%s)cc2C1=O", "c1nnc(%s)o1", "C1C2CC(C1%s)C=C2", "c1cc2cc(%s)ccc2[nH]1",
)  # fmt: skip


def random_polymer(source: random.Random) -> str:
    text = "*"
    for _ in range(source.randint(1, 4)):
        text = source.choice(RINGS) % text if source.random() < 0.4 else source.choice(LINKS) + text
    return "*" + text


class Recorded(SubstructureSearch):
    """Keeps what is found."""

    found: ClassVar[list[tuple[int, ...]]] = []

    def first_match_of_patterns(self, *query: Any) -> np.ndarray | None:
        found = super().first_match_of_patterns(*query)
        self.found.append(() if found is None else tuple(found.tolist()))
        return found


class Compared(BondClasses):
    """Compares with RDKit wherever a prompt graph is looked up."""

    n_matches = 0

    def _match(self, prompt: PromptMolecule) -> np.ndarray | None:
        found = super()._match(prompt)
        query = self._query(prompt.smiles, prompt.order)
        expected = () if query is None else self._search._mol.GetSubstructMatch(query)
        assert (() if found is None else tuple(found.tolist())) == tuple(expected), prompt.smiles
        type(self).n_matches += 1
        return found


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> type[Compared]:
    monkeypatch.setattr(Compared, "n_matches", 0)
    return Compared


def look_up_all(
    smiles: str, scheme: PromptScheme = PromptScheme.RELEASE, *, classes: type[BondClasses] = BondClasses
) -> int:
    unit = RepeatUnit.parse(smiles)
    looked_up, graphs = classes(unit), prompt_graphs(unit, scheme)
    return sum(build_triplet_graph(text, looked_up) is not None for text, _ in graphs)


def test_the_first_match_in_golden_polymers_is_rdkits(compared: type[Compared]) -> None:
    for polymer in golden_polymers():
        look_up_all(polymer.smiles, classes=compared)
    assert compared.n_matches > 300


@pytest.mark.parametrize("seed", range(10))
def test_the_first_match_in_random_polymers_is_rdkits(compared: type[Compared], seed: int) -> None:
    source, n_polymers = random.Random(seed), 0
    while n_polymers < 30:
        try:
            look_up_all(random_polymer(source), classes=compared)
        except ValidationError:  # connection points of different bonds, or over-valent
            continue
        n_polymers += 1
    assert compared.n_matches > 100


@pytest.mark.parametrize("smiles", ["*C/C=C/C*", "*C/C(F)=C\\\\C*"])
def test_bonds_with_a_direction_are_looked_up_by_rdkits_query(compared: type[Compared], smiles: str) -> None:
    assert bond_texts(parse_prompt(RepeatUnit.parse(smiles).smiles)) is None
    assert look_up_all(smiles, classes=compared) == compared.n_matches > 0


@pytest.mark.parametrize("smiles", ["*[Ge](C)(C)*", "*[Si](C)(C)O*", "*[N+](C)(C)C*", "*[Se]CC*"])
def test_multimers_in_brackets_are_found(compared: type[Compared], smiles: str) -> None:
    """RDKit writes all atoms in brackets, connection points too, in some of them."""
    n_graphs = len(prompt_graphs(RepeatUnit.parse(smiles), PromptScheme.RELEASE))
    assert look_up_all(smiles, classes=compared) == n_graphs > 1


def test_prompts_are_taken_apart_as_they_are_written() -> None:
    prompt = parse_prompt("*c1ccc(-c2ccc(C#CC(=O)[Si](*)(Cl)Br)[nH]2)cc1")
    texts = atom_texts(prompt)
    assert texts is not None
    assert texts[1:3] + texts[-5:] == ["c", "c", "Cl", "Br", "[nH]", "c", "c"]
    assert bond_texts(prompt)[4] == "-"  # type: ignore[index]
    assert sorted(filter(None, bond_texts(prompt) or ())) == ["#", "-", "="]


def shuffled(mol: Chem.Mol, source: random.Random) -> Chem.Mol:
    order = list(range(mol.GetNumAtoms()))
    source.shuffle(order)
    return Chem.RenumberAtoms(mol, order)


def sheet(source: random.Random, size: int) -> Chem.Mol:
    """Return a square sheet of rings of carbon and some nitrogen; searches in it fail for many reasons."""
    mol, bonds = Chem.RWMol(), 4 * (Chem.BondType.SINGLE,) + (Chem.BondType.DOUBLE,)
    for atom in range(size * size):
        mol.AddAtom(Chem.Atom(source.choice((6, 6, 6, 7))))
        if atom % size:
            mol.AddBond(atom - 1, atom, source.choice(bonds))
        if atom >= size:
            mol.AddBond(atom - size, atom, source.choice(bonds))
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    return mol.GetMol()


def random_part(mol: Chem.Mol, source: random.Random, *, change: float = 0.5) -> Chem.Mol:
    """Return a connected part of a molecule as a query, its atoms in any order, perhaps with one atom changed."""
    part = {source.randrange(mol.GetNumAtoms())}
    for _ in range(source.randint(1, 14)):
        around = {near.GetIdx() for atom in part for near in mol.GetAtomWithIdx(atom).GetNeighbors()} - part
        part |= {source.choice(sorted(around))} if around else set()
    query = Chem.RWMol(Chem.MolFromSmarts(Chem.MolFragmentToSmiles(mol, sorted(part))))
    if source.random() < change:
        other = source.choice(("*", "[#6]", "C", "c", "N", "[F,Cl]", "[CH3]"))
        query.ReplaceAtom(source.randrange(query.GetNumAtoms()), Chem.MolFromSmarts(other).GetAtomWithIdx(0))
    return shuffled(query.GetMol(), source)


def test_the_first_match_of_random_parts_is_rdkits() -> None:
    source, matches = random.Random(0), []
    mols = [Chem.MolFromSmiles(polymer.smiles) for polymer in golden_polymers()]
    for _ in range(1500):
        mol = shuffled(source.choice(mols), source)
        query = random_part(source.choice((mol, source.choice(mols))), source)
        if query.GetNumBonds():
            matches.append(SubstructureSearch(mol).first_match(query))
            assert matches[-1] == tuple(mol.GetSubstructMatch(query)), (Chem.MolToSmiles(mol), Chem.MolToSmarts(query))
    n_found = sum(map(bool, matches))
    assert min(n_found, len(matches) - n_found) > 400


def test_the_first_match_in_sheets_is_rdkits() -> None:
    source, matches = random.Random(0), []
    for _ in range(40):
        mol = sheet(source, 5)
        search = SubstructureSearch(mol)
        for _ in range(50):
            query = random_part(sheet(source, 4), source, change=0.0)
            matches.append(search.first_match(query))
            assert matches[-1] == tuple(mol.GetSubstructMatch(query)), (Chem.MolToSmiles(mol), Chem.MolToSmarts(query))
    n_found = sum(map(bool, matches))
    assert min(n_found, len(matches) - n_found) > 300


def test_one_search_serves_several_queries() -> None:
    mol = Chem.MolFromSmiles("CC(=O)OCC=C")
    search = SubstructureSearch(mol)
    for smarts in ("C=O", "C-O", "CC", "O=C", "*=*", "C=C", "CO", "N=C", "C=O"):
        query = Chem.MolFromSmarts(smarts)
        assert search.first_match(query) == tuple(mol.GetSubstructMatch(query))


def test_symmetric_side_groups_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permutations of the fluorine atoms of six CF3 groups would be 46656, times flips of rings."""
    monkeypatch.setattr(substructure, "MAX_MATCH_STEPS", 5000)
    monkeypatch.setattr(bond_classes, "SubstructureSearch", Recorded)
    monkeypatch.setattr(Recorded, "found", [])
    assert look_up_all(IMIDE["repeat_unit"]) == len(IMIDE["matches"])
    assert Recorded.found == [tuple(match) for match in IMIDE["matches"].values()]


def test_too_long_a_search_is_always_refused() -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(ValidationError, match=r"within 1000000 steps.*less symmetric") as caught:
            featurize(RepeatUnit.parse(SHEET))
        messages.add(caught.value.message)
    assert len(messages) == 1
