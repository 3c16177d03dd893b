"""Scores and verdicts."""

import numpy as np
import pytest

from periogt_ray.training.evaluation import compare_folds, score, verdict

VALUES = np.arange(20.0)
FOLDS = [range(5), range(5, 10), range(10, 15), range(15, 20)]


def test_scores_are_those_of_their_definitions() -> None:
    predictions = VALUES + np.tile([1.0, -3.0], 10)
    found = score(VALUES, predictions)
    assert found is not None
    assert found.rmse == pytest.approx(np.sqrt(5))
    assert (found.mae, found.bias, found.n) == (2.0, -1.0, 20)
    assert found.r2 == pytest.approx(1 - 100 / ((VALUES - 9.5) ** 2).sum())
    assert score(VALUES, VALUES**3).spearman == pytest.approx(1)  # type: ignore[union-attr]
    assert score(VALUES[:1], VALUES[:1]) is None


def test_folds_are_compared_in_pairs() -> None:
    difficulty = np.repeat([1.0, 5.0, 2.0, 9.0], 5)  # of each fold, the same for both
    found = compare_folds(VALUES, VALUES + difficulty, VALUES + difficulty + 0.5, FOLDS)
    assert found["gain"] == pytest.approx(0.5)
    assert found["error"] == pytest.approx(0, abs=1e-9)
    assert (found["n_better"], found["n_folds"]) == (4, 4)


def test_one_test_has_an_error_of_its_polymers() -> None:
    noise = np.random.default_rng(0).normal(size=20)
    found = compare_folds(VALUES, VALUES + noise, VALUES + 1.1 * noise, [range(20)])
    assert found["n_folds"] == 1
    assert 0 < found["error"] < found["gain"]
    scores = {"network": {"rmse": 0.5}, "mean": {"rmse": 1.0}}
    assert "paired over test polymers" in verdict(scores, found, "eV")


@pytest.mark.parametrize(
    ("network", "gain", "error", "expected"),
    [
        (0.5, 0.2, 0.1, "better than trees by 0.2 +- 0.1 eV"),
        (0.5, -0.2, 0.1, "trees are better by 0.2"),
        (0.5, 0.05, 0.1, "no better than trees"),
        (1.2, 0.2, 0.1, "no better than the mean"),
    ],
)
def test_the_verdict_says_what_to_do(network: float, gain: float, error: float, expected: str) -> None:
    scores = {"network": {"rmse": network}, "mean": {"rmse": 1.0}}
    assert expected in verdict(scores, {"gain": gain, "error": error}, "eV")


def test_without_trees_the_verdict_names_the_extra() -> None:
    assert "periogt-ray[train]" in verdict({"network": {"rmse": 0.5}, "mean": {"rmse": 1.0}}, None, "")
