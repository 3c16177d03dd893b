"""The soak test of scripts/soak.py: briefly with the service that other tests share, at length with one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.served_process import ROOT, ServedProcess
from support.way import KEY

pytestmark = pytest.mark.ray


def soaked(tmp_path: Path, *args: str, timeout_s: float, **variables: str) -> dict[str, Any]:
    figures = tmp_path / "figures.json"
    command = [sys.executable, ROOT / "scripts" / "soak.py", "--json", figures, *args]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, env={**os.environ, **variables}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


def test_every_kind_of_question_is_answered_and_compared(service: ServedProcess, tmp_path: Path) -> None:
    figures = soaked(tmp_path, "--url", service.url, "--minutes", "0.1", timeout_s=600, PERIOGT_API_KEY=KEY)
    assert figures["failures"] == {}
    assert figures["wrong_values"] == 0
    assert figures["values_compared"] > 0
    assert figures["disturbances"] == {}
    assert figures["health_ms"]["asked"] > 0


def test_ten_minutes_of_kills(tmp_path: Path, is_full: bool) -> None:
    if not is_full:
        pytest.skip("ten minutes: with --full")
    figures = soaked(tmp_path, "--minutes", "10", timeout_s=3600)
    assert figures["wrong_values"] == 0
    assert set(figures["disturbances"]) == {"Predictor", "Featurizer", "Ingress"}
    assert "refused connection" not in figures["failures"]
    for events in figures["disturbances"].values():
        assert all(event["replaced_s"] is not None for event in events)
