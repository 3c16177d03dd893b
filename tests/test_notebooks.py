"""The notebooks of docs/notebooks run from end to end, with a real service where they ask one."""

import json
from pathlib import Path

import matplotlib
import pytest

from support.served_process import ServedProcess
from support.way import KEY

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# matplotlib closes figures that nobody shows, and says so.
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_notebook_runs(path: Path, service: ServedProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    monkeypatch.setenv("SERVICE_URL", service.url)
    monkeypatch.setenv("PERIOGT_API_KEY", KEY)
    monkeypatch.setenv("PERIOGT_DEVICE", "cpu")
    names: dict[str, object] = {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs grow old; readers run the cells"
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.name, "exec"), names)
    remote, local = names["remote"], names["frame"]
    assert list(remote.ok) == list(local[local.property == "egc"].ok)  # type: ignore[attr-defined,index]
