"""A sweep in two lines of Python, and the examples of docs/examples."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.space.configuration import baseline_of
from orchestrator.space.load_space import load_space
from orchestrator.sweep.imported import read_files, write_import
from orchestrator.sweep.sweep import open_sweep as begin_sweep
from results import open_sweep
from results.rows.imported_rows import ImportTerms
from tests.orchestrator.spaces import space_of
from tests.sweep_on_disk import finished_sweep
from trainer.spec.errors import UserError

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return finished_sweep(tmp_path_factory.mktemp("opened") / "store")


@pytest.fixture(scope="module")
def opened(sweep):
    return open_sweep("small", sweep.store)


def test_a_sweep_opens_by_name_as_runs_and_a_table_with_labels(opened):
    assert len(opened.runs) == 6
    assert opened.table()["label"].tolist() == ["ttt.lr=0.004", "baseline"]
    assert repr(opened) == "sweep small: Is test-time training worth it? (6 runs)"


def test_compare_is_that_of_the_command_and_other_terms_are_exploratory(opened):
    (row,) = opened.compare().to_dict("records")
    assert (row["label"], row["verdict"], row["n_candidate"]) == ("ttt.lr=0.004", "suggested", 3)
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    (other,) = opened.compare(margin=0.1, unit="bpb").to_dict("records")
    assert (other["verdict"], other["exploratory"]) == ("not shown", True)


@pytest.mark.parametrize("kind", ["scores", "ranking", "gains", "curves"])
def test_figures_are_drawn_by_name(opened, kind):
    assert opened.figure(kind).axes


def test_an_unknown_figure_or_sweep_is_refused_with_the_nearest(opened, sweep):
    with pytest.raises(UserError, match="did you mean 'curves'"):
        opened.figure("curve")
    with pytest.raises(UserError, match="did you mean 'small'"):
        open_sweep("smal", sweep.store)


def test_the_winner_is_that_of_the_command(opened):
    assert opened.best().word == "suggested"
    assert repr(opened.best()).startswith("best of sweep small: ttt.lr=0.004 (")


def test_the_example_reads_a_sweep(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["open_a_sweep.py", "small", str(sweep.store)])
    runpy.run_path(str(EXAMPLES / "open_a_sweep.py"))
    assert "suggested, not shown" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.png")} == {"scores.png", "gains.png", "curves.png"}


def test_the_example_runs_a_sweep(sweep, tmp_path, monkeypatch, capsys):
    """Its runs are recorded already, so nothing is computed."""
    space_of(tmp_path, (sweep.store / "small.yaml").read_text())
    monkeypatch.setattr(sys, "argv", ["run_a_sweep.py", str(tmp_path / "space.yaml"), str(sweep.store)])
    runpy.run_path(str(EXAMPLES / "run_a_sweep.py"))
    out = capsys.readouterr().out
    assert "6 runs, " in out
    assert "nothing to run: all 6 runs are recorded" in out


def test_importing_the_packages_imports_nothing_else():
    code = (
        "import sys; from orchestrator import plan, sweep; from results import open_sweep; "
        "assert callable(plan) and callable(sweep); print(sorted({'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_packages_have_their_functions_with_all_options():
    code = (
        "import inspect, orchestrator; "
        "print(*(list(inspect.signature(it).parameters)[:2] for it in (orchestrator.plan, orchestrator.sweep)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "['space', 'preset'] ['space', 'preset']"


def test_a_notebook_shows_a_figure_as_a_picture(opened):
    assert opened.figure("gains")._repr_png_().startswith(b"\x89PNG")


def test_a_number_is_a_baseline_once_it_is_taken_as_exact(opened):
    with pytest.raises(UserError, match="take it as exact"):
        opened.compare(baseline=9.9)
    assert set(opened.compare(baseline=9.9, margin=0, unit="bpb", exact=True)["verdict"]) == {"suggested"}


def test_before_any_configuration_has_ended_there_are_no_verdicts_and_the_same_columns(tmp_path, sweep, opened):
    space = load_space(sweep.store / "small.yaml")
    begin_sweep(tmp_path, space).append(baseline_of(space))
    unfinished = open_sweep("small", tmp_path)
    assert unfinished.compare().empty
    with pytest.raises(UserError, match="has nothing to compare yet"):
        unfinished.figure("gains")
    assert list(unfinished.compare()) == list(opened.compare())


@pytest.mark.parametrize("name", ["", ".", "..", "../sweeps/small", "small/", 3])
def test_what_names_no_sweep_is_not_looked_up_as_a_folder(sweep, name):
    with pytest.raises(UserError, match=rf"no sweep '{re.escape(str(name))}'.*known: small"):
        open_sweep(name, sweep.store)


def test_terms_of_another_kind_are_refused_for_an_import_too(tmp_path):
    (tmp_path / "runs.csv").write_text("config,seed,val_loss\na,1,1.0\na,2,1.1\nb,1,1.2\nb,2,1.3\n")
    write_import(tmp_path, "mine", [tmp_path / "runs.csv"], read_files([tmp_path / "runs.csv"], ImportTerms()))
    imported = open_sweep("mine", tmp_path)
    for terms, said in (({"unit": "bits"}, "unit = 'bits' is unknown"), ({"margin": "1"}, "margin = '1' must be a")):
        with pytest.raises(UserError, match=said):
            imported.compare(**terms)


def test_the_folder_of_a_sweep_in_place_of_its_name_is_told_the_name(sweep):
    with pytest.raises(UserError, match="did you mean 'small'"):
        open_sweep("runs/sweeps/small/", sweep.store)
