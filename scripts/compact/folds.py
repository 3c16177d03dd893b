"""Folds by polymer: the same for every property, so that no stage learns a label that it is tested on."""

from hashlib import sha256

from compact.dataset import Dataset, Row

__all__ = ["N_FOLDS", "fold_of", "held_out_rows", "joint_rows", "property_rows"]

N_FOLDS = 5


def fold_of(smiles: str, *, n_folds: int = N_FOLDS) -> int:
    """Return the fold of a polymer by its canonical SMILES; adding rows moves no polymer."""
    return int.from_bytes(sha256(smiles.encode()).digest()[:8], "big") % n_folds


def property_rows(dataset: Dataset, property_id: str, fold: int) -> list[Row]:
    """Return the rows that the member of a fold learns from: train and val rows outside the fold."""
    return [row for row in _known(dataset, property_id) if fold_of(row.smiles) != fold]


def held_out_rows(dataset: Dataset, property_id: str, fold: int) -> list[Row]:
    """Return the train and val rows of a fold, which its member did not see."""
    return [row for row in _known(dataset, property_id) if fold_of(row.smiles) == fold]


def joint_rows(dataset: Dataset, fold: int) -> dict[str, list[Row]]:
    """Return the rows that the joint stage of a fold learns from.

    A polymer in the test split of any property is left out: its other labels would tell of the one that is tested.
    """
    tested = dataset.test_polymers()
    return {
        property_id: [row for row in property_rows(dataset, property_id, fold) if row.smiles not in tested]
        for property_id in dataset.rows
    }


def _known(dataset: Dataset, property_id: str) -> list[Row]:
    return [row for row in dataset.rows[property_id] if row.split != "test"]
