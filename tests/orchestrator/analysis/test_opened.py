"""A sweep in two lines of Python, and the examples of docs/examples."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from results import open_sweep
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
