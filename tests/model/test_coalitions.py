from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.model.coalitions import Coalitions, fewest_passes, plan_coalitions


def worths_of(coalitions: Coalitions, seed: int = 0) -> np.ndarray:
    """A game with interactions of all orders up to three."""
    generator = np.random.default_rng(seed)
    n = coalitions.present.shape[1]
    alone, pairs, triples = generator.normal(size=n), generator.normal(size=(n, n)), generator.normal(size=(n, n, n))
    x = coalitions.present.astype(float)
    return 3 + x @ alone + np.einsum("ci,cj,ij->c", x, x, pairs) + np.einsum("ci,cj,ck,ijk->c", x, x, x, triples) / 9


def by_definition(coalitions: Coalitions, worths: np.ndarray) -> np.ndarray:
    """The mean over all orders, as Shapley defined it."""
    n = coalitions.present.shape[1]
    worth = dict(zip(map(tuple, coalitions.present.tolist()), worths, strict=True))
    values = np.zeros(n)
    for order in permutations(range(n)):
        joined = [False] * n
        for player in order:
            before = worth[tuple(joined)]
            joined[player] = True
            values[player] += worth[tuple(joined)] - before
    return values / factorial(n)


def test_exact_values_are_those_of_the_definition() -> None:
    coalitions = plan_coalitions(5, passes=32)
    worths = worths_of(coalitions)
    assert coalitions.is_exact
    found = coalitions.shapley(worths, np.arange(5))
    np.testing.assert_allclose(found.values, by_definition(coalitions, worths), atol=1e-12)
    assert not found.standard_errors.any()


def test_values_sum_to_everybody_less_nobody() -> None:
    for passes in (64, 63, 22):
        coalitions = plan_coalitions(6, passes)
        worths = worths_of(coalitions)
        n_present = coalitions.present.sum(axis=1)
        found = coalitions.shapley(worths, np.array([0, 1, 1, 2, 3, 3])).values
        expected = worths[n_present == 6][0] - worths[n_present == 0][0]
        assert found.sum() == pytest.approx(expected, abs=1e-12)
        assert coalitions.is_exact == (passes == 64)
        assert len(coalitions.present) <= passes


def test_sampled_values_agree_with_exact_ones_within_their_errors() -> None:
    exact = plan_coalitions(9, passes=512)
    sampled = plan_coalitions(9, passes=400)
    assert (exact.is_exact, sampled.is_exact) == (True, False)
    distances = []
    for seed in range(20):
        expected = exact.shapley(worths_of(exact, seed), np.arange(9)).values
        found = sampled.shapley(worths_of(sampled, seed), np.arange(9))
        distances.append((found.values - expected) / found.standard_errors)
    distances = np.concatenate(distances)
    # Students' distribution of 23 degrees of freedom has 0.95 within 2.07 and a standard deviation of 1.05.
    assert 0.8 < np.sqrt((distances**2).mean()) < 1.3
    assert np.abs(distances).max() < 5


def test_more_passes_give_smaller_errors() -> None:
    few, many = (plan_coalitions(12, passes) for passes in (200, 2000))
    errors = [one.shapley(worths_of(one), np.arange(12)).standard_errors.mean() for one in (few, many)]
    assert errors[1] < errors[0] / 2


def test_interchangeable_players_share_equally() -> None:
    coalitions = plan_coalitions(9, passes=300)
    classes = np.array([0, 1, 1, 2, 2, 2, 3, 4, 5])
    found = coalitions.shapley(worths_of(coalitions), classes)
    for one in (1, 2):
        assert len(set(found.values[classes == one])) == 1
        assert len(set(found.standard_errors[classes == one])) == 1
    # The mean of a class varies less than its members.
    apart = coalitions.shapley(worths_of(coalitions), np.arange(9))
    assert found.standard_errors[3] < apart.standard_errors[3:6].max()
    np.testing.assert_allclose(found.values[3], apart.values[3:6].mean())


def test_a_player_that_changes_nothing_gets_nothing() -> None:
    for passes in (2**7, 100):
        coalitions = plan_coalitions(7, passes)
        worths = np.where(coalitions.present[:, 4], 5.0, 2.0)
        found = coalitions.shapley(worths, np.arange(7))
        assert found.values.tolist() == [0, 0, 0, 0, 3, 0, 0]
        assert not found.standard_errors.any()


def test_the_same_call_plans_the_same() -> None:
    one, other = plan_coalitions(20, 300), plan_coalitions(20, 300)
    np.testing.assert_array_equal(one.present, other.present)
    assert one.orders is not None
    np.testing.assert_array_equal(one.orders[:, 0], one.orders[:, 1, ::-1])
    assert len({tuple(order) for order in one.orders[:, 0].tolist()}) == len(one.orders)


def test_each_coalition_is_planned_once() -> None:
    coalitions = plan_coalitions(8, 200)
    assert len(np.unique(coalitions.present, axis=0)) == len(coalitions.present)


def test_too_few_passes_are_refused_with_the_number_that_is_needed() -> None:
    for n_players in (2, 5, 40):
        fewest = fewest_passes(n_players)
        plan_coalitions(n_players, fewest)
        with pytest.raises(ValidationError, match=f"at least {fewest}"):
            plan_coalitions(n_players, fewest - 1)


def test_all_subsets_are_planned_where_they_fit() -> None:
    coalitions = plan_coalitions(4, 16)
    expected = {frozenset(chosen) for size in range(5) for chosen in combinations(range(4), size)}
    assert {frozenset(np.flatnonzero(row).tolist()) for row in coalitions.present} == expected


def test_errors_of_few_pairs_hold_as_many_values_as_a_standard_error_should() -> None:
    every, sampled = plan_coalitions(8, passes=256), plan_coalitions(8, passes=fewest_passes(8))
    places = sampled.present @ (1 << np.arange(8))
    n_within = 0
    for seed in range(200):
        worths = worths_of(every, seed)
        exact, found = (one.shapley(w, np.arange(8)) for one, w in ((every, worths), (sampled, worths[places])))
        n_within += int((np.abs(found.values - exact.values) < found.standard_errors).sum())
    assert 0.62 < n_within / 1600 < 0.75  # 0.68 of a normal distribution; without Student's t 0.5
