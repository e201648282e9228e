"""What follows from the configurations and records of a sweep, whether it is on disk or runs."""

import pytest

from orchestrator.search.run_queue import FINISHED, Run
from orchestrator.search.state import SweepState
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.search.test_pruner import RUNGS, faithful
from tests.orchestrator.search.test_race_state import RACE, score
from tests.orchestrator.spaces import TTT, leave_runs, record_of, space_of

PLAIN = TTT.replace("method: tpe", "method: random")


def plain(run: Run) -> float:
    return 2.0 + run.recipe.ttt.lr


SPACES = pytest.mark.parametrize(
    ("text", "scores"), [(PLAIN, plain), (RACE, score), (RUNGS, faithful)], ids=["plain", "race", "rungs"]
)


@SPACES
def test_a_queue_answers_as_its_configurations_and_records_alone_would(tmp_path, text, scores):
    sweep = open_sweep(tmp_path, space_of(tmp_path, text))
    queue, count = queue_of(sweep), 0
    while (run := queue.next_run()) is not FINISHED:
        queue.finished(run.run_id, record_of(run, val_bpb=scores(run)))
        count += 1
        state = SweepState(sweep.space, sweep.asked(), queue.records)
        for item in queue.configurations if count % 5 == 0 else ():
            assert queue.state.outcome(item) == state.outcome(item)
            assert list(queue.state.runs_of(item)) == list(state.runs_of(item))
    assert (state.total_runs, state.missing_runs) == (queue.total_runs, 0) == (count, 0)


@SPACES
def test_a_sweep_that_is_finished_on_disk_misses_nothing(tmp_path, text, scores):
    sweep = open_sweep(tmp_path, space_of(tmp_path, text))
    leave_runs(sweep, scores)
    state = sweep.state()
    assert state.missing_runs == 0
    assert all(state.is_settled(item) for item in state.configurations)


@pytest.mark.parametrize(("text", "scores"), [(RACE, score), (RUNGS, faithful)], ids=["race", "rungs"])
def test_a_run_that_was_asked_for_before_others_were_repeated_counts_as_one_of_the_sweep(tmp_path, text, scores):
    """As after `resume --retry-failed`: what a configuration ran because a rival had failed keeps its record."""
    sweep = open_sweep(tmp_path, space_of(tmp_path, text))
    leave_runs(sweep, scores)
    before = sweep.state().total_runs
    dropped = [item for item in sweep.asked() if len(list(sweep.state().runs_of(item))) < len(sweep.space.seeds)]
    dropped += [item for item in sweep.asked() if sweep.state().pruning and item.id in sweep.state().pruning.pruned]
    seed = sweep.space.seeds[-1]
    run = Run(dropped[0].run_id(seed), dropped[0], seed, sweep.space.recipe(dropped[0].values, seed))
    sweep.record_path(run.run_id).write_text(record_of(run, val_bpb=9.0).model_dump_json())
    state, queue = sweep.state(), queue_of(sweep)
    assert (state.total_runs, state.missing_runs) == (before + 1, 0)
    assert queue.total_runs == len(queue.records) == before + 1
    assert queue.next_run() is FINISHED


def test_the_number_of_runs_is_known_without_reading_a_record(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, PLAIN))
    leave_runs(sweep, plain)
    next((sweep.folder / "runs").glob("*.json")).write_text("damaged")
    assert sweep.state().total_runs == 12


def test_before_anything_is_asked_all_seeds_are_wanted_and_the_largest_number_of_runs_is_given(tmp_path):
    for text, most in ((PLAIN, 12), (RACE, 32), (RUNGS, 122)):
        state = SweepState(space_of(tmp_path, text), (), {})
        assert (state.race, state.pruning, state.total_runs, state.missing_runs) == (None, None, most, most)


def test_a_mean_of_a_record_that_was_taken_back_prunes_nothing(tmp_path):
    """As when the run's machine is quarantined: the run is repeated, and only what it scores then may prune."""
    queue = queue_of(open_sweep(tmp_path, space_of(tmp_path, RUNGS)))
    while (run := queue.next_run()) is not FINISHED:
        queue.finished(run.run_id, record_of(run, val_bpb=faithful(run)))
        if run.configuration.index == 12 and run.configuration.rung == 0.25:
            drifted = run
    asked = queue.configurations[12].id
    before = queue.state.pruning.progress[asked].means[0.25]
    queue.forget(drifted.run_id)
    assert 0.25 not in queue.state.pruning.progress[asked].means
    queue.finished(drifted.run_id, record_of(drifted, val_bpb=9.0))
    assert queue.state.pruning.progress[asked].means[0.25] > before
