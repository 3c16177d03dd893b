"""What a batch computes: the answers of a part's polymers, and the finished part as its file holds it."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from periogt_ray.tables.predictions import Answer, Prediction, RowFailure

__all__ = ["Counts", "FinishedPart", "PartRow", "answer_of"]


class PartRow(NamedTuple):
    """One row of the input in a finished part.

    Attributes
    ----------
    id, smiles : str
        As in the input; without a column of ids the number of the row.
    polymer : str or RowFailure
        Canonical SMILES, or the key of another input, which finds the answers; a failure where there is no input.
    warnings : tuple of str
        What parsing changed.
    kept : tuple of str
        Other columns of the input, which the output repeats.
    others : tuple of str
        The rest of an input that is more than a SMILES, which the output repeats, too.
    """

    id: str
    smiles: str
    polymer: str | RowFailure
    warnings: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinishedPart:
    """A part that is computed, as in its file.

    Attributes
    ----------
    number : int
        Position among the parts of the input.
    rows : list of PartRow
        In input order.
    answers : dict
        By canonical SMILES, one answer a property in the order of the record. It has the polymers that this
        part computed; the others are in other parts.
    """

    number: int
    rows: list[PartRow]
    answers: dict[str, list[Answer]]

    @property
    def n_failed(self) -> int:
        """Rows that are known to be failures; rows whose polymer another part computes are not."""
        failed = {key for key, answers in self.answers.items() if any(isinstance(one, RowFailure) for one in answers)}
        return sum(isinstance(row.polymer, RowFailure) or row.polymer in failed for row in self.rows)

    def to_json(self) -> str:
        """Return the content of the part's file; ASCII, so that lone surrogates survive."""
        return json.dumps(self, default=vars, ensure_ascii=True, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, content: bytes) -> "FinishedPart":
        """Read the content of a part's file; ValueError, KeyError or TypeError if it is damaged."""
        document = json.loads(content)
        rows = [
            PartRow(row_id, smiles, _polymer(polymer), tuple(warnings), tuple(kept), tuple(others))
            for row_id, smiles, polymer, warnings, kept, others in document["rows"]
        ]
        answers = {key: [answer_of(one) for one in found] for key, found in document["answers"].items()}
        return cls(document["number"], rows, answers)


def _polymer(found: str | dict[str, str]) -> str | RowFailure:
    return found if isinstance(found, str) else RowFailure(**found)


def answer_of(document: dict[str, Any]) -> Answer:
    """Return the answer that a JSON document holds; KeyError or TypeError if it holds none."""
    if "code" in document:
        return RowFailure(**document)
    # A part of an earlier version has neither interval nor domain.
    lower_and_upper = document.get("interval")
    interval = None if lower_and_upper is None else (float(lower_and_upper[0]), float(lower_and_upper[1]))
    warnings = tuple(document["warnings"])
    return Prediction(document["value"], document["units"], warnings, interval, document.get("domain", ""))


@dataclass
class Counts:
    """Rows of the input; the run keeps these, and :mod:`~periogt_ray.batch.progress` shows them.

    Attributes
    ----------
    n_total : int
        Rows of the input.
    n_done, n_failed : int
        Rows with an answer; those of them that are failures.
    n_computed : int
        Rows with an answer that this run computed, not an earlier one.
    """

    n_total: int
    n_done: int = 0
    n_failed: int = 0
    n_computed: int = 0

    def add(self, n_rows: int, n_failed: int, *, is_computed: bool = True) -> None:
        """Count the rows of a part, which this run computed or an earlier one."""
        self.n_done += n_rows
        self.n_failed += n_failed
        self.n_computed += n_rows if is_computed else 0
