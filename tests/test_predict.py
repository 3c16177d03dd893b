"""The Python API in this process."""

import doctest
import multiprocessing
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import periogt_ray
from periogt_ray import (
    Copolymer,
    PerioGT,
    PolymerWithConditions,
    SettingsError,
    UnsupportedPropertyError,
    ValidationError,
    predict,
)
from periogt_ray.settings import EMBEDDED_DIR
from periogt_ray.tables.predictions import OUTPUT_COLUMNS
from support.golden import ARTIFACTS, golden_polymers
from support.golden_copolymers import make_artifacts

STYRENE = "*CC(*)c1ccccc1"
# Spellings of one polymer, a second one, and what is no repeat unit.
TEXTS = ["*CC*", STYRENE, "[2H]C(*)C*", "*CC", "C(*)C(*)c1ccccc1"]


@pytest.fixture(scope="module")
def model() -> PerioGT:
    return PerioGT(EMBEDDED_DIR, device="cpu")


def values(model: PerioGT) -> list[float]:
    return list(model.predict(TEXTS[:2], "egc").prediction_value)


def test_a_frame_has_the_columns_and_values_of_a_batch(model: PerioGT) -> None:
    frame = model.predict(TEXTS, ["egc", "nc"])
    assert tuple(frame.columns) == OUTPUT_COLUMNS
    assert list(frame.id) == [str(number) for number in range(5) for _ in range(2)]
    assert list(frame.smiles) == [text for text in TEXTS for _ in range(2)]
    assert list(frame.property) == ["egc", "nc"] * 5
    assert list(frame.ok) == [text != "*CC" for text in TEXTS for _ in range(2)]
    expected = [found.value for text in TEXTS[:2] for found in model.outcomes(text, ["egc", "nc"]).values()]
    assert list(frame.prediction_value[:4]) == expected
    assert list(frame.prediction_value[4:6]) == expected[:2], "an isotope does not count"
    assert list(frame.prediction_value[8:]) == expected[2:], "another spelling"
    assert "Isotopes" in frame.warnings[4]
    assert set(frame.warnings.drop([4, 5])) == {""}


def test_a_bad_polymer_is_a_row_or_an_exception(model: PerioGT) -> None:
    row = model.predict("*CC", "egc").iloc[0]
    assert (row.ok, row.error_code, np.isnan(row.prediction_value)) == (False, "validation_error", True)
    assert "1 connection point" in row.error_message
    with pytest.raises(ValidationError, match="1 connection point"):
        model.predict(TEXTS, "egc", on_error="raise")


def test_wide_has_a_row_a_polymer(model: PerioGT) -> None:
    frame = model.predict(TEXTS, wide=True)
    assert list(frame.smiles) == TEXTS
    of_repeat_units = {name for name, card in model.properties.items() if card.input == "homopolymer"}
    assert of_repeat_units < set(frame.columns)
    assert not (set(model.properties) - of_repeat_units) & set(frame.columns)
    assert frame.egc.isna().tolist() == [False, False, False, True, False]
    assert frame.egc.dtype == float


def test_embeddings_are_those_of_the_reference() -> None:
    golden = golden_polymers()[:3]
    found = PerioGT(ARTIFACTS, device="cpu").embed([one.smiles for one in golden] + ["*CC"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:3], [one.embedding for one in golden], atol=1e-5)
    assert np.isnan(found[3]).all()


def test_more_than_go_at_once(model: PerioGT, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.predict(TEXTS, "egc").drop(columns="request_id")
    vectors = model.embed(TEXTS)
    monkeypatch.setattr(predict, "_AT_ONCE", 2)
    assert model.predict(TEXTS, "egc").drop(columns="request_id").equals(expected)
    np.testing.assert_array_equal(model.embed(TEXTS), vectors)


def test_nothing_asked(model: PerioGT) -> None:
    assert len(model.predict([], "egc")) == 0
    assert model.embed([]).shape == (0, 288)


def test_properties_and_what_is_not_served(model: PerioGT) -> None:
    assert model.properties["egc"].units == "eV"
    assert model.properties["egc"].test is not None
    with pytest.raises(UnsupportedPropertyError, match="supported: ea, eat"):
        model.predict("*CC*", "nope")


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERIOGT_CHECKPOINT_DIR", str(tmp_path / "absent"))
    assert "compact" in repr(PerioGT(EMBEDDED_DIR))
    with pytest.raises(SettingsError, match="absent"):
        PerioGT()
    monkeypatch.setenv("PERIOGT_CHECKPOINT_DIR", str(ARTIFACTS))
    assert set(PerioGT().properties) == {"eps", "tg"}


def test_threads_share_a_model(model: PerioGT) -> None:
    expected = values(model)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(values, [model] * 8)) == [expected] * 8


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_have_a_model_of_their_own(model: PerioGT, method: str) -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(1_000_000).isfinite().all()  # starts the threads that a fork loses
        expected = values(model)  # the networks are loaded here before a process is forked
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply_async(values, (model,)).get(120) == expected
    finally:
        torch.set_num_threads(n_threads)


def test_cells_that_are_no_text_are_rows_with_errors(model: PerioGT) -> None:
    cells = ["*CC*", None, float("nan"), pd.NA, 5, "*\ud800C*", ""]
    frame = model.predict(cells, "egc")
    assert list(frame.ok) == [True, *[False] * 6]
    assert set(frame.error_code[1:]) == {"validation_error"}
    assert list(frame.smiles) == ["*CC*", "", "", "", "5", "*\\ud800C*", ""]
    assert list(model.predict(pd.Series(["*CC*", np.nan]), "egc").ok) == [True, False]
    assert np.isnan(model.embed(cells)[1:]).all()


def test_an_unknown_way_with_errors_is_refused(model: PerioGT) -> None:
    with pytest.raises(ValueError, match="expected 'row' or 'raise'"):
        model.predict("*CC*", "egc", on_error="ignore")  # type: ignore[arg-type]


def test_a_copy_by_pickle_predicts(model: PerioGT) -> None:
    assert values(pickle.loads(pickle.dumps(model))) == values(model)


def test_the_public_names() -> None:
    assert all(hasattr(periogt_ray, name) for name in periogt_ray.__all__)
    errors = {name for name in periogt_ray.__all__ if name.endswith("Error")}
    assert errors == set(periogt_ray.errors.__all__) - {"DrawingUnavailableError"}
    assert not hasattr(periogt_ray, "nope")


def test_examples_in_the_documentation() -> None:
    results = doctest.testmod(predict, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted >= 4
    assert results.failed == 0


@pytest.fixture(scope="module")
def of_all_kinds(tmp_path_factory: pytest.TempPathFactory) -> PerioGT:
    return PerioGT(make_artifacts(tmp_path_factory.mktemp("kinds") / "artifacts"), device="cpu")


BLOCK = {"smiles_a": "*CCO*", "smiles_b": "*CC*", "ratio_a": 0.25, "architecture": "block"}
CONDITIONS = {"homo": -0.61, "bandgap": 1, "molar_mass": -0.49}


def test_copolymers_are_given_as_objects_or_mappings(of_all_kinds: PerioGT) -> None:
    made = Copolymer.parse(*(str(BLOCK[name]) for name in ("smiles_a", "smiles_b")), ratio_a=0.25, architecture="block")
    bad = {**BLOCK, "ratio_a": np.float64(0.3)}
    frame = of_all_kinds.predict([made, BLOCK, {"copolymer": BLOCK}, bad, {**BLOCK, "smiles_b": "*CC"}])
    assert list(frame.property) == ["ea"] * 5
    assert list(frame.columns)[1:5] == ["smiles_a", "smiles_b", "ratio_a", "architecture"]
    assert list(frame.ratio_a) == ["0.25", "0.25", "0.25", "0.3", "0.25"]
    assert frame.ok.tolist() == [True, True, True, False, False]
    assert len(set(frame.prediction_value[:3])) == 1
    assert frame.error_message[4].startswith("Monomer B: ")
    with pytest.raises(ValidationError, match=r"expected 0\.25"):
        of_all_kinds.predict([made, bad], "ea", on_error="raise")


@pytest.mark.parametrize(
    ("changes", "is_ok"),
    [
        ({"ratio_a": Decimal("0.25")}, True),
        ({"ratio_a": Fraction(1, 4)}, True),
        ({"ratio_a": Decimal("sNaN")}, False),
        ({"ratio_a": 10**400}, False),
        ({"ratio_a": pd.NA}, False),
        ({"ratio_a": np.array([0.25, 0.5])}, False),
        ({"smiles_a": "*C\ud800C*"}, False),
        ({"smiles_b": None}, False),
        ({"architecture": "bl\udfffock"}, False),
        ({"architecture": 7}, False),
    ],
)
def test_a_copolymer_of_odd_values_is_one_row(of_all_kinds: PerioGT, changes: dict[str, Any], is_ok: bool) -> None:
    frame = of_all_kinds.predict([{**BLOCK, **changes}, BLOCK], "ea")
    assert frame.ok.tolist() == [is_ok, True]
    assert frame.error_code.tolist() == ["" if is_ok else "validation_error", ""]
    assert frame.to_csv().encode()
    if is_ok:
        assert frame.prediction_value[0] == frame.prediction_value[1]
        assert frame.ratio_a[0] == "0.25"


@pytest.mark.parametrize(
    "conditions", [{**CONDITIONS, "homo": 10**400}, {1: 2.0}, {**CONDITIONS, "homo": pd.NA}, {"\ud800": 1}]
)
def test_conditions_of_odd_values_are_one_row(of_all_kinds: PerioGT, conditions: dict[Any, Any]) -> None:
    given = [{"smiles": "*CC*", "conditions": {**CONDITIONS, "homo": Decimal("-0.61")}}]
    frame = of_all_kinds.predict([*given, {"smiles": "*CC*", "conditions": conditions}], "opv")
    assert frame.ok.tolist() == [True, False]


def test_conditions_are_given_as_objects_or_mappings(of_all_kinds: PerioGT) -> None:
    made = PolymerWithConditions.parse("*c1ccc(*)s1", CONDITIONS)
    missing = {"smiles": "*CC*", "conditions": {"homo": 1}}
    frame = of_all_kinds.predict([made, {"smiles": "*c1ccc(*)s1", "conditions": CONDITIONS}, missing], "opv", wide=True)
    assert list(frame.columns)[:6] == ["id", "smiles", "homo", "bandgap", "molar_mass", "opv"]
    assert frame.ok.tolist() == [True, True, False]
    assert frame.opv[0] == frame.opv[1]


def test_one_kind_a_call_and_the_properties_of_this_kind(of_all_kinds: PerioGT) -> None:
    assert {name: card.input.value for name, card in of_all_kinds.properties.items()} == {
        "ea": "copolymer",
        "eps": "homopolymer",
        "opv": "conditions",
        "tg": "homopolymer",
    }
    assert list(of_all_kinds.predict("*CC*").property) == ["eps", "tg"]
    with pytest.raises(ValidationError, match="of kinds homopolymer and copolymer; expected one kind"):
        of_all_kinds.predict(["*CC*", BLOCK])
    with pytest.raises(ValidationError, match="ea is predicted of a copolymer, and a repeat unit was given"):
        of_all_kinds.predict("*CC*", "ea")
    with pytest.raises(ValidationError, match="fields 'smiles_a', 'smiles_b'; expected"):
        of_all_kinds.predict({"smiles_a": "*CC*", "smiles_b": "*CC*"}, "ea")


def test_a_data_frame_is_refused_with_what_to_give(model: PerioGT) -> None:
    frame = pd.DataFrame({"smiles": ["*CC*"], "egc": [6.9]})
    with pytest.raises(ValidationError, match=r"columns 'smiles', 'egc' was given.*table\['smiles'\]"):
        model.predict(frame)
    assert len(model.predict(frame["smiles"], "egc")) == 1


@pytest.mark.parametrize("given", [5, None, b"*CC*"])
def test_what_is_no_polymer_is_refused_with_what_to_give(model: PerioGT, given: Any) -> None:
    with pytest.raises(ValidationError, match=rf"^{re.escape(repr(given))} was given; expected the SMILES"):
        model.predict(given, "egc")


def test_only_repeat_units_have_an_embedding(model: PerioGT) -> None:
    pair = {"smiles_a": "*CC*", "smiles_b": "*CCO*", "ratio_a": 0.5, "architecture": "block"}
    for given in (pair, [pair]):
        with pytest.raises(ValidationError, match="has no embedding"):
            model.embed(given)  # type: ignore[arg-type]
