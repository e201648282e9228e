"""Planned against actual, from outcomes worked out by hand."""

import math

import pandas as pd
import pytest

from results.report.cost_chapters import plan
from results.report.page import Page, page_html
from results.rows.costs import in_words, stage_facts, total_facts
from tests.results.made_up import sweep_results

TOTAL = {
    "stage": "total", "total_runs": 15, "missing": 15, "cached": 2, "exact": False, "seconds": 60.0, "wall_s": 70.0,
    "gpu_hours": 0.5, "usd": 1.0, "usd_per_gpu_hour": 2.0,
}  # fmt: skip
PLANNED = [{"stage": "train", "missing": 3, "exact": True, "seconds": 30.0, "seconds_each": 10.0}, TOTAL]


def test_sharing_is_counted_by_stage():
    facts = stage_facts(sweep_results(4).outcomes, None).set_index("stage")
    train, adapt = facts.loc["train"], facts.loc["adapt"]
    assert (train["runs"], train["distinct"], train["computed"]) == (15, 3, 3)
    assert (train["reused"], adapt["reused"]) == (0, 0)
    assert (train["spent_s"], train["unshared_s"]) == (27.0, 135.0)
    assert (adapt["runs"], adapt["computed"]) == (12, 12)


def test_the_plan_stands_beside_what_was_computed():
    facts = stage_facts(sweep_results(4).outcomes, PLANNED).set_index("stage")
    assert (facts.loc["train", "planned"], facts.loc["train", "planned_s"]) == (3, 30.0)
    assert math.isnan(facts.loc["adapt", "planned"])


def test_gpu_hours_and_dollars_are_those_of_the_computed_stages():
    facts = total_facts(sweep_results(4).outcomes, PLANNED, wall_s=80.0)
    computed_s = 3 * 9.0 + 12 * 2.0
    assert facts.loc["gpu_hours", "actual"] == pytest.approx(computed_s * 8 / 3600)
    assert facts.loc["usd", "actual"] == pytest.approx(2.0 * computed_s * 8 / 3600)
    assert facts.loc["wall_s"].tolist() == [70.0, 80.0]
    assert facts.loc["runs"].tolist() == [15, 15]


def test_a_stage_that_lay_in_the_store_is_found_not_computed():
    outcomes = sweep_results(4).outcomes
    elsewhere = outcomes.assign(computed=outcomes["computed"] & (outcomes["stage"] != "train"))
    facts = total_facts(elsewhere, PLANNED, None)
    assert facts.loc["stages found", "actual"] == 3
    assert facts.loc["stages computed", "actual"] == 12


def test_a_line_says_what_was_planned_what_came_and_what_is_only_a_bound():
    cells = {what: (planned, actual) for what, planned, actual in in_words(sweep_results(4).outcomes, PLANNED, None)}
    assert cells["train"] == ("3 x 10 s", "3 x 9.0 s")
    assert cells["adapt"] == ("?", "12 x 2.0 s")
    assert cells["computing"] == ("\u2264 1 min 00 s", "51 s")
    assert cells["from start to end"] == ("1 min 10 s", "?")
    assert in_words(sweep_results(4).outcomes, None, None) == []


def test_the_report_says_planned_against_actual_of_the_whole_sweep():
    html = page_html(Page("", "", "", [plan(sweep_results(4, planned=PLANNED, wall_s=80.0))], ""))
    assert "from start to end" in html
    assert "1 min 20 s" in html
    nothing = sweep_results(4, outcomes=pd.DataFrame(columns=sweep_results(4).outcomes.columns))
    assert "No run of ours" in page_html(Page("", "", "", [plan(nothing)], ""))
