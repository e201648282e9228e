"""Stores that released versions wrote still open, with the table they had.

`tests/data/store_0_1_0` holds the demo sweep as version 0.1.0 wrote it: all records, the ledger, its smallest stages.
"""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.analysis.comparison import terms_of
from orchestrator.commands.app import app
from orchestrator.plan.detectable_effect import evidence_of
from orchestrator.sweep.sweep import find_sweep, open_sweep
from tests.orchestrator.spaces import TTT, space_of
from tests.recorded_text import on_the_recorded_text

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def store(tmp_path) -> Path:
    return Path(shutil.copytree(DATA / "store_0_1_0", tmp_path / "store"))


def run(store: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--store", str(store)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_of_a_0_1_0_sweep_is_what_0_1_0_printed(store):
    assert run(store, "table", "ttt", "--format", "csv") == (DATA / "store_0_1_0.table.csv").read_text()


def test_a_0_1_0_sweep_is_complete_and_its_stages_and_ledger_are_whole(store):
    assert "ttt: complete, 21 of 21 runs" in run(store, "status", "ttt")
    verified = run(store, "cache", "verify")
    assert "all 3 stages and the files of all sweeps are whole" in verified
    assert "no checksum (written by an earlier version)" in verified
    assert "1337 done" in run(store, "compare", "ttt", "--explain")


@on_the_recorded_text
def test_a_0_1_0_sweep_is_continued_and_not_begun_anew(store):
    space = DATA.parents[1] / "search_spaces" / "ttt.yaml"
    assert "nothing to run: all 21 runs are recorded" in run(store, "sweep", str(space))


def test_a_0_1_0_sweep_is_corrected_by_holm_as_0_1_0_did_and_a_new_one_may_be_by_dunnett(store, tmp_path):
    old, new = find_sweep(store, "ttt"), open_sweep(tmp_path / "new", space_of(tmp_path, TTT))
    assert (old.space.compare.variance, old.correction, new.correction) == ("shared", "holm", "dunnett")
    assert terms_of(old.space.compare, old).correction == "holm"
    assert evidence_of(old.space, None, store, old).design.correction == "holm"
