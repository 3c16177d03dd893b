"""Trees, which a network has to beat."""

import numpy as np
import pytest

from periogt_ray.training import baselines


def test_trees_learn_from_a_drawn_part_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 3)).astype(np.float32)
    values = features[:, 0].astype(np.float64)
    monkeypatch.setattr(baselines, "_N_TREES", 10)

    def predict(n: int) -> np.ndarray:
        return baselines.predict_by_trees(features, values, range(n), range(100, 120), seed=1)

    whole = predict(100)
    monkeypatch.setattr(baselines, "MOST_TREE_ROWS", 40)
    drawn = np.sort(np.random.default_rng(1).choice(100, 40, replace=False)).tolist()
    some = predict(100)
    assert some.tolist() != whole.tolist()
    expected = baselines.predict_by_trees(features, values, drawn, range(100, 120), seed=1)
    assert some.tolist() == expected.tolist()
    assert predict(40).tolist() != some.tolist(), "few rows are all learned from"
