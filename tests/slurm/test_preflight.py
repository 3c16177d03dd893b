"""The check before a job is queued; needs no Slurm. With Slurm's answer it is tested in test_scripts."""

import gzip
from pathlib import Path

import pytest

from periogt_ray.errors import CheckpointMissingError, PerioGTError, UnsupportedPropertyError, ValidationError
from periogt_ray.settings import EMBEDDED_DIR, EXAMPLES
from periogt_ray.slurm.preflight import run_preflight
from periogt_ray.tables.columns import TableOptions


def environment(tmp_path: Path, checkpoints: Path = EMBEDDED_DIR) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PERIOGT_CHECKPOINT_DIR": str(checkpoints)}


def test_what_a_job_will_find(tmp_path: Path) -> None:
    everything = run_preflight(environment(tmp_path))
    assert f" at {EMBEDDED_DIR} serves " in everything
    assert "egc" in everything
    batch = run_preflight(environment(tmp_path), properties="egc, nc", input_path=EXAMPLES)
    n_rows = len(EXAMPLES.read_text().splitlines()) - 1
    assert batch.endswith(f" serves egc, nc; {n_rows} rows in {EXAMPLES}")
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(b"p1;*CC*\np2;*OC*\n"))
    table = TableOptions(smiles_column="2", has_header=False)
    assert "; 2 rows in " in run_preflight(environment(tmp_path), properties="egc", input_path=packed, table=table)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv.gz"]


def test_old_and_misspelt_names_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_preflight({**environment(tmp_path), "PERIOGT_REPLICAS": "2", "PERIOGT_MAX_BACH": "3"})
    told = " ".join(record.message for record in caplog.records)
    assert "its new name is PERIOGT_PREDICTORS" in told
    assert "did you mean PERIOGT_MAX_BATCH?" in told


@pytest.mark.parametrize(
    ("checkpoints", "properties", "input_path", "error"),
    [
        (None, "all", None, CheckpointMissingError),
        (EMBEDDED_DIR, "egc,tg", None, UnsupportedPropertyError),
        (EMBEDDED_DIR, "egc", EMBEDDED_DIR / "index.json", ValidationError),
    ],
)
def test_what_is_wrong_is_raised(
    tmp_path: Path, checkpoints: Path | None, properties: str, input_path: Path | None, error: type[PerioGTError]
) -> None:
    """Also of a directory without checkpoints."""
    with pytest.raises(error):
        run_preflight(environment(tmp_path, checkpoints or tmp_path), properties=properties, input_path=input_path)
