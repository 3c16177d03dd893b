"""What the featurizers of a batch do: read a part, canonicalise, claim, featurize."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

from periogt_ray.batch.failures import Message, contained
from periogt_ray.batch.ledger import Guard, StageLedger
from periogt_ray.batch.results import PartRow
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import Featurized, featurized_input
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import PolymerInput, read_input
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.tables.parts import Part, TableRow
from periogt_ray.tables.predictions import RowFailure

__all__ = ["Features", "FeaturizePart", "FeaturizedPart", "parsed"]

Features: TypeAlias = dict[PromptScheme, Featurized]  # of one polymer

_MOST_PARSED = 10_000  # 40 MB where all are as long as a SMILES may be
_MOST_MONOMERS = 128  # of copolymers; about half a megabyte each


@dataclass(frozen=True)
class FeaturizedPart:
    """A part between the stages.

    Attributes
    ----------
    number : int
        Position among the parts.
    rows : list of PartRow
        In input order.
    polymers : dict
        Features by canonical SMILES, of the polymers that this part is to compute; a failure where
        there are none.
    """

    number: int
    rows: list[PartRow]
    polymers: dict[str, Features | RowFailure]


class FeaturizePart:
    """CPU stage: from where a part is in the file to its rows and the features of the polymers it claims."""

    def __init__(self, spec: BatchSpec, ledger: StageLedger) -> None:
        self._spec = spec
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Message[FeaturizedPart]]:
        """Featurize one part; the fields of a :class:`Part` come as a row of Ray Data."""
        part = Part(**{name: int(row[name]) for name in Part._fields})
        return {"message": Message.of(partial(self._featurized, part))}

    def _featurized(self, part: Part) -> FeaturizedPart:
        is_careful = self._ledger.begin("featurize", part.number)
        given = self._spec.table.read(part)
        guard = Guard(self._ledger, "parse", part.number, is_careful)
        n_others = len(self._spec.table.columns.others)
        cells = dict.fromkeys((row.smiles, *row.kept[:n_others]) for row in given)
        inputs = {one: guard.run(str(i), partial(_read, self._spec.kind, one)) for i, one in enumerate(cells)}
        polymers = {one.key: one for one in inputs.values() if not isinstance(one, RowFailure)}
        mine = self._ledger.claim(part.number, list(polymers)) if polymers else []
        guard = Guard(self._ledger, "featurize", part.number, is_careful)
        return FeaturizedPart(
            number=part.number,
            rows=[_part_row(row, n_others, inputs[row.smiles, *row.kept[:n_others]]) for row in given],
            polymers={key: guard.run(key, partial(self._features, polymers[key])) for key in mine},
        )

    def _features(self, polymer: PolymerInput) -> Features:
        settings = self._spec.settings
        if isinstance(polymer, RepeatUnit):
            return {scheme: featurized(polymer, scheme, settings)[0] for scheme in self._spec.schemes}
        return {
            scheme: featurized_input(polymer, partial(_monomer, scheme=scheme, settings=settings))
            for scheme in self._spec.schemes
        }


def _part_row(row: TableRow, n_others: int, polymer: PolymerInput | RowFailure) -> PartRow:
    others, kept = row.kept[:n_others], row.kept[n_others:]
    if isinstance(polymer, RowFailure):
        return PartRow(row.id, row.smiles, polymer, (), kept, others)
    return PartRow(row.id, row.smiles, polymer.key, polymer.warnings, kept, others)


@lru_cache(maxsize=_MOST_MONOMERS)
def _monomer(unit: RepeatUnit, scheme: PromptScheme, settings: Settings) -> FeaturizedPolymer:
    """Featurize a monomer; one that this process featurized lately costs a look-up, and a part holds it once."""
    return featurized(unit, scheme, settings)[0]


def _read(kind: InputKind, cells: tuple[str, ...]) -> PolymerInput | RowFailure:
    """Read what a row holds; architectures in any letter case, as tables have them."""
    if kind is InputKind.HOMOPOLYMER:
        return parsed(cells[0])
    if kind is InputKind.COPOLYMER:
        cells = (*cells[:3], cells[3].lower(), *cells[4:])

    def parse(text: str) -> RepeatUnit:
        found = parsed(text)
        if isinstance(found, RowFailure):
            raise ValidationError(found.message)
        return found

    return contained(partial(read_input, kind, cells, parse=parse))


def parsed(text: str) -> RepeatUnit | RowFailure:
    """Parse a SMILES; a text that this process parsed before costs a look-up."""
    return _remembered(text) if len(text) <= MAX_SMILES_LENGTH else contained(partial(RepeatUnit.parse, text))


@lru_cache(maxsize=_MOST_PARSED)
def _remembered(text: str) -> RepeatUnit | RowFailure:
    return contained(partial(RepeatUnit.parse, text))
