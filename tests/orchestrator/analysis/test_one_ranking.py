"""Console, report, live screen and `compare` rank alike: by the metric of the search space, within its limits."""

import html
import json
import re

import pytest
from typer.testing import CliRunner

from orchestrator.analysis.answer import answer_lines
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.commands.app import app
from orchestrator.status.progress import Overview
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, leave_runs, space_of


def val_bpb(run):
    """Every configuration beats the baseline; the first asked is the worst of them, the last the best."""
    number = run.configuration.index
    return (3.0 if run.configuration.is_baseline else 2.0 - 0.1 * number) + 1e-3 * run.seed


def eval_s(run):
    """The better the score, the shorter the scoring; the baseline's is the shortest."""
    return 1.0 if run.configuration.is_baseline else 10.0 - run.configuration.index


def swept(folder, more):
    sweep = open_sweep(folder, space_of(folder, TTT + more))
    leave_runs(sweep, val_bpb, eval_s)
    return sweep


@pytest.fixture
def too_slow(tmp_path):
    """No configuration scores within the limit."""
    return swept(tmp_path, "constraints: {eval_s: {max: 2}}\n")


@pytest.fixture
def longest(tmp_path):
    """The best configuration is the one that scores longest: the first asked."""
    return swept(tmp_path, "metric: {name: eval_s, goal: maximize}\n")


def said(sweep, *words):
    done = CliRunner().invoke(app, [*words, "--store", str(sweep.store)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def report_of(sweep):
    """The words of the report, without its figures."""
    page = sweep.folder / "page.html"
    said(sweep, "report", sweep.name, "--out", str(page))
    text = re.sub(r"<style.*?</style>|<svg.*?</svg>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


def test_where_every_configuration_breaks_a_limit_the_summary_says_which(too_slow):
    frame = rows_of(too_slow)
    lines = "\n".join(answer_lines(too_slow, frame))
    assert "5 configurations beside the baseline are complete and none may be ranked" in lines
    assert "5 break the limit eval_s <= 2 (constraints)" in lines


def test_where_every_configuration_breaks_a_limit_the_report_has_no_winner(too_slow):
    page = report_of(too_slow)
    assert "5 break the limit eval_s <= 2 (constraints)" in page
    assert "Best configuration" not in page


def test_compare_never_calls_an_infeasible_configuration_better(too_slow):
    printed = said(too_slow, "compare", too_slow.name, "--explain")
    assert printed.count("infeasible: ttt.") == 5
    assert "BETTER" not in printed
    assert "eval_s 5 exceeds the limit 2 (constraints)" in printed
    rows = json.loads(said(too_slow, "compare", too_slow.name, "--format", "json"))
    assert {row["headline"] for row in rows} == {"infeasible"}
    assert {row["conclusion"] for row in rows} == {"better"}


def test_on_the_live_screen_an_infeasible_configuration_is_never_best(too_slow):
    best = Overview(too_slow, queue_of(too_slow)).picture(()).best
    assert best.startswith("val_bpb 3.0015 bits per byte (sd 0.0007, n = 2)  baseline")
    assert best.endswith("(5 infeasible left out)")


def test_while_nothing_is_feasible_the_live_screen_says_why(tmp_path):
    sweep = swept(tmp_path, "constraints: {eval_s: {max: 0.5}}\n")
    best = Overview(sweep, queue_of(sweep)).picture(()).best
    assert best == "none of 6 is feasible; the newest: eval_s 5 exceeds the limit 0.5 (constraints)"


def test_the_report_ranks_by_the_metric_as_the_table_does(longest):
    rows = json.loads(said(longest, "table", longest.name, "--format", "json"))
    winner = longest.asked()[1].id
    assert next(row["config"] for row in rows if not row["is_baseline"]) == winner
    page = report_of(longest)
    assert re.search(r"Best configuration by eval_s \(s\): ttt[^(]*\((\w+)\)", page)[1] == winner
    assert "mean eval_s (s)" in page


def test_the_live_screen_ranks_by_the_metric_and_names_it_with_its_unit(longest):
    picture = Overview(longest, queue_of(longest)).picture(())
    assert picture.best.startswith("eval_s 9 s (all the same, n = 2)")
    assert picture.baseline.startswith("eval_s 1 s (")


def test_compare_lists_configurations_in_the_order_of_the_ranking(longest):
    rows = json.loads(said(longest, "compare", longest.name, "--format", "json"))
    assert [row["config"] for row in rows] == [item.id for item in longest.asked()[1:]]


def test_the_live_screen_reads_a_record_again_only_when_it_is_another(longest):
    queue = queue_of(longest)
    overview = Overview(longest, queue)
    first, second = (overview._arm(queue.state, item) for item in queue.configurations[:2])
    run_id = first.configuration.run_id(2)
    record = queue.records[run_id]
    queue.forget(run_id)
    assert overview._arm(queue.state, first.configuration).scores == first.scores[:1]
    assert overview._arm(queue.state, second.configuration) is second
    queue.finished(run_id, record)
    assert overview._arm(queue.state, first.configuration).scores == first.scores
