"""What the featurizers of a batch do: read a part, canonicalise, claim, featurize."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from periogt_ray.batch.csv_input import Part, read_part
from periogt_ray.batch.failures import Message
from periogt_ray.batch.ledger import Guard
from periogt_ray.batch.results import PartRow, RowFailure
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings

__all__ = ["BatchSpec", "Features", "FeaturizePart", "FeaturizedPart"]

Features: TypeAlias = dict[PromptScheme, FeaturizedPolymer]  # of one polymer


@dataclass(frozen=True)
class BatchSpec:
    """What every worker needs to know of a run."""

    input: Path
    smiles_column: int
    id_column: int | None
    properties: tuple[tuple[str, PromptScheme], ...]
    settings: Settings

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

        spec = self._spec
        is_careful = ray.get(self._ledger.begin.remote("featurize", part.number))
        given = read_part(spec.input, part, smiles_column=spec.smiles_column, id_column=spec.id_column)
        guard = Guard(self._ledger, "parse", part.number, is_careful)
        units = [guard.run(str(i), partial(RepeatUnit.parse, row.smiles)) for i, row in enumerate(given)]
        keys = dict.fromkeys(unit.smiles for unit in units if isinstance(unit, RepeatUnit))
        mine = ray.get(self._ledger.claim.remote(part.number, list(keys))) if keys else []
        guard = Guard(self._ledger, "featurize", part.number, is_careful)
        return FeaturizedPart(
            number=part.number,
            rows=[
                PartRow(row.id, row.smiles, unit.smiles if isinstance(unit, RepeatUnit) else unit)
                for row, unit in zip(given, units, strict=True)
            ],
            polymers={key: guard.run(key, partial(self._features, key)) for key in mine},
        )

    def _features(self, key: str) -> Features:
        unit = RepeatUnit(key)
        return {scheme: featurized(unit, scheme, self._spec.settings)[0] for scheme in self._spec.schemes}
