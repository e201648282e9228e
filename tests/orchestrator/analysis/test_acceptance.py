"""'Would this be accepted?' as people ask it."""

import json

import pytest

from orchestrator.analysis.acceptance import print_acceptance, print_records
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, leave_runs, space_of
from trainer.spec.errors import UserError


@pytest.fixture
def sweep(tmp_path):
    made = open_sweep(tmp_path, space_of(tmp_path, TTT, seeds=[1, 2, 3], trials=2))
    leave_runs(made, lambda run: (2.0 if run.configuration.is_baseline else 1.9) + 1e-3 * run.seed)
    return made


def answers(capsys) -> list[dict]:
    return json.loads(capsys.readouterr().out)


def test_every_configuration_is_held_against_the_baseline_by_the_named_rule(sweep, capsys):
    print_acceptance(sweep, sweep.store, "pg-written", None, "json")
    rows = answers(capsys)
    assert [answer["answer"] for answer in rows] == ["accepted", "accepted"]
    assert {answer["incumbent"] for answer in rows} == {sweep.asked()[0].id}
    assert rows[0]["p"] < 0.01


def test_a_record_on_another_text_says_little_and_that_is_said(sweep, capsys):
    print_acceptance(sweep, sweep.store, "pg-frontier-p25", "record:549", "json")
    assert all("another text" in answer["sentence"] for answer in answers(capsys))


def test_seeds_the_ledger_objects_to_are_not_judged(sweep, capsys):
    picked = open_sweep(sweep.store, space_of(sweep.store, TTT, seeds=[1, 3], trials=2), name="cherries")
    leave_runs(picked, lambda run: 1.0 + 1e-3 * run.seed)
    print_acceptance(picked, sweep.store, "pg-written", None, "json")
    assert {(answer["answer"], answer["p"]) for answer in answers(capsys)} == {("cannot say", None)}


def test_a_record_is_held_against_the_best_merged_before_it(capsys):
    print_records("PR 150 second 10L entry", "pg-written", "json")
    (row,) = answers(capsys)
    assert (row["incumbent"], row["answer"]) == ("2026-03-19_MLP3x_QAT_Int6_SlidingWindow", "not accepted")


def test_all_records_are_a_table_with_a_line_each_and_their_count(capsys):
    print_records(None, "pg-written", "json")
    rows = answers(capsys)
    print_records(None, "pg-written", "text")
    *lines, summary = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    names = " ".join(lines)
    assert all(answer["candidate"].split()[0] in names for answer in rows if len(answer["candidate"]) < 28)
    accepted = sum(answer["answer"] == "accepted" for answer in rows)
    assert sum(line.rstrip().endswith("  accepted") for line in lines) == accepted
    assert f"{accepted} accepted" in " ".join(lines) + summary


def test_an_unknown_policy_offers_the_nearest(sweep):
    with pytest.raises(UserError, match="did you mean 'mng-track"):
        print_acceptance(sweep, sweep.store, "mng-trak1", None, "text")
