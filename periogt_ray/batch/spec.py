"""What every worker of a batch needs to know; loads nothing, because the driver has it, too."""

from dataclasses import dataclass

from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.settings import Settings
from periogt_ray.tables.csv_table import CsvTable

__all__ = ["BatchSpec"]


@dataclass(frozen=True)
class BatchSpec:
    """What every worker needs to know of a run."""

    table: CsvTable
    properties: tuple[tuple[str, PromptScheme], ...]
    settings: Settings
    level: float = 0.9  # coverage of intervals
    kind: InputKind = InputKind.HOMOPOLYMER

    @property
    def schemes(self) -> tuple[PromptScheme, ...]:
        """The distinct prompt schemes of the properties."""
        return tuple(dict.fromkeys(scheme for _, scheme in self.properties))
