"""Copolymers and conditions over HTTP: what is sent, what comes back, and what is refused with which words."""

from typing import Any

import pytest

from periogt_ray.model.predictor import Predictor
from periogt_ray.polymer.inputs import Copolymer, PolymerWithConditions
from periogt_ray.predict import PerioGT

COPOLYMER = {"smiles_a": "*CCO*", "smiles_b": "*CC*", "ratio_a": 0.25, "architecture": "block"}
CONDITIONS = {"homo": -0.61, "bandgap": 1, "molar_mass": -0.49}


class Here:
    def __init__(self, served: Any) -> None:
        self.client, self.backend = served.client, served.backend
        predictor: Predictor = served.backend._predictor
        self.model = PerioGT(predictor.artifacts.root, device="cpu")

    def post(self, path: str = "predict", **body: Any) -> Any:
        return self.client.post(f"/v1/{path}", json=body)


@pytest.fixture
def here(all_kinds: Any) -> Here:
    return Here(all_kinds)


def test_a_copolymer_is_predicted_and_echoed(here: Here) -> None:
    answer = here.post(copolymer=COPOLYMER, property="ea").json()
    made = Copolymer.parse("*CCO*", "*CC*", ratio_a=0.25, architecture="block")
    expected = here.model.outcomes(made, ["ea"])["ea"]
    assert answer["prediction"] == {"value": expected.value, "units": "eV"}
    assert (answer["smiles"], answer["copolymer"], answer["conditions"]) == (None, COPOLYMER, None)
    assert answer["embedding"] is None
    assert answer["warnings"] == []


def test_conditions_are_predicted_and_echoed(here: Here) -> None:
    answer = here.post(smiles="*c1ccc(*)s1", conditions=CONDITIONS, property="opv").json()
    given = PolymerWithConditions.parse("*c1ccc(*)s1", CONDITIONS)
    expected = here.model.outcomes(given, ["opv"])["opv"]
    assert answer["prediction"] == {"value": expected.value, "units": "%"}
    assert (answer["smiles"], answer["conditions"]) == ("*c1ccc(*)s1", CONDITIONS)


def test_a_repeat_unit_answers_as_before(here: Here) -> None:
    answer = here.post(smiles="*CC*", property="eps").json()
    expected = here.model.outcomes("*CC*", ["eps"])["eps"]
    assert answer["prediction"]["value"] == expected.value
    assert (answer["smiles"], answer["copolymer"]) == ("*CC*", None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"smiles": "*CC*", "property": "ea"},
            'ea is predicted of a copolymer, and a repeat unit was given; expected {"cop',
        ),
        ({"copolymer": COPOLYMER, "property": "eps"}, "eps is predicted of a repeat unit, and a copolymer was given"),
        ({"smiles": "*CC*", "property": "opv"}, "opv is predicted of a repeat unit with conditions, and a repeat unit"),
        ({"smiles": "*CC*", "conditions": CONDITIONS, "property": "eps"}, "a repeat unit with conditions was given"),
        ({"copolymer": {**COPOLYMER, "ratio_a": 0.3}, "property": "ea"}, "ratio_a is 0.3; expected 0.25, 0.5 or 0.75"),
        ({"copolymer": {**COPOLYMER, "architecture": "Random"}, "property": "ea"}, "Write 'random'"),
        ({"copolymer": {**COPOLYMER, "smiles_b": "*CC"}, "property": "ea"}, "Monomer B: "),
        ({"copolymer": {**COPOLYMER, "smiles_a": ""}, "property": "ea"}, "Monomer A: The SMILES is empty"),
        ({"copolymer": {**COPOLYMER, "ratio": 1}, "property": "ea"}, "body.copolymer.ratio"),
        ({"copolymer": COPOLYMER, "smiles": "*CC*", "property": "ea"}, "leave smiles and conditions out"),
        ({"copolymer": COPOLYMER, "property": "ea", "return_embedding": True}, "no embedding"),
        ({"property": "ea"}, "smiles is missing; give smiles, or copolymer"),
        (
            {"smiles": "*CC*", "conditions": {"homo": 0}, "property": "opv"},
            "expected exactly homo, bandgap, molar_mass",
        ),
        (
            {"smiles": "*CC*", "conditions": {**CONDITIONS, "homo": 1e39}, "property": "opv"},
            "The condition homo is 1e+39",
        ),
        ({"smiles": "*CC*", "conditions": {**CONDITIONS, "homo": True}, "property": "opv"}, "body.conditions.homo"),
    ],
)
def test_what_is_refused_says_why(here: Here, body: dict[str, Any], words: str) -> None:
    answer = here.post(**body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "validation_error"
    assert words in answer.json()["error"]["message"]


def test_a_batch_of_all_kinds_answers_in_order_and_a_monomer_is_featurized_once(here: Here) -> None:
    here.backend.featurized.clear()
    ratios = (0.25, 0.5, 0.75, 0.3)
    items = [
        {"copolymer": {**COPOLYMER, "ratio_a": ratio, "smiles_a": "*CC(*)Cl"}, "property": "ea"} for ratio in ratios
    ]
    items += [
        {"smiles": "*CC(*)Cl", "property": "eps"},
        {"smiles": "*CC(*)Cl", "conditions": {**CONDITIONS, "x": 1}, "property": "opv"},
        {"smiles": "*CC(*)Cl", "conditions": CONDITIONS, "property": "opv"},
    ]
    results = here.post("predict/batch", items=items).json()["results"]
    assert ["prediction" in one for one in results] == [True] * 3 + [False, True, False, True]
    assert "ratio_a is 0.3" in results[3]["message"]
    assert "'x'" in results[5]["message"]
    # Once for the scheme of copolymers and conditions, once for that of homopolymers.
    assert here.backend.featurized["*CC(*)Cl"] == 2


def test_an_untrained_combination_is_answered_with_a_warning(here: Here) -> None:
    answer = here.post(copolymer={**COPOLYMER, "architecture": "alternating"}, property="ea").json()
    assert any("alternating" in warning for warning in answer["warnings"])


def test_the_list_and_the_model_say_what_a_property_takes(here: Here) -> None:
    listed = {one["id"]: one for one in here.client.get("/v1/properties").json()["properties"]}
    assert {name: one["input"] for name, one in listed.items()} == {
        "ea": "copolymer",
        "eps": "homopolymer",
        "opv": "conditions",
        "tg": "homopolymer",
    }
    assert listed["opv"]["conditions"][0] == {"name": "homo", "label": "HOMO energy", "low": -4.96, "high": 3.84}
    cards = {one["id"]: one["input"] for one in here.client.get("/v1/model").json()["properties"]}
    assert cards["ea"] == "copolymer"


def test_an_embedding_of_a_copolymer_is_not_asked_for(here: Here) -> None:
    answer = here.post("embeddings", copolymer=COPOLYMER)
    assert answer.status_code == 422
