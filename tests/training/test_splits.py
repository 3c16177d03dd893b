"""Who is trained on: by polymer, the same in every run, and no polymer on both sides."""

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.training.splits import SplitPlan, cluster_of, make_plan

KEYS = [f"*{'C' * n}O*" for n in range(2, 402)]


def check(plan: SplitPlan, n: int, n_rounds: int) -> None:
    for fold in plan.folds:
        train, validation, held_out = map(set, (fold.rows.train, fold.rows.validation, fold.held_out))
        assert not train & validation
        assert not (train | validation) & held_out
        assert not (train | validation | held_out) & set(plan.test)
        assert train
        assert validation
    held = [i for fold in plan.folds for i in fold.held_out]
    assert sorted(held) == sorted(n_rounds * list(set(range(n)) - set(plan.test)))


@pytest.mark.parametrize(("n", "n_rounds"), [(20, 2), (60, 2), (199, 2), (200, 1), (400, 1)])
def test_each_polymer_is_held_out_once_a_round(n: int, n_rounds: int) -> None:
    plan = make_plan(KEYS[:n], seed=1)
    check(plan, n, n_rounds)
    assert bool(plan.test) == (n >= 200)


def test_more_polymers_move_no_other() -> None:
    small, large = make_plan(KEYS[:250], seed=3), make_plan(KEYS, seed=3)
    assert [i for i in large.test if i < 250] == list(small.test)
    for before, after in zip(small.folds, large.folds, strict=True):
        assert [i for i in after.held_out if i < 250] == list(before.held_out)
    order = np.random.default_rng(0).permutation(len(KEYS))
    shuffled = make_plan([KEYS[i] for i in order], seed=3)
    assert {int(order[i]) for i in shuffled.test} == set(large.test)


def test_the_seed_decides() -> None:
    assert make_plan(KEYS, seed=1) == make_plan(KEYS, seed=1) != make_plan(KEYS, seed=2)
    assert len(make_plan(KEYS, seed=1).test) == pytest.approx(80, abs=30)


def test_few_polymers_are_dealt_out_evenly() -> None:
    sizes = [len(fold.held_out) for fold in make_plan(KEYS[:23], seed=0).folds]
    assert sorted(sizes[:5]) == [4, 4, 5, 5, 5]


def test_groups_stay_together() -> None:
    groups = [i // 7 for i in range(100)]
    plan = make_plan(KEYS[:100], seed=0, groups=groups, n_rounds=1, test_share=0.0)
    check(plan, 100, 1)
    for fold in plan.folds:
        for part in (fold.held_out, fold.rows.validation):
            inside = {groups[i] for i in part}
            assert not inside & {groups[i] for i in fold.rows.train}


def test_own_parts_are_followed() -> None:
    parts = ["train"] * 60 + ["val"] * 10 + ["test"] * 20 + ["calibration"] * 10
    plan = make_plan(KEYS[:100], seed=0, parts=parts)
    assert {fold.rows.train for fold in plan.folds} == {tuple(range(60))}
    assert {fold.rows.validation for fold in plan.folds} == {tuple(range(60, 70))}
    assert (plan.test, plan.calibration) == (tuple(range(70, 90)), tuple(range(90, 100)))
    without = make_plan(KEYS[:100], seed=0, parts=["train" if part == "val" else part for part in parts])
    assert sorted(i for fold in without.folds for i in fold.held_out) == list(range(70))
    with pytest.raises(ValidationError, match="leaves 3 polymers"):
        make_plan(KEYS[:100], seed=0, parts=["train"] * 3 + ["test"] * 97)


def test_the_recipe_of_the_authors_trains_one_network_on_own_parts() -> None:
    parts = ["train"] * 70 + ["val"] * 10 + ["test"] * 20
    plan = make_plan(KEYS[:100], seed=0, parts=parts, is_authors=True)
    assert [fold.rows for fold in plan.folds] == [(tuple(range(70)), tuple(range(70, 80)))]
    assert (plan.test, plan.calibration) == (tuple(range(80, 100)), tuple(range(70, 80)))
    with pytest.raises(ValidationError, match="0 in the part val"):
        make_plan(KEYS[:100], seed=0, parts=["train"] * 80 + ["test"] * 20, is_authors=True)


def test_the_division_of_the_authors() -> None:
    plan = make_plan(KEYS[:382], seed=0, is_authors=True)
    [fold] = plan.folds
    assert (len(fold.rows.train), len(fold.rows.validation), len(plan.test)) == (275, 30, 77)


def test_clusters_hold_what_is_alike() -> None:
    random = np.random.default_rng(0)
    centers = (random.random((4, 1191)) < 0.1).astype(np.uint8)
    bits = np.repeat(centers, 10, axis=0) ^ (random.random((40, 1191)) < 0.005).astype(np.uint8)
    found = cluster_of(bits, KEYS[:40], seed=0)
    assert sorted(np.bincount(found).tolist()) == [10, 10, 10, 10]
    assert all(len(set(found[k * 10 : k * 10 + 10].tolist())) == 1 for k in range(4))
    order = random.permutation(40)
    again = cluster_of(bits[order], [KEYS[i] for i in order], seed=0)
    assert again.tolist() == found[order].tolist()
