"""The report of a batch: figures, what is drawn, what is escaped, and its size."""

import csv
import math
import random
import statistics
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.report import write_report
from periogt_ray.batch.report_figures import N_BINS, N_RANKED, gather_figures
from periogt_ray.settings import EMBEDDED_DIR
from periogt_ray.tables.predictions import OUTPUT_COLUMNS
from support.golden import ARTIFACTS

LARGEST_BYTES = 5_000_000
Row = tuple[str, str, str, float | None]


def write_rows(path: Path, rows: Any, *, message: str = "no") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(OUTPUT_COLUMNS)
        for identifier, smiles, property_id, value in rows:
            shown = (
                ["", "", "false", "validation_error", message] if value is None else [repr(value), "eV", "true", "", ""]
            )
            writer.writerow([identifier, smiles, property_id, *shown, "r", ""])
    return path


def summary_of(output: Path, n_rows: int = 3) -> dict[str, Any]:
    basis = {"input_sha256": "a" * 64, "properties": ["eps"], "artifacts": "b" * 64, "descriptor_engine": "native"}
    return {
        "input": "/secret/place/<in>.csv", "output": str(output), "n_input_rows": n_rows, "device": "cpu",
        "elapsed_s": 2.0, "rows_per_s": 1.5, "basis": {**basis, "version": "0.1"},
    }  # fmt: skip


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_figures_are_those_of_all_values(tmp_path: Path) -> None:
    chosen = random.Random(3)
    values = [chosen.gauss(1e6, 1) for _ in range(500)]
    rows: list[Row] = [(str(i), f"*{'C' * (i + 1)}*", "egc", value) for i, value in enumerate(values)]
    rows += [("x", "bad", "egc", None), ("again", "*C*", "egc", values[0])]
    figures = gather_figures(write_rows(tmp_path / "out.csv", rows))
    found = figures.properties["egc"]
    everything = [*values, values[0]]
    assert (figures.n_rows, figures.failures) == (502, {"validation_error": 1})
    assert (found.n, found.units) == (501, "eV")
    assert found.mean == pytest.approx(statistics.fmean(everything), rel=1e-12)
    assert found.std == pytest.approx(statistics.pstdev(everything), rel=1e-6)
    assert sum(found.bins) == 501
    width = (max(values) - min(values)) / N_BINS
    assert found.bins[0] == sum(value < min(values) + width for value in everything)
    assert [one.value for one in found.lowest] == sorted(values)[:N_RANKED]
    assert [one.value for one in found.highest] == sorted(values, reverse=True)[:N_RANKED]


def test_a_smiles_is_ranked_once_and_the_first_row_stays(tmp_path: Path) -> None:
    rows: list[Row] = [("first", "*CC*", "egc", 2.0), ("second", "*CC*", "egc", 2.0), ("third", "*CO*", "egc", 2.0)]
    found = gather_figures(write_rows(tmp_path / "out.csv", rows)).properties["egc"]
    assert [one.id for one in found.lowest] == ["first", "third"]
    assert (found.std, sum(found.bins)) == (0.0, 3)


def test_a_report_holds_everything_and_escapes_it(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\" onload='x'"
    rows: list[Row] = [(hostile, "*CC(*)c1ccccc1", "egc", 3.5), ("2", "*CC*", "egc", 6.5), ("3", hostile, "egc", None)]
    output = write_rows(tmp_path / "out.csv", rows, message=hostile)
    path = tmp_path / "report.html"
    artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    write_report(path, output, summary=summary_of(output), artifacts=artifacts)
    text = path.read_text(encoding="utf-8")
    page = Elements(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert page.tags.count("svg") == 1 + 4  # the histogram, and two polymers among lowest and highest
    for part in (
        hostile,
        "<in>.csv",
        "Band gap, chain",
        "PerioGT compact",
        "not measurements",
        "0.909",
        "validation_error",
    ):
        assert part in page.text
    assert "/secret" not in text
    assert not list(tmp_path.glob(".*"))


def test_published_artifacts_have_no_card_and_still_a_report(tmp_path: Path) -> None:
    output = write_rows(tmp_path / "out.csv", [("1", "*CC*", "eps", 2.5), ("2", "*CC(*)C", "tg", None)])
    write_report(tmp_path / "r.html", output, summary=summary_of(output), artifacts=ArtifactDirectory.open(ARTIFACTS))
    text = Elements((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "not known" in text
    assert "No predictions." in text


def test_neither_the_report_nor_its_memory_grows_with_the_input(tmp_path: Path) -> None:
    def rows(n: int) -> Any:
        for i in range(n):
            # The extremes are always the last rows, and all that is ranked is as large as can be drawn.
            smiles = f"*{'C' * (100 + i % 97)}*" if i % 2 else f"*CC(*)c1ccc({'O' * (i % 7)}C)cc1"
            for name in ("eat", "eea", "egb", "egc", "ei", "eps", "nc"):
                yield str(i), smiles, name, None if i % 50 == 0 else math.sin(i) * i

    peaks, sizes = [], []
    for n in (300, 2000):
        output = write_rows(tmp_path / f"{n}.csv", rows(n), message="long " * 100)
        path = tmp_path / f"{n}.html"
        tracemalloc.start()
        write_report(path, output, summary=summary_of(output, n), artifacts=ArtifactDirectory.open(EMBEDDED_DIR))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(path.stat().st_size)
    assert max(sizes) < LARGEST_BYTES
    assert sizes[1] < 1.5 * sizes[0]
    assert peaks[1] < 1.2 * peaks[0] + 1_000_000


@pytest.mark.usefixtures("cannot_draw")
def test_a_report_without_drawings_says_so(tmp_path: Path) -> None:
    rows: list[Row] = [("1", "*CC(*)c1ccccc1", "egc", 3.5), ("2", "*CC*", "egc", 6.5)]
    output, path = write_rows(tmp_path / "out.csv", rows), tmp_path / "report.html"
    write_report(path, output, summary=summary_of(output), artifacts=ArtifactDirectory.open(EMBEDDED_DIR))
    page = Elements(path.read_text(encoding="utf-8"))
    assert page.tags.count("svg") == 1, "the histogram is there"
    assert page.text.count("No structures are shown") == 1
    assert "libxrender1" in page.text
    assert "*CC(*)c1ccccc1" in page.text
