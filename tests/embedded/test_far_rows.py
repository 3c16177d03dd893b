"""Coverage by similarity to the training polymers: what it is measured from, and that the card has it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from compact.dataset import PROPERTIES  # noqa: E402
from compact.far_rows import BINS, binned, judged_out_of_fold  # noqa: E402

N = 200


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    bits = np.packbits(random.random((N, 1024)) < 0.05, axis=-1)
    return bits, random.normal(0, 0.3, N), np.arange(N) % 5


def test_a_fold_s_own_errors_move_none_of_its_intervals(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    bits, residuals, folds = rows
    similarities, half_widths = judged_out_of_fold(bits, residuals, folds)
    other = np.where(folds == 2, 100 * residuals, residuals)
    same, changed = judged_out_of_fold(bits, other, folds)
    assert same.tolist() == similarities.tolist()
    assert changed[folds == 2].tolist() == half_widths[folds == 2].tolist()
    assert (changed[folds != 2] > half_widths[folds != 2]).mean() > 0.9
    assert np.mean(np.abs(residuals) <= half_widths) == pytest.approx(0.9, abs=0.06)


def test_a_copy_in_the_same_fold_is_no_training_polymer(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    bits, residuals, folds = rows
    bits[5] = bits[0]  # of fold 0, too
    bits[6] = bits[2]  # of fold 1 and fold 2
    similarities, _ = judged_out_of_fold(bits, residuals, folds)
    assert max(similarities[0], similarities[5]) < 0.9
    assert (similarities[6], similarities[2]) == (1.0, 1.0)


def test_rows_are_counted_in_one_bin_each() -> None:
    found = binned(np.array([0.0, 0.21, 0.25, 1.0]), np.array([1.0, 3.0, 1.0, 3.0]), np.full(4, 2.0))
    assert [(one["low"], one["n"], one["coverage"], one["rmse"]) for one in found] == [
        (0.0, 1, 1.0, 1.0),
        (0.2, 1, 0.0, 3.0),
        (0.25, 1, 1.0, 1.0),
        (0.8, 1, 0.0, 3.0),
    ]
    assert found[0]["width"] == 4.0


def test_the_card_has_all_rows_of_the_folds() -> None:
    card = json.loads((ROOT / "periogt_ray" / "embedded" / "model_card.json").read_text())
    by_property = card["by_similarity"]
    for name in PROPERTIES:
        assert sum(one["n"] for one in by_property[name]) == card["out_of_fold"][name]["n"]
    assert [one["low"] for one in by_property["pooled"]] == list(BINS[:-1])
    text = (ROOT / "periogt_ray" / "embedded" / "MODEL_CARD.md").read_text()
    first = by_property["pooled"][0]
    assert f"| 0 to 0.2 | {first['n']:.0f} | {100 * first['coverage']:.1f} ± " in text
