"""The notebook reads top to bottom: the published records, and a sweep's folder given by parameter."""

import json
from pathlib import Path

import pytest

from orchestrator.sweep.imported import read_files, write_import
from results.rows.imported_rows import ImportTerms
from tests.sweep_on_disk import finished_sweep

NOTEBOOK = Path(__file__).parents[3] / "results" / "sweep.ipynb"
pytest.importorskip("ipykernel", reason="ipykernel is not installed; pip install -e '.[notebook]'")
papermill = pytest.importorskip("papermill", reason="papermill is not installed; pip install -e '.[notebook]'")


def read_with(tmp_path, monkeypatch, **parameters):
    """Everything the notebook printed, and how many pictures it drew."""
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    done = papermill.execute_notebook(
        NOTEBOOK, tmp_path / "read.ipynb", parameters, kernel_name="python3", progress_bar=False, cwd=tmp_path
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    return printed, sum("image/png" in output.get("data", {}) for output in outputs)


def test_without_a_sweep_it_reads_the_published_records(tmp_path, monkeypatch):
    printed, num_pictures = read_with(tmp_path, monkeypatch)
    assert "Which published records of the challenge are better" in printed
    assert "No learning curve is at hand." in printed
    assert num_pictures == 2


def test_a_folder_given_by_parameter_is_read(tmp_path, monkeypatch):
    sweep = finished_sweep(tmp_path / "store")
    printed, num_pictures = read_with(tmp_path, monkeypatch, sweep_folder=str(sweep.folder))
    assert "Every seed that was started counts: 6 done with a result." in printed
    assert "It scores 0.0" in printed
    assert num_pictures == 4


def test_an_imported_sweep_is_read(tmp_path, monkeypatch):
    cases = Path(__file__).parents[2] / "data" / "cases"
    files = [cases / "val_calib_and_pr549.csv"]
    write_import(tmp_path / "store", "two", files, read_files(files, ImportTerms()))
    printed, num_pictures = read_with(tmp_path, monkeypatch, store=str(tmp_path / "store"), name="two")
    assert "Every run that is known counts: 6 done with a result." in printed
    assert "nothing was declared before these runs" in printed
    assert num_pictures == 2


def test_it_is_committed_without_outputs_and_with_its_parameters_tagged():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert [cell["metadata"].get("tags") for cell in code[:1]] == [["parameters"]]
    assert max(len("".join(cell["source"]).splitlines()) for cell in code) <= 12
