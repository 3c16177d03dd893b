"""Two predictors behind one ingress: both work, and one alone goes on."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.feature_store import FeatureStore
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.served_process import ServedProcess, serving, wait_for

pytestmark = pytest.mark.ray

POLYMERS = ["*" + "C" * n + "*" for n in range(1, 9)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    log = tmp_path_factory.mktemp("serve") / "log"
    # Batches of one, so that there is work for both at any time.
    features = log.with_name("features")
    features.mkdir(mode=0o700)
    with serving(log, PERIOGT_PREDICTORS="2", PERIOGT_MAX_BATCH="1", PERIOGT_FEATURE_STORE=str(features)) as served:
        wait_for(lambda: len(served.replicas("Predictor")) == 2, 120, "two predictors")
        wait_for(lambda: all(value_of(served, smiles) for smiles in POLYMERS), 120, "first answers")
        yield served


def value_of(running: ServedProcess, smiles: str) -> float | None:
    """The value, or None where the service says to come again."""
    answer = running.client.post("/v1/predict", json={"smiles": smiles, "property": "eps"})
    if answer.status_code == 503:
        assert "Retry-After" in answer.headers
        return None
    assert answer.status_code == 200, answer.text
    value: float = answer.json()["prediction"]["value"]
    return value


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def expected_values(predictor: Predictor) -> dict[str, float]:
    tasks = [Task(featurize(RepeatUnit.parse(smiles), predictor.scheme("eps")), "eps") for smiles in POLYMERS]
    outcomes = predictor.predict_many(tasks)
    return {smiles: outcome.value for smiles, outcome in zip(POLYMERS, outcomes, strict=True) if outcome.value}


def test_features_are_kept_for_the_next_service(running: ServedProcess) -> None:
    kept = FeatureStore(running.log.with_name("features"), 1 << 30).facts(engine="native")
    assert kept.n_entries == len(POLYMERS)


def test_both_work_and_agree(running: ServedProcess, golden_predictor: Predictor) -> None:
    expected = expected_values(golden_predictor)
    before = {pid: cpu_ticks(pid) for pid in running.replicas("Predictor")}
    with ThreadPoolExecutor(8) as pool:
        asked = POLYMERS * 20
        for smiles, value in zip(asked, pool.map(lambda one: value_of(running, one), asked), strict=True):
            assert value == pytest.approx(expected[smiles], rel=1e-6)
    worked = {pid: cpu_ticks(pid) - ticks for pid, ticks in before.items()}
    assert min(worked.values()) > 0.2 * max(worked.values()), worked


def test_one_goes_on_when_the_other_dies(running: ServedProcess, golden_predictor: Predictor) -> None:
    expected = expected_values(golden_predictor)
    killed, left = running.replicas("Predictor")
    os.kill(killed, signal.SIGKILL)
    counts = Counter[bool]()
    with ThreadPoolExecutor(4) as pool:
        asked = POLYMERS * 10
        for smiles, value in zip(asked, pool.map(lambda one: value_of(running, one), asked), strict=True):
            assert value is None or value == pytest.approx(expected[smiles], rel=1e-6)
            counts[value is not None] += 1
    assert counts[True] > counts[False], "answers went on"
    wait_for(lambda: len(running.replicas("Predictor")) == 2, 120, "a new predictor")
    assert left in running.replicas("Predictor")
    wait_for(lambda: value_of(running, "*CC*") is not None, 120, "an answer")
