"""The notebooks run from their first cell to their last, and are kept without output."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
import nbformat  # noqa: E402

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "clear its output before a commit"
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pages = [output for cell in code for output in cell.outputs if "<iframe" in str(output.get("data"))]
    assert pages, "no page is shown"


def test_there_are_some() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"compare_policies", "replay_a_trace", "size_a_cluster"}
