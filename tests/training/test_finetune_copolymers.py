"""Finetuning on a table of copolymers: the same protocol, another network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.package_archive import export_package, import_package
from periogt_ray.artifacts.packages import read_package
from periogt_ray.cli import cli
from periogt_ray.model.composite_network import CopolymerRegressor, load_head
from periogt_ray.model.network import load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.training.composite_set import CompositeSet
from periogt_ray.training.dataset import DataOptions, polymer_key, read_dataset
from periogt_ray.training.new_network import new_network, new_parts
from periogt_ray.training.prompts import encode
from support.golden import ARTIFACTS
from support.golden_copolymers import copolymers, features_of, make_artifacts

MONOMERS = ("*CC*", "*CCO*", "*CC(*)C", "*CS*", "*CC(*)F", "*CC(*)Cl", "*CC(*)O")
PAIRS = [(a, b) for i, a in enumerate(MONOMERS) for b in MONOMERS[i + 1 :]]
HEADER = "smiles_a,smiles_b,ratio_a,architecture,value"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def table(path: Path, *more: str) -> Path:
    rows = [f"{a},{b},0.5,random,{1 + 0.3 * i}" for i, (a, b) in enumerate(PAIRS)]
    path.write_text("\n".join([HEADER, *rows, *more]))
    return path


def parse(a: str, b: str, ratio: float = 0.5, architecture: str = "block") -> Copolymer:
    return Copolymer.parse(a, b, ratio_a=ratio, architecture=architecture)


def test_what_makes_two_copolymers_one() -> None:
    one = polymer_key(parse("*CCO*", "*CC*", 0.25))
    assert polymer_key(parse("*CC*", "*COC*", 0.75)) != one, "another cut of a monomer is another chain"
    assert polymer_key(parse("*CC*", "*CCO*", 0.75)) == one
    assert polymer_key(parse("*CC*", "*CCO*", 0.25)) != one
    assert polymer_key(parse("*CCO*", "*CC*", 0.25, "random")) != one
    assert polymer_key(parse("*CCO*", "*CCCC*", 0.25)) != one, "two units of a monomer are another chain"
    left, right = "*C[C@@H](*)c1ccccc1", "*C[C@H](*)c1ccccc1"
    assert polymer_key(parse(left, "*CC*")) == polymer_key(parse(right, "*CC*")), "the network does not tell them apart"


def test_a_table_of_copolymers_is_known_by_its_columns(tmp_path: Path) -> None:
    more = ("*CC(*)C,*CC*,0.5,random,1.2", "*CC*,*CC,0.5,random,1", "*CC*,*CS*,0.5,Block,1")
    data = read_dataset(table(tmp_path / "data.csv", *more), DataOptions(is_forced=True))
    assert data.kind is InputKind.COPOLYMER
    assert len(data.polymers) == len(PAIRS) + 1
    assert [row.fate for row in data.rows[-3:]] == ["merged", "left out", "used"]
    assert data.rows[-2].reason.startswith("Monomer B")


def test_batches_give_the_predictions_of_serving(tmp_path: Path) -> None:
    """Of the golden network of ea, with its golden copolymers."""
    artifacts = ArtifactDirectory.open(make_artifacts(tmp_path / "artifacts", "monomer"))
    scaler, cpu = artifacts.scaler(), torch.device("cpu")
    polymers = [features_of(record, PromptScheme.MONOMER) for record in copolymers()[:6]]
    units = list({unit.smiles: unit for polymer in polymers for unit in polymer.monomers}.values())
    packing = Packing.for_device(cpu, width=48)
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    encoded = encode(encoder, units, scaler, packing=packing, device=cpu)
    prompts = {unit.smiles: each.prompts for unit, each in zip(units, encoded, strict=True)}
    some = CompositeSet(polymers, prompts, scaler, packing=packing, device=cpu)
    assert (len(some), some.kind) == (6, InputKind.COPOLYMER)
    network = load_head("copolymer", artifacts.property_state_dict("ea"), "ea")
    outcomes = Predictor(artifacts, cpu).predict_many([Task(polymer, "ea") for polymer in polymers])
    statistics = artifacts.label_stats("ea")
    expected = [(float(outcome.value or 0) - statistics.mean) / statistics.std for outcome in outcomes]
    np.testing.assert_allclose(some.predict(network, range(6)), expected, atol=1e-5)
    with torch.no_grad():
        together = network.eval().predict(*some.batch([4, 1, 5])).numpy()
    np.testing.assert_allclose(together, [expected[i] for i in (4, 1, 5)], atol=1e-5)


def test_a_new_network_of_copolymers_follows_from_its_seed() -> None:
    artifacts = ArtifactDirectory.open(ARTIFACTS)
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    first, again, other = (
        new_network(encoder, dropout=0.0, seed=seed, kind=InputKind.COPOLYMER).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    tables = [f"triplet_emb.{name}.weight" for name in ("embedding", "global_node_emb")]
    assert not any(torch.equal(first[key], other[key]) for key in tables)
    assert 0.01 < float(first[tables[0]].std()) < 0.03
    network = new_network(encoder, dropout=0.0, seed=0, kind=InputKind.COPOLYMER)
    assert isinstance(network, CopolymerRegressor)
    names = {
        name
        for part in new_parts(network)
        for name, value in network.named_parameters()
        if value in set(part.parameters())
    }
    assert set(tables) <= names
    assert "node_emb.in_proj.weight" not in names


def test_a_property_of_copolymers_is_trained_served_and_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("periogt_ray.training.baselines.has_trees", lambda: False)
    for name, value in (("CHECKPOINT_DIR", ARTIFACTS), ("MODELS", tmp_path / "models"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"PERIOGT_{name}", str(value))

    def invoke(*words: str) -> Any:
        result = CliRunner().invoke(cli, ["-q", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    base = ("--data", str(table(tmp_path / "data.csv")), "--property", "my_ea", "--units", "eV")
    how = ("--folds", "2", "--members", "2", "--epochs", "1", "--freeze")
    assert invoke("finetune", *base, *how, "--check")["labels"]["n_polymers"] == len(PAIRS)
    assert invoke("finetune", *base, *how)["verdict"]
    package = read_package(tmp_path / "models" / "my_ea")
    assert (package.family, package.problems()) == ("copolymer", [])
    asked = ("--smiles", "*CC*", "--smiles-b", "*CN*", "--ratio-a", "0.5", "--architecture", "random")
    answer = invoke("predict", *asked, "--property", "my_ea")
    assert answer["interval"]["lower"] < answer["prediction"]["value"] < answer["interval"]["upper"]
    reported = (package.root / "predictions.csv").read_text().splitlines()
    assert len(reported) == 1 + len(PAIRS)
    file = tmp_path / "my_ea.zip"
    export_package(package, file)
    assert import_package(file, tmp_path / "other").family == "copolymer"
    entry = next(one for one in invoke("properties", "--json")["properties"] if one["id"] == "my_ea")
    assert entry["input"] == "copolymer"
