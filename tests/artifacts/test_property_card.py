"""What is told of a property: from its package, from the model's card, and from what others made."""

import json
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.manifest import RecordedFile
from periogt_ray.artifacts.packages import PACKAGE_NAME, Package
from periogt_ray.artifacts.property_card import read_property_card
from periogt_ray.errors import UnsupportedPropertyError
from periogt_ray.model.answers import properties_response
from periogt_ray.runtime.files import sha256_of, write_json_atomically
from periogt_ray.settings import EMBEDDED_DIR
from support.golden import ARTIFACTS
from support.packages import write_small_package

TEXT = "# My constant\n\nGood enough.\n"
METRICS = {
    "test": {"network": {"n": 10, "r2": 0.8, "rmse": 0.4, "mae": 0.3}, "trees": {"n": 10, "r2": 0.7, "rmse": 0.5}},
    "out_of_fold": None,
    "cluster": {"network": {"n": 40, "r2": -0.1, "rmse": 0.9}, "trees": None},
    "coverage": {"test": [{"level": 0.9, "n": 10, "coverage": 0.8, "mean_width": -1.0}], "cluster": []},
}


def opened(models: Path) -> ArtifactDirectory:
    return ArtifactDirectory.open(ARTIFACTS).with_packages(models)


def add_files(package: Package, **contents: str) -> None:
    """Give a package more files, and record them."""
    path = package.root / PACKAGE_NAME
    document = json.loads(path.read_text())
    for name, content in contents.items():
        (package.root / name).write_text(content)
        record = RecordedFile(len(content.encode()), sha256_of(package.root / name))
        document["files"][name] = record._asdict()
    document["summary"]["verdict"] = "The network's error is 20% below that of the mean."
    write_json_atomically(path, document)


def test_a_package_tells_of_itself(tmp_path: Path) -> None:
    package = write_small_package(tmp_path)
    add_files(package, **{"MODEL_CARD.md": TEXT, "metrics.json": json.dumps(METRICS)})
    card = read_property_card(opened(tmp_path), "my_eps")
    assert (card.id, card.label, card.units, card.is_package, card.reason) == (
        "my_eps",
        "My constant",
        "eV",
        True,
        None,
    )
    assert (card.text, card.n_train, card.n_networks) == (TEXT, 40, 2)
    assert card.verdict == "The network's error is 20% below that of the mean."
    assert [(score.division, score.model, score.n, score.rmse) for score in card.scores] == [
        ("test", "network", 10, 0.4),
        ("test", "trees", 10, 0.5),
        ("cluster", "network", 40, 0.9),
    ]
    assert [(one.division, one.level, one.coverage, one.n) for one in card.coverage] == [("test", 0.9, 0.8, 10)]


@pytest.mark.parametrize(
    "metrics",
    [
        "",
        "[1]",
        "{",
        '{"test": 3, "coverage": {"test": [3, {"level": "x"}]}}',
        "[" * 9999,
        '{"test": {"network": {"n": 1' + "0" * 400 + ', "r2": NaN, "rmse": true}}}',
    ],
)
def test_figures_that_cannot_be_read_are_those_of_the_summary(tmp_path: Path, metrics: str) -> None:
    add_files(write_small_package(tmp_path), **{"metrics.json": metrics})
    card = read_property_card(opened(tmp_path), "my_eps")
    assert [(score.division, score.model, score.rmse) for score in card.scores] == [("test", "network", 1.0)]
    assert card.coverage == []
    assert card.text is None


def test_what_was_changed_or_leads_elsewhere_is_not_told(tmp_path: Path) -> None:
    package = write_small_package(tmp_path / "models")
    add_files(package, **{"MODEL_CARD.md": TEXT})
    card = package.root / "MODEL_CARD.md"
    card.write_text(TEXT.replace("Good", "Best"))
    assert read_property_card(opened(tmp_path / "models"), "my_eps").text is None
    card.unlink()
    (tmp_path / "secret").write_text(TEXT)
    card.symlink_to(tmp_path / "secret")
    assert read_property_card(opened(tmp_path / "models"), "my_eps").text is None


def test_the_model_tells_of_its_own_properties() -> None:
    artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    card, model = read_property_card(artifacts, "egc"), read_card(artifacts)
    assert card.text == model.card == (EMBEDDED_DIR / "MODEL_CARD.md").read_text()
    [score], [known] = card.scores, [one for one in model.properties if one.id == "egc"]
    assert known.test is not None
    assert (score.n, score.rmse, card.n_train) == (known.test.n, known.test.rmse, known.n_train)
    assert not card.is_package
    with pytest.raises(UnsupportedPropertyError, match="no property 'absent' to tell of"):
        read_property_card(artifacts, "absent")
    assert read_card(ArtifactDirectory.open(ARTIFACTS)).card is None


@pytest.mark.parametrize("r2", ["high", None, [1], "nan"])
def test_a_package_with_strange_figures_leaves_the_others_as_they_are(tmp_path: Path, r2: Any) -> None:
    write_small_package(tmp_path, summary={"test": {"r2": r2, "rmse": 1.0, "n": 10}, "n_train": 40})
    model = read_card(opened(tmp_path))
    assert [(card.id, card.test) for card in model.properties if card.id == "my_eps"] == [("my_eps", None)]
    assert read_property_card(opened(tmp_path), "my_eps").scores == []


def damaged(models: Path) -> None:
    (write_small_package(models, "my_a").root / PACKAGE_NAME).write_text("{}")


def misnamed(models: Path) -> None:
    write_small_package(models, "my_b").root.rename(models / "my_a")


def of_another_encoder(models: Path) -> None:
    encoder: dict[str, Any] = {"name": "other", "sha256": "1" * 64, "width": 6}
    write_small_package(models, "my_a", encoder=encoder)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(damaged, "my_a/package.json: not a package"), (misnamed, "it holds the property 'my_b'")],
)
def test_packages_that_are_left_out_are_listed_with_the_reason(tmp_path: Path, make: Any, reason: str) -> None:
    make(tmp_path)
    listed = properties_response(opened(tmp_path))
    [left_out] = listed.left_out
    assert left_out.name == "my_a"
    assert left_out.reason.startswith(reason)
    assert str(tmp_path) not in left_out.reason


def test_packages_are_told_from_the_models_own(tmp_path: Path) -> None:
    of_another_encoder(tmp_path)
    write_small_package(tmp_path, "my_c")
    write_small_package(tmp_path, "eps")
    artifacts = opened(tmp_path)
    listed = properties_response(artifacts)
    assert [entry.id for entry in listed.properties if entry.is_package] == ["my_c"]
    assert [entry.id for entry in listed.unsupported if entry.is_package] == ["my_a"]
    assert [(one.name, "serves a property 'eps' itself" in one.reason) for one in listed.left_out] == [("eps", True)]
    assert "finetuned from the encoder of other" in str(read_property_card(artifacts, "my_a").reason)
