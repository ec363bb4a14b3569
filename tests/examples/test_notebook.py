"""The notebook runs from its first cell to its last, and its table holds what the records do."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import condense

PATH = Path(__file__).parents[2] / "examples" / "from_distilling_to_plot.ipynb"


def test_the_notebook_runs_and_draws_the_accuracies_that_it_records(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(PATH, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = ["image/png" in output.get("data", {}) for cell in cells for output in cell.outputs]
    assert sum(pictures) == 2
    records = condense.results(tmp_path / "results")
    assert sorted(records[["method", "ipc"]].itertuples(index=False, name=None)) == [
        (method, ipc) for method in ("dm", "random_subset") for ipc in (1, 2, 5)
    ]
    (table,) = [output.data["text/plain"] for output in cells[-2].outputs if "data" in output]
    assert all(f"{accuracy:.1f}" in table for accuracy in records["accuracy"])
    assert records.groupby("ipc")["accuracy"].mean().is_monotonic_increasing


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(PATH, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells) and PATH.stat().st_size < 200_000
