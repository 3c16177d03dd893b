"""Features ahead for tables of copolymers: both monomers of each row."""

from pathlib import Path

import pytest

from periogt_ray.batch.featurize_run import FeaturizeOptions, run_featurize
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.feature_store import FeatureStore
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from support.golden_copolymers import make_artifacts

ROWS = """smiles_a,smiles_b,ratio_a,architecture
*CC*,*CCO*,0.5,block
*CCO*,*CS*,0.25,random
*CC*,*CC,0.5,block
"""


def settings_of(tmp_path: Path) -> Settings:
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    root = make_artifacts(tmp_path / "artifacts", "monomer")
    env = {"PERIOGT_CHECKPOINT_DIR": str(root), "PERIOGT_DEVICE": "cpu", "PERIOGT_FEATURE_STORE": str(store)}
    return Settings.from_env(env)


@pytest.mark.slow
def test_both_monomers_get_features(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "in.csv").write_text(ROWS)
    summary = run_featurize(FeaturizeOptions(tmp_path / "in.csv", ("ea",)), settings)
    assert (summary.n_rows, summary.n_done, summary.n_failed, summary.n_computed) == (3, 3, 1, 3)
    assert summary.exit_code == 1
    store = FeatureStore(tmp_path / "store", settings.feature_store_bytes)
    units = [RepeatUnit.parse(smiles) for smiles in ("*CC*", "*CCO*", "*CS*")]
    assert all(store.has(unit, PromptScheme.MONOMER, engine=settings.descriptor_engine) for unit in units)
    store.close()


def test_properties_of_two_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ROWS)
    with pytest.raises(ValidationError, match="eps is predicted of a repeat unit"):
        run_featurize(FeaturizeOptions(tmp_path / "in.csv", ("ea", "eps")), settings_of(tmp_path))
