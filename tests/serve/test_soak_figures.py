"""What the soak test counts as wrong, and how it measures a recovery."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from periogt_ray import PerioGT
from periogt_ray.settings import EMBEDDED_DIR
from support.served_process import ROOT


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import soak

    yield soak
    for name in ("soak", "soak_service"):
        sys.modules.pop(name, None)


def test_a_value_is_wrong_in_its_last_digit(soak: Any) -> None:
    model = PerioGT(EMBEDDED_DIR, device="cpu")
    [right] = model.predict(["*CC*"], ["egc"])["prediction_value"]
    record = soak.Record()
    record.values[soak.Seen("*CC*", "egc", frozenset({0}), float(right))] += 5
    record.values[soak.Seen("*CC*", "egc", frozenset({0}), float(right) + 1e-6)] += 1
    record.drawings.add(("*CC*", "<svg>of another polymer</svg>"))
    value, drawing = soak.wrong_values(record, [model], ["egc"], tolerance=0.0)
    assert value.startswith("egc of *CC*: ")
    assert drawing == "drawing of *CC*"
    assert soak.wrong_values(record, [model], ["egc"], tolerance=1e-5) == ["drawing of *CC*"]


def test_during_an_update_the_values_of_both_weights_are_right(soak: Any) -> None:
    model = PerioGT(EMBEDDED_DIR, device="cpu")
    other = PerioGT(EMBEDDED_DIR, device="cpu")
    frame = model.predict(["*CC*"], ["egc"], wide=True)
    other.predict = lambda *_, **__: frame.assign(egc=1.0)  # type: ignore[method-assign]
    record = soak.Record()
    for versions in ({0}, {0, 1}, {1}):
        record.values[soak.Seen("*CC*", "egc", frozenset(versions), 1.0)] += 1
    [wrong] = soak.wrong_values(record, [model, other], ["egc"], tolerance=0.0)
    assert "expected [1.0]" not in wrong


def test_troubles_belong_to_the_disturbance_before_them(soak: Any) -> None:
    record = soak.Record()
    record.outcomes.update({("single", "ok"): 8, ("single", "again"): 2, ("single", "refused connection"): 1})
    record.troubles = [(10.5, "again"), (11.0, "refused connection"), (31.0, "again")]
    record.times = [(9.9, 1.2), (30.1, 0.1)]
    done = [soak.Disturbance("Ingress", 10.0, 13.0), soak.Disturbance("Predictor", 30.0)]
    figures = soak.summary(record, done, [])
    assert figures["failures"] == {"refused connection": 1}
    assert figures["failures_per_million"] == round(1e6 / 11)
    assert figures["disturbances"] == {
        "Ingress": [{"failures": 1, "failures_end_s": 1.0, "disturbed_s": 1.0, "slowest_s": 1.2, "replaced_s": 3.0}],
        "Predictor": [{"failures": 0, "failures_end_s": 0.0, "disturbed_s": 1.0, "slowest_s": 0.1, "replaced_s": None}],
    }
