"""What the featurizers of a batch do: read a part, canonicalise, claim, featurize."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from periogt_ray.batch.csv_input import Part, read_part
from periogt_ray.batch.ledger import Guard
from periogt_ray.batch.parts import PartResult
from periogt_ray.errors import PerioGTError
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings

__all__ = ["BatchSpec", "FeaturizePart", "PartMessage", "Work"]


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


# Without repr: Ray Data asks for that of every object that it takes into a table, all its arrays included.
@dataclass(frozen=True, repr=False)
class Work:
    """A part between the stages; a class of its own, so that Ray Data keeps it whole."""

    rows: list[list[str | None]] = field(default_factory=list)
    polymers: dict[str, dict[PromptScheme, FeaturizedPolymer] | PerioGTError] = field(default_factory=dict)
    fatal: PerioGTError | None = None


@dataclass(frozen=True, repr=False)
class PartMessage:
    """What the driver gets for a part: its result, or the error that ends the run."""

    result: PartResult | None = None
    fatal: PerioGTError | None = None


class FeaturizePart:
    """CPU stage: ``{"part": Part fields}`` to rows and the features of the polymers it claims."""

    def __init__(self, spec: BatchSpec, ledger: Any) -> None:
        self._spec = spec
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Featurize one part; what concerns the run is passed on."""
        part = Part(*map(int, row["part"]))
        try:
            work = self._work(part)
        except PerioGTError as error:
            work = Work(fatal=error)
        return {"part": part.number, "work": work}

    def _work(self, part: Part) -> Work:
        import ray

        spec = self._spec
        is_careful = ray.get(self._ledger.begin.remote("featurize", part.number))
        given = read_part(spec.input, part, smiles_column=spec.smiles_column, id_column=spec.id_column)
        guard = Guard(self._ledger, "parse", part.number, is_careful)
        units = [guard.run(str(i), partial(RepeatUnit.parse, item.smiles)) for i, item in enumerate(given)]
        keys = dict.fromkeys(unit.smiles for unit in units if isinstance(unit, RepeatUnit))
        mine = ray.get(self._ledger.claim.remote(part.number, list(keys))) if keys else []
        guard = Guard(self._ledger, "featurize", part.number, is_careful)
        return Work(
            rows=[_row(item.id, item.smiles, unit) for item, unit in zip(given, units, strict=True)],
            polymers={key: guard.run(key, partial(self._featurize, key)) for key in mine},
        )

    def _featurize(self, key: str) -> dict[PromptScheme, FeaturizedPolymer]:
        unit = RepeatUnit(key)
        return {scheme: featurized(unit, scheme, self._spec.settings)[0] for scheme in self._spec.schemes}


def _row(identifier: str, smiles: str, unit: RepeatUnit | PerioGTError) -> list[str | None]:
    if isinstance(unit, PerioGTError):
        return [identifier, smiles, None, unit.code, unit.message]
    return [identifier, smiles, unit.smiles]
