"""Short schedules first: pruned by means over seeds, only when short runs are shown to rank like full ones."""

import json
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.end_facts import end_facts
from orchestrator.analysis.load_results import load_results
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.plan.estimate import make_plan
from orchestrator.search.pruner import rung_lines
from orchestrator.search.run_queue import FINISHED, WAIT, RunQueue
from orchestrator.search.searcher import Searcher
from orchestrator.space.configuration import identify, short_of
from orchestrator.space.load_space import SpaceError
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import find_sweep, open_sweep
from results.rows.costs import total_facts
from results.rows.read import read_outcomes
from tests.orchestrator.spaces import TEXTS, Memory, drained, leave_runs, record_of, space_of
from trainer.store.local import StageStore

RUNGS = """
name: rungs
preset: tiny
method: random
run_cap: 20
seeds: [1, 2]
parameters: {optimizer.muon.lr: {distribution: log_uniform_values, min: 1e-3, max: 1e-1}}
stopping: {rule: asha, rungs: [0.25, 0.5], eta: 3, calibrate: 8}
"""


RACE = """
name: race
preset: tiny
seeds: [1, 2, 3, 4, 5]
parameters: {optimizer.muon.lr: {values: [0.01, 0.05]}}
stopping: {rule: race}
"""


def faithful(run) -> float:
    """Short runs are worse, and rank alike; a single seed may mislead."""
    bowl = math.log(run.recipe.optimizer.muon.lr / 0.02) ** 2
    return 2 + bowl + 30 / run.recipe.budget.train_steps + (1 if run.seed == 1 else -1) * 3 * (run.run_id[0] > "8")


def misleading(run) -> float:
    """Short runs rank the other way round."""
    lr = run.recipe.optimizer.muon.lr
    return 2 + lr if run.recipe.budget.train_steps == 120 else 2 - lr


def test_a_short_schedule_keeps_its_proportions(tmp_path):
    space = space_of(tmp_path, RUNGS)
    short = short_of(space, identify(space, 1, {"optimizer.muon.lr": 0.01}), 0.25)
    recipe = space.recipe(short.values)
    assert (recipe.budget.train_steps, recipe.schedule.warmdown_steps, recipe.averaging.swa_min_step) == (30, 15, 5)
    assert recipe.optimizer.muon.lr == 0.01
    assert short.rung == 0.25


@pytest.mark.parametrize("rule", ["asha, eta: 3", "median"])
def test_trusted_short_runs_prune_the_worse_and_keep_the_best(tmp_path, rule):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS.replace("asha, rungs: [0.25, 0.5], eta: 3", f"{rule}")))
    leave_runs(sweep, faithful)
    pruning, asked = sweep.state().pruning, sweep.asked()[1:]
    best = min(asked[8:], key=lambda item: abs(math.log(item.values["optimizer.muon.lr"] / 0.02)))
    assert pruning.trusted
    assert best.id not in pruning.pruned
    assert 4 <= len(pruning.pruned) <= 12
    assert not set(pruning.pruned) & {item.id for item in asked[:8]}
    assert sweep.state().total_runs == len(sweep.records()) + len(sweep.short_records())
    assert len((again := queue_of(sweep)).records) == again.total_runs  # so `resume` says that nothing is to be run
    facts = end_facts(sweep, "interrupted")
    assert (facts["runs"], facts["runs_recorded"]) == (again.total_runs, again.total_runs)
    assert len(sweep.records()) == (21 - len(pruning.pruned)) * 2


def test_short_runs_that_mislead_prune_none_and_are_left_out_from_then_on(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS))
    leave_runs(sweep, misleading)
    assert sweep.state().pruning.trusted == ()
    assert sweep.state().pruning.pruned == {}
    assert (len(sweep.records()), len(sweep.short_records())) == (21 * 2, 8 * 2 * 2)
    lines = "\n".join(rung_lines(sweep.space, sweep.state().pruning))
    assert "Spearman -1.00" in lines
    assert lines.count("not trusted, no configuration is pruned by it") == 2


def test_too_few_configurations_run_plainly_and_it_is_said(tmp_path):
    space = space_of(tmp_path, RUNGS, trials=8)
    _, done = drained(space, faithful)
    assert len(done) == 9 * 2
    plan = make_plan(space, StageStore(tmp_path), TEXTS, "")
    assert "left out and no configuration is pruned" in plan.notes[0]
    assert plan.total_runs == plan.fewest_runs == 18


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 6), method=st.sampled_from(["random", "tpe"]))
def test_decisions_depend_on_records_alone(tmp_path, seed, slots, method):
    space = space_of(tmp_path, RUNGS.replace("method: random", f"method: {method}"), trials=12)
    calm, in_order = drained(space, faithful)
    hectic, shuffled = drained(space, faithful, slots, random.Random(seed))
    assert set(shuffled) == set(in_order)
    assert hectic.total_runs == calm.total_runs == len(in_order)


def test_a_killed_driver_goes_on_to_the_same_end(tmp_path):
    space = space_of(tmp_path, RUNGS.replace("method: random", "method: tpe"), trials=12)
    _, straight = drained(space, faithful)
    sweep, done = open_sweep(tmp_path, space), []
    while (run := (queue := queue_of(find_sweep(tmp_path, sweep.name))).next_run()) is not FINISHED:
        for _ in range(3):  # a life of three runs
            if run in (WAIT, FINISHED):
                break
            record = record_of(run, val_bpb=faithful(run))
            path = sweep.record_path(run.run_id, short=run.configuration.rung < 1)
            path.parent.mkdir(exist_ok=True)
            path.write_text(record.model_dump_json())
            queue.finished(run.run_id, record)
            done.append(run.run_id)
            run = queue.next_run()
    assert done == straight


@pytest.mark.parametrize("text", [RUNGS, RACE], ids=["rungs", "race"])
def test_a_look_of_the_screen_that_a_run_overtakes_holds_nobody_up(tmp_path, text):
    _, done = drained(space := space_of(tmp_path, text), faithful)
    queue, overtaking = RunQueue(space, Searcher(space, 0), Memory(), {}, 1), []
    while (run := queue.next_run()) is not FINISHED:
        assert run is not WAIT
        overtaking.append(run)
        stale = queue._latest
        queue.finished(run.run_id, record_of(run, val_bpb=faithful(run)))
        queue._latest = stale  # the screen's thread comes in late
    assert [run.run_id for run in overtaking] == done


def test_a_seed_that_fails_short_prunes_its_configuration(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS))
    queue = queue_of(sweep)
    while (run := queue.next_run()) is not FINISHED:
        broken = run.configuration.index == 12 and run.configuration.rung == 0.25 and run.seed == 2
        queue.finished(run.run_id, record_of(run, "failed" if broken else "done", faithful(run)))
    asked = queue.configurations[12].id
    assert queue.state.pruning.pruned[asked] == 0.25


def test_the_table_holds_full_runs_alone_and_its_verdicts_are_exploratory(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS))
    leave_runs(sweep, lambda run: faithful(run) + 1e-3 * random.Random(run.run_id).random())
    frame = rows_of(sweep)
    assert set(frame["steps"].dropna()) <= {120}
    assert len(table_of(sweep, frame)) == 21 - len(sweep.state().pruning.pruned)
    assert any("xploratory" in verdict.sentence for verdict in verdicts_of(sweep, frame))
    assert "Spearman" in load_results(sweep).terms["Stopping"]


def test_the_plan_tells_the_range_of_runs(tmp_path):
    plan = make_plan(space_of(tmp_path, RUNGS), StageStore(tmp_path), TEXTS, "")
    assert plan.total_runs == (1 + 20 * 3) * 2
    assert plan.fewest_runs == (1 + 8 * 3 + 12) * 2
    assert not plan.exact


def test_what_short_runs_cost_stands_against_the_plan(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS))
    leave_runs(sweep, faithful)
    facts = total_facts(read_outcomes(sweep.folder), None, None)
    assert facts.loc["runs", "actual"] == len(sweep.records()) + len(sweep.short_records()) > len(rows_of(sweep))
    assert len(load_results(sweep).outcomes) == len(read_outcomes(sweep.folder))


@pytest.mark.parametrize(
    ("stopping", "complaint"),
    [
        ("{rule: asha, rungs: [0.5, 0.25]}", "must ascend between 0 and 1"),
        ("{rule: asha, rungs: 30}", "must ascend between 0 and 1"),
        ("{rule: median, eta: 3}", "eta = 3 belongs to rule asha"),
        ("{rule: asha, margin: 0.1}", "stopping.margin is unknown.*known: rule, rungs, eta, calibrate, trust"),
        ("{rule: ahsa}", r"stopping.rule = 'ahsa' is unknown; did you mean 'asha'.*space.yaml:\d+"),
        ("median", "stopping = 'median' must be a mapping; for example: {rule: median}"),
        ("{rungs: [0.5]}", "stopping.rule is missing"),
        ("{rule: asha, trust: 2}", "trust = 2 must lie between"),
        ("{rule: asha, calibrate: 2}", "stopping.calibrate = 2"),
    ],
)
def test_wrong_stopping_is_refused(tmp_path, stopping, complaint):
    text = RUNGS[: RUNGS.index("stopping")] + f"stopping: {stopping}\n"
    with pytest.raises(SpaceError, match=complaint):
        space_of(tmp_path, text)


def test_a_search_space_with_rungs_survives_its_journal(tmp_path):
    sweep = open_sweep(tmp_path, space := space_of(tmp_path, RUNGS))
    assert find_sweep(tmp_path, sweep.name).space == space.model_copy(update={"name": sweep.name})
    assert json.loads((sweep.folder / "journal.jsonl").read_text())["space"]["stopping"]["rungs"] == [0.25, 0.5]
    assert open_sweep(tmp_path, space_of(tmp_path, RUNGS)).name == sweep.name
