"""A sweep's folder becomes what reports and notebooks tell, and the command line makes a page of it."""

import sys
from dataclasses import replace

import pytest

from orchestrator.analysis.load_results import load_results, open_results
from orchestrator.cli import main
from orchestrator.sweep.notes import keep_plan, read_plan
from results.figures.seeds import seed_outcome_table
from results.report.findings import in_words_of_people
from results.rows.costs import stage_facts
from results.verdicts.seed_ledger import Ledger
from tests.sweep_on_disk import finished_sweep


@pytest.fixture
def sweep(tmp_path):
    return finished_sweep(tmp_path / "store")


def test_the_results_hold_description_rows_verdict_and_example(sweep):
    results = load_results(sweep)
    best = results.verdict_of(results.best)
    assert results.description == "Is test-time training worth it?"
    assert len(results.frame) == results.total_runs == 6
    assert (best.conclusion, best.test, best.n_candidate) == ("better", "paired t-test", 3)
    assert results.label(results.baseline) == "baseline"
    assert results.example["run_id"] == f"{results.best}-s1"
    assert results.terms["Counts as better"] == "a gain of more than 0.005 nats at alpha = 0.01"


def test_only_a_commit_can_be_checked_out_again(sweep):
    commands = {
        commit: load_results(replace(sweep, commit=commit)).commands[0] for commit in ("abc123+", "code-abc123", "")
    }
    assert commands["abc123+"] == "git checkout abc123"
    assert commands["code-abc123"] == commands[""] == "orchestrator sweep space.yaml"


def test_stages_are_reported_as_the_records_have_them(sweep):
    facts = stage_facts(load_results(sweep).outcomes, None).set_index("stage")
    assert facts.loc["train", ["runs", "distinct", "computed", "spent_s"]].tolist() == [6, 3, 3, 27.0]


def test_every_declared_seed_is_reported_with_its_outcome_in_every_sweep(sweep):
    ledger = Ledger(sweep.store)
    ledger.declare("other", load_results(sweep).best, [9])
    declared = seed_outcome_table(load_results(sweep))
    assert declared["label"].tolist() == ["ttt.lr=0.004", "baseline"]
    assert set(declared["here"]) == {"1 done, 2 done, 3 done"}
    assert declared["elsewhere"].tolist() == ["other: 9 declared", ""]


def test_a_sweep_is_opened_by_name_or_by_folder_and_else_the_records_are(sweep):
    store = sweep.folder.parent.parent
    assert open_results(str(store), "small").name == "small"
    assert open_results(sweep_folder=str(sweep.folder)).best == open_results(str(store), "small").best
    assert open_results().name == "published records"


def test_what_must_be_quoted_is_quoted_in_the_command(tmp_path, sweep):
    changed = sweep.space.model_copy(update={"overrides": {"data.path": "a b", "budget.train_steps": 5}})
    object.__setattr__(sweep, "space", changed)
    assert load_results(sweep).commands[-2] == (
        "orchestrator sweep space.yaml \\\n  --set 'data.path=a b' \\\n  --set budget.train_steps=5"
    )


def test_the_first_plan_is_kept(sweep):
    assert read_plan(sweep.folder) is None
    for rows in ([{"stage": "train", "missing": 3}], [{"stage": "train", "missing": 0}]):
        keep_plan(sweep.folder, rows)
    assert read_plan(sweep.folder) == [{"stage": "train", "missing": 3}]


def test_the_command_writes_a_page_and_says_where(sweep, monkeypatch, capsys, tmp_path):
    page = tmp_path / "out" / "page.html"
    store = str(sweep.folder.parent.parent)
    monkeypatch.setattr(sys, "argv", ["orchestrator", "report", "small", "--store", store, "--out", str(page)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == str(page)
    assert "Is test-time training worth it?" in page.read_text(encoding="utf-8")


def test_an_unknown_sweep_ends_in_a_message_and_status_2(sweep, monkeypatch, capsys):
    store = str(sweep.folder.parent.parent)
    monkeypatch.setattr(sys, "argv", ["orchestrator", "report", "smal", "--store", store])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "did you mean 'small'?" in capsys.readouterr().err


def test_the_command_that_settles_a_verdict_keeps_the_identity_that_the_sentence_leaves_out(sweep):
    results = load_results(sweep)
    said = in_words_of_people(results, results.verdict_of(results.best))
    assert said.startswith("It scores")
    assert f"--config {results.best}" in said
