"""What the user says of a finetuning."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from periogt_ray.training.dataset import DataOptions
from periogt_ray.training.recipe import Recipe

__all__ = ["FinetuneOptions"]

_SMALL_WIDTH = 256
_SMALL_RATE, _RATES = 1e-3, (1e-4, 5e-4)
# What a continued run may be given anew: it changes how fast it goes and what it prints, not what comes out.
_FREE = frozenset({"engine", "address", "time_limit_s", "shared"})


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of `periogt finetune`; see its ``--help``.

    Attributes
    ----------
    data : pathlib.Path
        The table.
    property_id, label, units : str
        Of the new property.
    output : pathlib.Path
        Directory of the result.
    table : DataOptions
        Of the table.
    recipe : {"default", "authors"}
        The protocol.
    split : {"random", "cluster"}
        How polymers are divided for the networks that are kept.
    test_share : float
        Held out.
    n_folds : int
        Of a round.
    n_members : int or None
        Networks that are kept; None: one a fold.
    epochs, patience, batch_size : int
        Of the trainings.
    learning_rate : float or None
        None: 1e-3 for a small encoder, else the better one of 1e-4 and 5e-4 on one fold's validation.
    dropout, weight_decay : float
        Of the trainings.
    is_frozen : bool
        Whether only the new parts learn.
    alpha : float
        Share of values outside the intervals.
    seed : int
        Of everything that is drawn.
    time_limit_s : float or None
        After which trainings end at their best epoch so far, and what is not needed is left out.
    is_fast, is_deterministic : bool
        TF32 on a GPU; deterministic algorithms there.
    shares_smiles : bool
        Whether the package holds the training polymers' SMILES.
    scheme : str or None
        Prompt scheme; None: that of the artifacts.
    engine : {"local", "ray"}
        What trains: this process, or tasks of Ray.
    address : str or None
        Of a Ray that runs.
    shared : pathlib.Path or None
        Directory of features and prompts that runs of several columns share; None: the output's own.
    """

    data: Path
    property_id: str
    units: str
    output: Path
    label: str = ""
    table: DataOptions = field(default_factory=DataOptions)
    recipe: Literal["default", "authors"] = "default"
    split: Literal["random", "cluster"] = "random"
    test_share: float = 0.2
    n_folds: int = 5
    n_members: int | None = None
    epochs: int = 50
    patience: int = 20
    batch_size: int = 32
    learning_rate: float | None = None
    dropout: float | None = None
    weight_decay: float = 0.0
    is_frozen: bool = False
    alpha: float = 0.1
    seed: int = 0
    time_limit_s: float | None = None
    is_fast: bool = False
    is_deterministic: bool = False
    shares_smiles: bool = False
    scheme: str | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    shared: Path | None = None

    def recipes(self, width: int) -> list[Recipe]:
        """Return what is tried: one recipe, or several that differ by their learning rate.

        Parameters
        ----------
        width : int
            Of the encoder.
        """
        dropout = 0.05 if self.dropout is None else self.dropout
        base = Recipe(
            self.learning_rate or _SMALL_RATE,
            epochs=self.epochs,
            patience=self.patience,
            batch_size=self.batch_size,
            dropout=dropout,
            weight_decay=self.weight_decay,
            is_frozen=self.is_frozen,
        )
        if self.learning_rate is not None or width < _SMALL_WIDTH:
            return [base]
        return [replace(base, learning_rate=rate) for rate in _RATES]

    def identity(self) -> dict[str, Any]:
        """Return everything that the result follows from, as JSON holds it."""
        found: dict[str, Any] = {
            entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in _FREE
        }
        found["table"] = {entry.name: getattr(self.table, entry.name) for entry in fields(self.table)}
        found["table"]["other_columns"] = list(self.table.other_columns)
        for name in ("data", "output"):
            del found[name]
        return found
