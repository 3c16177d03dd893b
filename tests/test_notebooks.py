"""The notebooks of docs/notebooks run from end to end, with a real service where they ask one."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from support.served_process import ServedProcess
from support.way import KEY

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
N_SCREENED = 60

pytestmark = [
    pytest.mark.ray,
    # matplotlib closes figures that nobody shows, and says so.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that notebooks may write to, and one thread: other tests run beside them."""
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERIOGT_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Notebooks may change it.
    monkeypatch.setenv("PERIOGT_MODELS", str(tmp_path / "models"))


def run(name: str) -> dict[str, Any]:
    """Run the cells of a notebook, and return its variables."""
    path = NOTEBOOKS / f"{name}.ipynb"
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.name, "exec"), names)
    return names


def test_every_notebook_is_run_here_and_has_no_outputs() -> None:
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in paths} <= tests
    cells = [cell for path in paths for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert not any(cell.get("outputs") for cell in cells), "outputs grow old; readers run the cells"


def test_first_steps(service: ServedProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_URL", service.url)
    monkeypatch.setenv("PERIOGT_API_KEY", KEY)
    names = run("first_steps")
    remote, local = names["remote"], names["frame"]
    assert list(remote.ok) == list(local[local.property == "egc"].ok)


def test_screening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N_POLYMERS", str(N_SCREENED))
    names = run("screening")
    assert len(names["rows"]) == len({tuple(sorted((row, row[::-1]))) for row in names["rows"]}) == 14126
    table, known = names["table"], names["known"]
    assert len(table) == N_SCREENED
    assert table.ok.all()
    assert 0 < len(known) < N_SCREENED
    beaten = [((known.egc > row.egc) & (known.eps > row.eps)).any() for row in known.itertuples()]
    assert known.is_front.tolist() == [not one for one in beaten]
    assert known.chance.between(0, 1).all()
    assert known.chance[known.is_front].mean() > known.chance[~known.is_front].mean()


def test_finetuning() -> None:
    names = run("finetuning")
    metrics = names["metrics"]["out_of_fold"]
    assert metrics["network"]["rmse"] < 0.8 * metrics["mean"]["rmse"]
    assert len(names["judged"]) == len(names["data"]) == names["report"]["labels"]["n_polymers"] == 52
    frame = names["frame"]
    assert frame.ok.all()
    assert frame[frame.property == "my_logp"].interval_lower.notna().all()


def test_copolymers() -> None:
    names = run("copolymers")
    frame, new, same = names["frame"], names["new"], names["same"]
    assert frame.ok.all()
    assert frame.interval_lower.notna().all()
    assert frame.warnings.str.contains("Training saw no").sum() == 4
    assert new.interval_lower.isna().all()
    assert (new.domain != "inside").all()
    assert same.warnings.str.contains("homopolymer").all()
