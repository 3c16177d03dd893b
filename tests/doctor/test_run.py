"""What doctor predicts for real."""

from pathlib import Path

from periogt_ray.doctor.report import Status
from periogt_ray.doctor.run import _check_predictions
from periogt_ray.settings import Settings
from support.golden_copolymers import make_artifacts


def test_a_property_of_each_kind_is_asked_of_what_it_takes(tmp_path: Path) -> None:
    root = make_artifacts(tmp_path / "artifacts")
    checks = list(_check_predictions(Settings(root, root, root, device="cpu")))
    assert [check.name for check in checks] == [f"property {name}" for name in ("ea", "eps", "opv", "tg")]
    assert {check.status for check in checks} == {Status.PASS}
