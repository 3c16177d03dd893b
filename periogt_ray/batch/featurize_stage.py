"""What the featurizers of a batch do: read a part, canonicalise, claim, featurize."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

from periogt_ray.batch.failures import Message, contained
from periogt_ray.batch.ledger import Guard
from periogt_ray.batch.results import PartRow
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.tables.csv_table import CsvTable
from periogt_ray.tables.parts import Part, TableRow
from periogt_ray.tables.predictions import RowFailure

__all__ = ["BatchSpec", "Features", "FeaturizePart", "FeaturizedPart"]

Features: TypeAlias = dict[PromptScheme, FeaturizedPolymer]  # of one polymer

_MOST_PARSED = 10_000  # 40 MB where all are as long as a SMILES may be


@dataclass(frozen=True)
class BatchSpec:
    """What every worker needs to know of a run."""

    table: CsvTable
    properties: tuple[tuple[str, PromptScheme], ...]
    settings: Settings
    level: float = 0.9  # coverage of intervals

    @property
    def schemes(self) -> tuple[PromptScheme, ...]:
        """The distinct prompt schemes of the properties."""
        return tuple(dict.fromkeys(scheme for _, scheme in self.properties))


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

    def __init__(self, spec: BatchSpec, ledger: Any) -> None:
        self._spec = spec
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Message[FeaturizedPart]]:
        """Featurize one part; the fields of a :class:`Part` come as a row of Ray Data."""
        part = Part(**{name: int(row[name]) for name in Part._fields})
        return {"message": Message.of(partial(self._featurized, part))}

    def _featurized(self, part: Part) -> FeaturizedPart:
        import ray

        is_careful = ray.get(self._ledger.begin.remote("featurize", part.number))
        given = self._spec.table.read(part)
        guard = Guard(self._ledger, "parse", part.number, is_careful)
        texts = dict.fromkeys(row.smiles for row in given)
        units = {text: guard.run(str(i), partial(_parsed, text)) for i, text in enumerate(texts)}
        keys = dict.fromkeys(unit.smiles for unit in units.values() if isinstance(unit, RepeatUnit))
        mine = ray.get(self._ledger.claim.remote(part.number, list(keys))) if keys else []
        guard = Guard(self._ledger, "featurize", part.number, is_careful)
        return FeaturizedPart(
            number=part.number,
            rows=[_part_row(row, units[row.smiles]) for row in given],
            polymers={key: guard.run(key, partial(self._features, key)) for key in mine},
        )

    def _features(self, key: str) -> Features:
        unit = RepeatUnit(key)
        return {scheme: featurized(unit, scheme, self._spec.settings)[0] for scheme in self._spec.schemes}


def _part_row(row: TableRow, unit: RepeatUnit | RowFailure) -> PartRow:
    if isinstance(unit, RowFailure):
        return PartRow(row.id, row.smiles, unit, (), row.kept)
    return PartRow(row.id, row.smiles, unit.smiles, unit.warnings, row.kept)


def _parsed(text: str) -> RepeatUnit | RowFailure:
    """Parse a SMILES; a text that this process parsed before costs a look-up."""
    return _remembered(text) if len(text) <= MAX_SMILES_LENGTH else contained(partial(RepeatUnit.parse, text))


@lru_cache(maxsize=_MOST_PARSED)
def _remembered(text: str) -> RepeatUnit | RowFailure:
    return contained(partial(RepeatUnit.parse, text))
