"""How a batch ended: the JSON document beside the output."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from periogt_ray.runtime.files import write_json_atomically

__all__ = ["BatchSummary"]


@dataclass(frozen=True)
class BatchSummary:
    """How a batch ended that was not interrupted: the document beside the output.

    Attributes
    ----------
    input, output : str
        Paths.
    output_bytes : int
        Size of the output.
    n_input_rows : int
        Data rows of the input.
    n_rows, n_failed : int
        Rows of the output; those of them that are failures.
    failures : dict
        Rows that are failures, by code.
    n_warned : int
        Rows of the output that have warnings.
    basis : Mapping
        Everything that the output follows from, as in :class:`~periogt_ray.batch.resume.Basis`.
    device : str
        Kind of device that computed.
    n_rows_computed : int
        Rows of the input that this run computed, not an earlier one.
    elapsed_s, rows_per_s : float
        Duration of this run, in seconds; computed rows a second.
    """

    input: str
    output: str
    output_bytes: int
    n_input_rows: int
    n_rows: int
    n_failed: int
    failures: dict[str, int]
    n_warned: int
    basis: Mapping[str, Any]
    device: str
    n_rows_computed: int
    elapsed_s: float
    rows_per_s: float

    @property
    def exit_code(self) -> int:
        """0 if every row has a prediction, 1 if some are failures."""
        return 1 if self.n_failed else 0

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """Write the document."""
        write_json_atomically(path, self.document)

    @classmethod
    def read(cls, path: Path) -> "BatchSummary | None":
        """Read the document; None if there is none, or none of this version."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
