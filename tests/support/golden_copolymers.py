"""The golden vectors of the copolymer and conditions networks: what the authors' programs computed with small weights.

Kept here: everything of ``ea`` and ``opv`` but the prompts of 31 monomers and the features, whose parts are tested with
homopolymers.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from periogt_ray.artifacts.index import write_index
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.input_features import FeaturizedComposite, featurized_input
from periogt_ray.polymer.input_kinds import CONDITIONS
from periogt_ray.polymer.inputs import Copolymer, PolymerInput, PolymerWithConditions
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import ARTIFACTS, GOLDEN

FOLDER = GOLDEN / "copolymer"
TOLERANCE = {"release": 1e-5, "monomer": 1e-5, "current": 1e-4}


@cache
def monomers() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "monomers.json").read_text())["monomers"])


@cache
def copolymers() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "copolymers.json").read_text())["copolymers"])


@cache
def conditioned() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "conditions.json").read_text())["conditions"])


def rejected_by_reference() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "copolymers.json").read_text())["rejected_by_reference"])


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def graph_of(name: str) -> dict[str, np.ndarray]:
    """Node and edge data of a finetuned graph, for example of ``copolymer_3``."""
    names = ("n_begin_end", "n_edge", "n_vavn", "e_path", "e_vp", "e_sl", "src", "dst")
    return {key: arrays("graphs")[f"{name}_{key}"] for key in names}


def input_of(record: dict[str, Any]) -> PolymerInput:
    """The input of a record, in the order given; also combinations that users cannot ask for."""
    if "conditions" in record:
        names = [condition.name for condition in CONDITIONS]
        return PolymerWithConditions.parse(record["given"], dict(zip(names, record["conditions"], strict=True)))
    a, b = map(RepeatUnit.parse, record["given"])
    ratio_a, ratio_b = record["ratio"]
    return Copolymer(a, b, ratio_a, ratio_b, record["type"])


@cache
def monomer_features(smiles: str, scheme: PromptScheme) -> FeaturizedPolymer:
    return featurize(RepeatUnit.parse(smiles), scheme)


def features_of(record: dict[str, Any], scheme: PromptScheme) -> FeaturizedComposite:
    found = featurized_input(input_of(record), lambda unit: monomer_features(unit.smiles, scheme))
    assert not isinstance(found, FeaturizedPolymer)
    return found


def make_artifacts(root: Path, scheme: str = "release") -> Path:
    """A directory with the golden encoder, two homopolymer heads, and the heads of ``ea`` and ``opv``."""
    shutil.copytree(ARTIFACTS, root)
    shutil.copytree(FOLDER / "artifacts" / "finetuned_ckpt", root / "finetuned_ckpt", dirs_exist_ok=True)
    statistics = [json.loads((one / "label_stats.json").read_text()) for one in (ARTIFACTS, FOLDER / "artifacts")]
    (root / "label_stats.json").write_text(json.dumps(statistics[0] | statistics[1]))
    write_index(root, scheme=PromptScheme.named(scheme))
    return root
