"""Relations between properties of one polymer."""

import pytest

from periogt_ray.model.consistency import consistency_warnings, with_consistency
from periogt_ray.model.tasks import Outcome


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"eps": 4.0, "nc": 1.8}, set()),
        ({"eps": 2.0, "nc": 2.0}, {"eps", "nc"}),
        ({"egc": 5.0, "ei": 7.0, "eea": 2.0}, set()),
        ({"egc": 5.0, "ei": 9.0, "eea": 2.0}, {"egc", "ei", "eea"}),
        ({"egb": 6.6, "egc": 5.0}, {"egb", "egc"}),
        ({"egb": 6.3, "egc": 5.0}, set()),  # 1.3 + 0.38 is below three deviations of 0.59
        ({"eps": 1.0}, set()),
    ],
)
def test_a_violation_beyond_three_deviations_is_told(values: dict[str, float], told: set[str]) -> None:
    assert set(consistency_warnings(values)) == told


def test_only_properties_of_one_polymer_are_compared() -> None:
    outcomes = [Outcome(value=2.0), Outcome(value=2.0, warnings=("w",)), Outcome(value=2.0), Outcome()]
    apart = with_consistency([("a", "eps"), ("b", "nc"), ("c", "egc"), ("a", "nc")], outcomes)
    assert apart == outcomes
    together = with_consistency([("a", "eps"), ("a", "nc"), ("c", "egc"), ("a", "egb")], outcomes)
    assert together[1].warnings[0] == "w"
    assert "eps - nc^2 is -2.00, and 0.74" in together[1].warnings[1]
    assert ";" not in together[0].warnings[0]
    assert together[2:] == outcomes[2:]
