"""Intervals and domain of copolymers: by their monomers, and by whether training saw the pair."""

from pathlib import Path

import numpy as np
import pytest

from periogt_ray.artifacts.calibration import Calibration
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.copolymer_calibration import KnownCopolymers, calibrate_copolymers
from periogt_ray.model.copolymer_domain import KnownMonomers
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit

INFO = PropertyInfo("ip", "Ionization potential (copolymer)", "eV", "ip.safetensors", family="copolymer")
PARTNER = "*c1ccc(*)cc1"
OTHERS = ("*c1ccc(*)s1", "*c1ccc(*)o1", "*c1ccc(*)c(F)c1", "*c1ccc(*)c(C)c1", "*c1ccc(*)c(Cl)c1")


def monomer(smiles: str) -> FeaturizedPolymer:
    return featurize(RepeatUnit.parse(smiles), PromptScheme.MIRROR_INVARIANT)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    monomers = tuple(RepeatUnit.parse(smiles).smiles for smiles in (PARTNER, *OTHERS))
    residuals = np.random.default_rng(0).normal(0, 0.1, 400)
    values = np.linspace(4.5, 7.5, 400)
    known = KnownCopolymers(
        monomers=monomers,
        fingerprints=np.stack([monomer(smiles).oligomers[1].fingerprint for smiles in monomers]),
        partners=monomers[:1],
        lowest=4.0,
        highest=8.0,
        values=values,
        predictions=values - residuals,
    )
    return calibrate_copolymers("ip", known, report={"source": "made up"})


def test_a_calibration_is_read_as_it_was_written(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "calibration.npz")
    read = Calibration.load(tmp_path / "calibration.npz")
    assert read.facts.partners == calibration.facts.partners != ()
    assert (read.facts.scale, read.facts.report["n_calibration"]) == ("constant", 400)
    np.testing.assert_array_equal(read.residuals, calibration.residuals)
    assert read.is_known(RepeatUnit.parse(PARTNER).smiles)
    assert not read.has_interval_rows, "monomers are kept, not the copolymers of the residuals"
    # 90 % of a normal distribution lie within 1.645 standard deviations.
    covered = read.facts.report["scales"]["constant"]["0.9"]
    assert covered["width"] == pytest.approx(2 * 0.1645, rel=0.15)


@pytest.mark.parametrize(
    ("pair", "is_known", "status", "said"),
    [
        ((PARTNER, OTHERS[0]), True, "inside", ""),
        ((PARTNER, PARTNER), True, "inside", ""),
        ((OTHERS[0], OTHERS[1]), False, "outside", "no copolymer of these two monomers"),
        ((PARTNER, "*c1ccc(*)c(CC)c1"), False, "outside", "occurs in no training copolymer; its similarity"),
        ((PARTNER, "*[Pb](C)(C)*"), False, "far_outside", "Pb occurs in no training polymer"),
    ],
)
def test_the_domain_follows_from_the_monomers(
    calibration: Calibration, pair: tuple[str, str], is_known: bool, status: str, said: str
) -> None:
    monomers = [monomer(smiles) for smiles in pair]
    known = KnownMonomers(calibration)
    for order in (monomers, monomers[::-1]):
        assert known.has_pair(order) is is_known
        domain = known.domain(order, info=INFO, value=6.0)
        assert domain.status == status
        assert said in "; ".join(domain.reasons)
        assert bool(domain.reasons) is bool(said)
        assert (domain.similarity == 1.0) is (not said or "these two" in said)


@pytest.mark.parametrize(("value", "status"), [(8.5, "outside"), (-1.0, "far_outside")])
def test_the_value_counts_too(calibration: Calibration, value: float, status: str) -> None:
    monomers = [monomer(PARTNER), monomer(OTHERS[0])]
    assert KnownMonomers(calibration).domain(monomers, info=INFO, value=value).status == status
