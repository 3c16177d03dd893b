"""A directory with the layout of the published archives and weights for all sixteen tasks: what each becomes."""

import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray import PerioGT, UnsupportedPropertyError
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.answers import properties_response
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.setup.label_statistics import label_statistics
from periogt_ray.setup.published import load_published
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from periogt_ray.setup.trial_load import load_everything
from support.golden_copolymers import FOLDER
from support.published_site import HEADS, LAYOUTS, QUICK, SPLIT, Site, convert_here, golden_files, zip_bytes

HOMOPOLYMERS = ("eat", "eps", "nc", "egc", "egb", "eea", "ei", "tg", "mt", "density")
COPOLYMERS = ("ea", "ip")
UNPUBLISHED = ("mar1", "mar2", "pe")


def changed(source: Path, **tensors: torch.Tensor | None) -> bytes:
    """A weight file with other tensors; None takes one away. Points in keys are written as two underscores."""
    state = dict(torch.load(source, weights_only=True))
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def all_heads() -> dict[str, bytes]:
    ea, opv = (FOLDER / "artifacts" / "finetuned_ckpt" / name / "best_model.pth" for name in ("ea", "opv"))
    heads = {name: HEADS["eps"].read_bytes() for name in HOMOPOLYMERS}
    heads |= {"ea": ea.read_bytes(), "ip": ea.read_bytes(), "opv": opv.read_bytes()}
    # Terpolymers: one with another table, one with the very shapes of ea. Electrolytes: five numbers.
    heads["mar1"] = changed(ea, triplet_emb__embedding__weight=torch.zeros(10, 48))
    heads["mar2"] = ea.read_bytes()
    heads["pe"] = changed(opv, triplet_emb__gs_proj__in_proj__weight=torch.zeros(48, 5))
    return heads


@pytest.fixture(scope="module", params=["directories", "light"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    layout = LAYOUTS[request.param][1]
    files = golden_files(request.param)
    files["finetuned_ckpt.zip"] = zip_bytes({layout.format(name): content for name, content in all_heads().items()})
    for name in (*HOMOPOLYMERS, *COPOLYMERS):
        files[f"{name}/{name}.csv"] = b"smiles,value\n*C*,3.1\n*C*,4.7\n*C*,9\n*C*,9\n"
    files["opv/opv.csv"] = "\ufeffsmiles,HOMO (eV),PCE_ave\n*C*,9,3.1\n*C*,9,4.7\n*C*,9,9\n*C*,9,9\n".encode()
    for name in (*HOMOPOLYMERS, *COPOLYMERS, "opv"):
        files[f"{name}/split.pkl"] = pickle.dumps([np.array(part) for part in SPLIT], protocol=4)
    site = Site()
    try:
        site.publish(files)
        catalogue = {entry.name: entry for entry in load_published()}
        document = {"files": [_entry(name, content, site.url, catalogue) for name, content in files.items()]}
        path = folder / "published.json"
        path.write_text(json.dumps(document))
        options = SetupOptions(
            folder / "artifacts",
            files=load_published(path),
            policy=QUICK,
            convert=convert_here,
            check=load_everything,
        )
        return run_setup(options).directory
    finally:
        site.close()


def _entry(name: str, content: bytes, url: str, catalogue: dict) -> dict[str, object]:
    from support.published_site import manifest_of

    [entry] = manifest_of({name: content}, url)["files"]  # type: ignore[misc]
    published = catalogue.get(name)
    if published is not None and published.role == "labels":
        entry |= {"column": published.column, "is_float32": published.is_float32}
    return entry


def test_each_task_is_served_or_listed_with_its_reason(made: Path) -> None:
    opened = ArtifactDirectory.open(made)
    kinds = {name: opened.properties[name].input_kind for name in opened.supported}
    assert kinds == {
        **dict.fromkeys(HOMOPOLYMERS, InputKind.HOMOPOLYMER),
        **dict.fromkeys(COPOLYMERS, InputKind.COPOLYMER),
        "opv": InputKind.CONDITIONS,
    }
    reasons = {name: str(info.reason) for name, info in opened.properties.items() if not info.supported}
    assert set(reasons) == set(UNPUBLISHED)
    assert all("not published" in reason for reason in reasons.values())
    assert "embedding.weight is [10, 48], expected [3, 48]" in reasons["mar1"]
    assert "three monomers" in reasons["mar2"]
    assert "[" not in reasons["mar2"]
    assert "gs_proj.in_proj.weight is [48, 5], expected [48, 3]" in reasons["pe"]
    assert opened.property("eps").prompt_scheme is PromptScheme.RELEASE
    assert opened.property("ea").prompt_scheme is PromptScheme.RELEASE_UNSHIFTED
    assert opened.label_stats("opv")[:2] == pytest.approx((3.9, 0.8), rel=1e-6)


def test_the_list_says_what_each_property_takes(made: Path) -> None:
    listed = properties_response(ArtifactDirectory.open(made)).model_dump(mode="json")
    entries = {entry["id"]: entry for entry in listed["properties"]}
    assert entries["eps"]["input"] == "homopolymer"
    assert entries["eps"]["copolymer"] is None
    assert entries["ip"]["input"] == "copolymer"
    assert entries["ip"]["copolymer"]["ratio_a"] == [0.25, 0.5, 0.75]
    assert entries["ip"]["copolymer"]["architecture"] == ["alternating", "block", "random"]
    assert len(entries["ip"]["copolymer"]["trained"]) == 7
    assert [one["name"] for one in entries["opv"]["conditions"]] == ["homo", "bandgap", "molar_mass"]
    assert {entry["id"] for entry in listed["unsupported"]} >= set(UNPUBLISHED)


def test_each_kind_predicts(made: Path) -> None:
    model = PerioGT(made, device="cpu")
    assert len(model.predict("*CC*", "all")) == len(HOMOPOLYMERS)
    copolymer = {"smiles_a": "*CC*", "smiles_b": "*CCO*", "ratio_a": 0.5, "architecture": "random"}
    found = model.predict(copolymer, "all")
    assert list(found.property) == list(COPOLYMERS)
    conditions = {"homo": 0.0, "bandgap": 0.0, "molar_mass": 0.0}
    assert model.predict({"smiles": "*CC*", "conditions": conditions}, "all").ok.tolist() == [True]
    for name in UNPUBLISHED:
        with pytest.raises(UnsupportedPropertyError, match="not published"):
            model.predict(copolymer, name)


def test_the_catalogue_names_the_sets_of_copolymers_and_conditions() -> None:
    files = {file.name: file for file in load_published()}
    for name in ("ea", "ip", "opv"):
        labels, split = files[f"{name}/{name}.csv"], files[f"{name}/split.pkl"]
        assert labels.is_float32
        assert labels.sha256
        assert split.sha256
        assert f"/datasets/{name}/" in labels.url
    assert files["opv/opv.csv"].column == "PCE_ave"
    assert files["ea/split.pkl"].sha256 == files["ip/split.pkl"].sha256


def test_statistics_in_float32_differ_in_a_late_digit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "ea.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["value"], *([value] for value in rng.normal(2.8, 0.65, 30_000))])
    (tmp_path / "split.pkl").write_bytes(pickle.dumps([np.arange(30_000), np.arange(1), np.arange(1)], protocol=4))
    single, double = (
        label_statistics(tmp_path / "ea.csv", tmp_path / "split.pkl", is_float32=one) for one in (True, False)
    )
    assert single == pytest.approx(double, rel=1e-5)
    assert single != double
    assert float(np.float32(single.mean)) == single.mean
