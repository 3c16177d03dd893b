"""The domain: who is inside, who is not, and in which words."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property
from periogt_ray.model.domain import Domain, is_far, is_outside
from periogt_ray.model.intervals import Interval
from periogt_ray.model.trust import Trust
from support.known_polymers import known_polymers

INFO = PropertyInfo("eps", "Dielectric constant", "", "finetuned_ckpt/eps/member_0.safetensors")


@pytest.fixture(scope="module")
def known() -> KnownPolymers:
    return known_polymers(120)


@pytest.fixture(scope="module")
def trust(known: KnownPolymers) -> Trust:
    return Trust(calibrate_property("eps", known), INFO)


def judged(trust: Trust, known: KnownPolymers, **changed: Any) -> tuple[Interval, Domain]:
    given = {
        "value": 4.0,
        "smiles": "*CC*",
        "fingerprint": known.fingerprints[0],
        "embedding": known.embeddings[0],
        "spread": 0.0,
        "level": 0.9,
    } | changed
    return trust.judge(given.pop("value"), **given)


def test_a_training_polymer_is_inside(trust: Trust, known: KnownPolymers) -> None:
    interval, domain = judged(trust, known)
    assert (domain.status, domain.similarity, domain.reasons) == ("inside", 1.0, ())
    assert domain.percentile < 20
    assert interval.lower < 4.0 < interval.upper
    assert interval.level == 0.9


def test_an_unseen_element_is_far_outside_and_named(trust: Trust, known: KnownPolymers) -> None:
    _, domain = judged(trust, known, smiles="*[Pb](C)(C)*")
    assert domain.status == "far_outside"
    assert "Pb occurs in no training polymer" in domain.reasons


def test_an_unseen_charge_is_far_outside(trust: Trust, known: KnownPolymers) -> None:
    _, domain = judged(trust, known, smiles="*CC[N+](*)(C)C")
    assert domain.status == "far_outside"
    assert "N with charge +1 occurs in no training polymer" in domain.reasons
    assert any("0 of 120 rows" in reason for reason in domain.reasons)


def test_an_impossible_value_is_far_outside_and_one_beyond_the_labels_outside(
    trust: Trust, known: KnownPolymers
) -> None:
    _, impossible = judged(trust, known, value=0.2)
    assert impossible.status == "far_outside"
    assert "Dielectric constant cannot be below 1" in impossible.reasons[0]
    _, beyond = judged(trust, known, value=30.0)
    assert beyond.status == "outside"
    assert beyond.reasons[0].startswith("The value lies beyond the training labels (")


def test_another_fingerprint_is_outside_with_its_similarity(trust: Trust, known: KnownPolymers) -> None:
    bits = (np.random.default_rng(9).random(1191) < 0.1).astype(np.uint8)
    _, domain = judged(trust, known, fingerprint=bits)
    assert domain.status == "far_outside"
    assert domain.percentile == 100.0
    assert f"similarity to the nearest training polymer is {domain.similarity:.2f}" in domain.reasons[0]


@pytest.mark.parametrize("direction", range(3))
def test_a_far_embedding_is_outside_in_every_direction(trust: Trust, known: KnownPolymers, direction: int) -> None:
    far = known.embeddings[0].copy()
    far[direction] += 30.0
    _, domain = judged(trust, known, embedding=far)
    assert domain.status == "far_outside"
    assert domain.reasons[0].startswith("In the network's embedding")


def test_a_direction_that_was_left_out_counts(known: KnownPolymers) -> None:
    """Principal components of few polymers leave directions out; a polymer far along one of them is far."""
    wide = np.zeros((120, 80), np.float32)
    wide[:, :2] = np.random.default_rng(4).standard_normal((120, 2))
    trust = Trust(calibrate_property("eps", dataclasses.replace(known, embeddings=wide)), INFO)
    far = wide[0].copy()
    far[70] = 50.0
    _, domain = judged(trust, known, embedding=far)
    assert domain.status == "far_outside"


def test_about_a_twentieth_of_new_polymers_of_the_same_kind_is_outside() -> None:
    known = known_polymers(600, seed=5)
    parts = [np.arange(600) // 6 % 2 == half for half in range(2)]
    first, second = (
        dataclasses.replace(
            known,
            smiles=tuple(s for s, is_in in zip(known.smiles, part, strict=True) if is_in),
            **{
                name: getattr(known, name)[part]
                for name in ("fingerprints", "embeddings", "values", "predictions", "is_training")
            },
        )
        for part in parts
    )
    trust = Trust(calibrate_property("eps", first), INFO)
    found = [
        judged(trust, known, smiles=s, fingerprint=f, embedding=e)[1].status
        for s, f, e in zip(second.smiles, second.fingerprints, second.embeddings, strict=True)
    ]
    assert 0.02 < np.mean([status != "inside" for status in found]) < 0.2


@pytest.mark.parametrize(
    ("n", "status", "said"),
    [
        (12, "inside", "12 training polymers than they from one another; fewer than 19 are too few to tell"),
        (18, "inside", "fewer than 19 are too few to tell"),
        (19, "outside", "In the network's embedding"),
        (98, "outside", "In the network's embedding"),
        (99, "far_outside", "In the network's embedding"),
    ],
)
def test_few_training_polymers_tell_less(n: int, status: str, said: str) -> None:
    known = known_polymers(n)
    far = known.embeddings[0].copy()
    far[0] += 30.0
    _, domain = judged(Trust(calibrate_property("eps", known), INFO), known, embedding=far, value=known.values[0])
    assert (domain.status, domain.percentile) == (status, 100.0)
    assert any(said in reason for reason in domain.reasons), domain.reasons


@pytest.mark.parametrize("n", [9, 19, 40, 99, 300])
def test_polymers_of_the_same_kind_are_outside_as_seldom_as_is_said(n: int) -> None:
    """Whatever is measured of exchangeable polymers, the last one's rank among all is any of n + 1, equally likely."""
    n_outside = sum(is_outside(n_nearer, n) for n_nearer in range(n + 1))
    n_far = sum(is_far(n_nearer, n) for n_nearer in range(n + 1))
    assert n_outside / (n + 1) <= 0.05
    assert n_far / (n + 1) <= 0.01
    assert (n_outside > 0) == (n >= 19)
    assert (n_far > 0) == (n >= 99)


def test_too_few_calibration_rows_give_no_interval_but_a_domain() -> None:
    known = known_polymers(12)
    trust = Trust(calibrate_property("eps", known), INFO)
    interval, domain = judged(trust, known, level=0.95)
    assert interval is None
    assert domain.similarity == 1.0
    assert "needs 19 calibration polymers, there are 12" in trust.too_few(0.95)
    assert judged(trust, known, level=0.9)[0] is not None


def test_intervals_cover_new_rows_at_each_level() -> None:
    known = known_polymers(1200, seed=2)
    predictions = known.predictions.copy()
    predictions[::2] = np.nan  # half of the rows calibrate
    trust = Trust(calibrate_property("eps", dataclasses.replace(known, predictions=predictions)), INFO)
    for level in (0.5, 0.8, 0.9, 0.95):
        inside = []
        for row in range(0, 1200, 2):
            interval, _ = judged(
                trust,
                known,
                value=known.predictions[row],
                fingerprint=known.fingerprints[row],
                embedding=known.embeddings[row],
                level=level,
            )
            inside.append(interval.lower <= known.values[row] <= interval.upper)
        assert np.mean(inside) == pytest.approx(level, abs=0.05)
