"""Filling the feature store, as users start it: whole, in shares, killed, with rows that cannot be."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from periogt_ray.polymer.feature_store import FeatureStore
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import ARTIFACTS, golden_polymers

pytestmark = pytest.mark.slow

TIMEOUT_S = 300
DEADLY = Path(__file__).parents[1] / "support" / "deadly"
N_POLYMERS = 16


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@pytest.fixture
def smiles() -> list[str]:
    return sorted((golden.smiles for golden in golden_polymers()), key=len)[:N_POLYMERS]


def write_input(path: Path, smiles: list[str]) -> Path:
    path.write_text("id,psmiles\n" + "".join(f"p{i},{text}\n" for i, text in enumerate(smiles)))
    return path


def started(given: Path, store: Path | None, *options: str, **env: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PERIOGT_", "SLURM_"))}
    settings = {"PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), **({"PERIOGT_FEATURE_STORE": str(store)} if store else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "periogt_ray", "featurize", "--input", str(given), "--workers", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **settings, **env},
    )


def filled(given: Path, store: Path | None, *options: str, code: int = 0, **env: str) -> dict[str, object]:
    """Run it to its end and return the summary; without one, what it said."""
    process = started(given, store, *options, **env)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code, err
    return {**(json.loads(out) if out else {}), "said": err}


def n_there(store: Path, smiles: list[str]) -> int:
    found = FeatureStore(store, 1 << 30)
    units = [RepeatUnit.parse(text) for text in smiles]
    schemes = (PromptScheme.RELEASE, PromptScheme.MONOMER)
    n = sum(any(found.has(unit, scheme, engine="native") for scheme in schemes) for unit in units)
    found.close()
    return n


def test_everything_is_there_afterwards_and_nothing_is_done_again(
    tmp_path: Path, directory: Path, smiles: list[str]
) -> None:
    given = write_input(tmp_path / "in.csv", [*smiles, "bad", smiles[0], "bad", ""])
    first = filled(given, directory, code=1)
    assert (first["n_rows"], first["n_done"], first["n_failed"]) == (N_POLYMERS + 4, N_POLYMERS + 4, 3)
    assert first["failures"] == {"validation_error": 3}
    # One text is in two parts, which two workers may begin at the same time.
    assert N_POLYMERS <= first["n_computed"] <= N_POLYMERS + 1
    assert first["store_entries"] == N_POLYMERS
    assert first["store_files"] == 1
    assert n_there(directory, smiles) == N_POLYMERS
    again = filled(given, directory, code=1)
    assert again["n_computed"] == 0
    assert again["store_bytes"] == first["store_bytes"]
    assert [path.name for path in directory.iterdir()] == ["segments"]


def test_shares_together_are_everything(tmp_path: Path, directory: Path, smiles: list[str]) -> None:
    given = write_input(tmp_path / "in.csv", smiles)
    first = filled(given, directory, "--share", "1/2")
    assert 0 < n_there(directory, smiles) < N_POLYMERS
    values = {"ID": "11", "MIN": "10", "MAX": "11", "COUNT": "2"}
    second = filled(given, directory, **{f"SLURM_ARRAY_TASK_{name}": value for name, value in values.items()})
    assert second["share"] == "2/2"
    assert first["n_rows"] + second["n_rows"] == N_POLYMERS  # type: ignore[operator]
    assert n_there(directory, smiles) == N_POLYMERS


def test_a_polymer_that_kills_its_process_costs_itself_alone(
    tmp_path: Path, directory: Path, smiles: list[str]
) -> None:
    given = write_input(tmp_path / "in.csv", [*smiles[:4], "*CC[Se]*", "*CC[As](C)*", *smiles[4:]])
    found = filled(given, directory, code=1, PYTHONPATH=str(DEADLY))
    assert found["failures"] == {"internal_error": 2}
    assert n_there(directory, smiles) == N_POLYMERS


def test_killed_at_random_moments_it_goes_on(
    tmp_path: Path, directory: Path, smiles: list[str], chance: random.Random, is_full: bool
) -> None:
    given = write_input(tmp_path / "in.csv", smiles)
    n_kept = []
    for _ in range(10 if is_full else 3):
        before = n_bytes(directory)
        process = started(given, directory)
        # From the start to the second entry, so that there is something to go on with.
        while process.poll() is None and n_bytes(directory) <= before and chance.random() < 0.99:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        n_kept.append(n_there(directory, smiles))
    assert sorted(n_kept) == n_kept, "nothing is lost"
    last = filled(given, directory)
    assert last["n_computed"] == N_POLYMERS - n_kept[-1]
    assert n_there(directory, smiles) == N_POLYMERS


def n_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.segment"))


def test_a_signal_ends_it_with_what_is_computed(tmp_path: Path, directory: Path, smiles: list[str]) -> None:
    given = write_input(tmp_path / "in.csv", smiles)
    process = started(given, directory)
    deadline = time.monotonic() + TIMEOUT_S
    while not n_bytes(directory):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "Interrupted" in err
    assert json.loads(out)["n_done"] < N_POLYMERS
    assert n_there(directory, smiles) > 0


def test_without_a_store_it_says_how_to_make_one(tmp_path: Path, smiles: list[str]) -> None:
    given = write_input(tmp_path / "in.csv", smiles)
    assert "mkdir -m 700" in str(filled(given, None, code=2)["said"])


def test_a_store_that_is_too_small_is_told(tmp_path: Path, directory: Path, smiles: list[str]) -> None:
    given = write_input(tmp_path / "in.csv", smiles[:2])
    found = filled(given, directory, PERIOGT_FEATURE_STORE_GB="0.00001")
    assert "PERIOGT_FEATURE_STORE_GB" in str(found["said"])
    assert "Set it higher" in str(found["said"])
