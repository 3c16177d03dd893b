import os
from pathlib import Path

import pytest

from periogt_ray.batch.options import BatchOptions
from periogt_ray.errors import ValidationError


def options(tmp_path: Path, output: Path | None, *, name: str = "in.csv", report: Path | None = None) -> BatchOptions:
    given = tmp_path / name
    given.write_text("smiles\n*CC*\n")
    return BatchOptions(given, output, ("egc",), report=report)


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ValidationError, match="not a regular file"):
            options(tmp_path, place).check_paths()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere" / "real.csv")
    (tmp_path / "r.html").symlink_to(tmp_path / "elsewhere" / "real.html")
    chosen = options(tmp_path, tmp_path / "out.csv", report=tmp_path / "r.html")
    chosen.check_paths()
    assert chosen.output_path == tmp_path / "elsewhere" / "real.csv"
    assert chosen.report_path == tmp_path / "elsewhere" / "real.html"


@pytest.mark.parametrize("name", ["out.csv.gz", "out.xlsx", "out.JSON"])
def test_a_name_that_promises_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match=r"stands for another format.*expected \.csv or \.parquet"):
        options(tmp_path, tmp_path / name).check_paths()


@pytest.mark.parametrize(
    ("name", "output"),
    [("a.csv", "a_predictions.csv"), ("a.csv.gz", "a_predictions.csv"), ("a.b.tsv", "a.b_predictions.csv")],
)
def test_the_output_is_beside_the_input(tmp_path: Path, name: str, output: str) -> None:
    assert options(tmp_path, None, name=name).output_path == tmp_path / output


def test_a_directory_as_input_has_a_place_for_its_output() -> None:
    assert BatchOptions(Path(), None, ("egc",)).output_path.name.endswith("_predictions.csv")
