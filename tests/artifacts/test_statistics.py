"""Label statistics."""

from pathlib import Path

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.errors import CheckpointMissingError, ModelLoadError


@pytest.mark.parametrize(
    "entry", ['{"mean": 1.0}', '{"mean": 1.0, "std": 0}', '{"mean": NaN, "std": 1}', "3", '{"mean": "1", "std": true}']
)
def test_statistics_that_cannot_be(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "label_stats.json"
    path.write_text(f'{{"eps": {entry}}}')
    with pytest.raises(ModelLoadError, match="eps"):
        read_label_stats(path)


def test_without_statistics_a_property_is_listed_with_the_reason(directory: Path) -> None:
    (directory / "label_stats.json").write_text('{"tg": {"mean": 410.0, "std": 105.0}}')
    opened = ArtifactDirectory.open(directory)
    assert opened.supported == ["tg"]
    assert "label_stats.json" in str(opened.properties["eps"].reason)
    for call in (opened.property, opened.label_stats, opened.property_state_dict):
        with pytest.raises(CheckpointMissingError, match=r"label_stats\.json.*'eps'"):
            call("eps")
