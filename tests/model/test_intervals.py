"""Conformal intervals against golden figures, crepes and MAPIE, and what their coverage is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from periogt_ray.model.intervals import (
    choose_scale,
    conformal_quantile,
    cv_plus,
    fewest_rows,
    measure,
    neighbour_scales,
    rank_correlation,
)

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/finetune/intervals.json").read_text())


@pytest.fixture(params=GOLDEN["cases"], ids=lambda case: f"alpha {case['alpha']}")
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


@pytest.fixture
def residuals() -> np.ndarray:
    return np.array(GOLDEN["y"]) - np.array(GOLDEN["out_of_fold"])


def test_quantiles_are_the_golden_ones(case: dict[str, Any], residuals: np.ndarray) -> None:
    level = 1 - case["alpha"]
    found = conformal_quantile(np.abs(residuals), level)
    normalized = conformal_quantile(np.abs(residuals) / np.array(GOLDEN["sigma"]), level)
    if case["quantile_absolute"] is None:
        assert (found, normalized) == (None, None)
    else:
        assert found == pytest.approx(case["quantile_absolute"], abs=1e-12)
        assert normalized == pytest.approx(case["quantile_normalized"], abs=1e-12)


def test_cv_plus_is_the_golden_one(case: dict[str, Any], residuals: np.ndarray) -> None:
    found = cv_plus(residuals, np.array(GOLDEN["fold"]), np.array(GOLDEN["test_fold_predictions"]), 1 - case["alpha"])
    if "cv_plus" in case:
        np.testing.assert_allclose(found, case["cv_plus"], atol=1e-12)
    else:
        assert found is None, "its ranks fall outside the rows"


def test_cv_plus_of_too_few_rows_is_none() -> None:
    assert cv_plus(np.ones(8), np.arange(8) % 2, np.zeros((2, 3)), 0.9) is None


def test_intervals_equal_those_of_crepes(residuals: np.ndarray) -> None:
    import crepes

    sigma, new_sigma = np.array(GOLDEN["sigma"]), np.array(GOLDEN["test_sigma"])
    for level in (0.5, 0.8, 0.9, 0.95):
        theirs = crepes.ConformalRegressor().fit(residuals, sigmas=sigma)
        bounds = theirs.predict_int(np.zeros(len(new_sigma)), sigmas=new_sigma, confidence=level)
        ours = conformal_quantile(np.abs(residuals) / sigma, level)
        assert ours is not None
        np.testing.assert_allclose(ours * new_sigma, bounds[:, 1], atol=1e-12)


def test_the_constant_width_equals_that_of_mapie(residuals: np.ndarray) -> None:
    from mapie import regression
    from sklearn.dummy import DummyRegressor

    constant = DummyRegressor(strategy="constant", constant=0.0).fit(np.zeros((2, 1)), np.zeros(2))
    theirs = regression.SplitConformalRegressor(constant, confidence_level=[0.5, 0.8, 0.9], prefit=True)
    theirs.conformalize(np.zeros((len(residuals), 1)), residuals)
    _, bounds = theirs.predict_interval(np.zeros((1, 1)))
    for place, level in enumerate((0.5, 0.8, 0.9)):
        assert bounds[0, 1, place] == pytest.approx(conformal_quantile(np.abs(residuals), level), abs=1e-12)


@pytest.mark.parametrize(("level", "n"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_fewer_rows_than_a_level_needs_give_no_interval(level: float, n: int) -> None:
    assert fewest_rows(level) == n
    assert conformal_quantile(np.ones(n), level) == 1.0
    assert conformal_quantile(np.ones(n - 1), level) is None


def test_intervals_hold_what_they_promise() -> None:
    """Over many draws the coverage is between level and level + 1 / (n + 1), within the error of the draws."""
    random = np.random.default_rng(3)
    held = []
    for _ in range(2000):
        scores = np.abs(random.standard_normal(40))
        quantile = conformal_quantile(scores[:39], 0.9)
        held.append(quantile is not None and scores[39] <= quantile)
    assert np.mean(held) == pytest.approx(0.9, abs=0.025)


def test_neighbours_leave_the_polymer_itself_out() -> None:
    random = np.random.default_rng(0)
    groups = [random.integers(0, 2, 1024, dtype=np.uint8) for _ in range(2)]
    bits = np.packbits(np.stack([groups[row // 11] for row in range(22)]), axis=-1)
    residuals = np.array([1.0] * 10 + [100.0] + [5.0] * 11)
    scales = neighbour_scales(bits, residuals)
    assert scales[10] == pytest.approx(1.0)  # its own residual of 100 is not among them
    assert scales[0] == pytest.approx(1.0 * 0.9 + 100.0 * 0.1)
    np.testing.assert_allclose(scales[11:], 5.0)


def test_a_scale_that_knows_the_errors_is_chosen() -> None:
    random = np.random.default_rng(1)
    sizes = random.uniform(0.1, 3.0, 300)
    residuals = sizes * random.standard_normal(300)
    kind, found = choose_scale(residuals, {"constant": np.ones(300), "neighbours": sizes}, deviation=2.0)
    assert kind == "neighbours"
    assert found["neighbours"].score < found["constant"].score
    assert found["neighbours"].rank_correlation > 0.3
    shuffled = {"constant": np.ones(300), "neighbours": random.permutation(sizes)}
    assert choose_scale(residuals, shuffled, deviation=2.0)[0] == "constant"


def test_too_few_rows_to_compare_take_the_constant() -> None:
    assert choose_scale(np.ones(5), {"constant": np.ones(5), "neighbours": np.ones(5)}, deviation=1.0)[0] == "constant"


def test_metrics_of_intervals_by_hand() -> None:
    found = measure(np.array([0.5, -2.0, 1.0, 0.0]), np.full(4, 1.0), level=0.9, deviation=4.0)
    assert found.coverage == 0.75
    assert found.coverage_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert (found.width, found.relative_width, found.rank_correlation) == (2.0, 0.5, 0.0)
    assert found.score == pytest.approx(2 + 2 / 0.1 * 1.0 / 4)


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(2)
    first, second = random.integers(0, 6, 50).astype(float), random.integers(0, 6, 50).astype(float)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
