"""Which run next: whatever the timing, the crash or the rung, the same configurations in the same order."""

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.search.run_queue import FINISHED, WAIT, RunQueue, default_lag
from orchestrator.search.searcher import Searcher
from orchestrator.space.configuration import Configuration, Outcome, outcome_of
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from results.rows.row import row_of
from tests.orchestrator.spaces import TTT, Memory, record_of, space_of

ROPE = """
preset: tiny
seeds: [1, 2]
parameters: {model.rope_base: {values: [1000.0, 10000.0]}}
"""


class RecordingSearcher:
    """A searcher that keeps the outcomes of each call."""

    def __init__(self, space):
        self.searcher, self.outcomes = Searcher(space, 0), []

    def ask(self, earlier, outcomes):
        self.outcomes.append(dict(outcomes))
        return self.searcher.ask(earlier, outcomes)


def queue(space, journal=None, records=None, lag=1, searcher=None):
    return RunQueue(space, searcher or Searcher(space, 0), journal or Memory(), records or {}, lag)


def drained(space, journal, lag=1):
    """One run after another to the end."""
    line, order = queue(space, journal, lag=lag), []
    while (run := line.next_run()) is not FINISHED:
        order.append(run)
        line.finished(run.run_id, record_of(run))
    return order


def test_the_baseline_comes_first_and_every_configuration_runs_on_the_same_seeds(tmp_path):
    runs = drained(space_of(tmp_path, TTT), Memory())
    assert [run.configuration.index for run in runs] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [run.seed for run in runs] == [1, 2] * 6
    assert runs[0].configuration.is_baseline
    assert runs[0].recipe.ttt.mode == "off"
    assert all(run.recipe.seed == run.seed for run in runs)


def test_a_run_that_is_forgotten_comes_again_however_long_it_was_done(tmp_path):
    line = queue(space_of(tmp_path, ROPE))
    first = line.next_run()
    line.finished(first.run_id, record_of(first))
    while (run := line.next_run()) is not FINISHED:
        line.finished(run.run_id, record_of(run))
    line.forget(first.run_id)
    assert line.next_run() == first


def test_a_run_is_named_by_its_configuration_and_seed(tmp_path):
    run = queue(space_of(tmp_path, TTT)).next_run()
    assert run.run_id == f"{run.configuration.id}-s1"


def test_a_configuration_equal_to_the_baseline_is_not_run_twice(tmp_path):
    journal = Memory()
    runs = drained(space_of(tmp_path, ROPE), journal)  # the preset's rope_base is one of the two
    assert len(journal.lines) == 3
    assert len(runs) == len({run.run_id for run in runs}) == 4


def test_seeds_alone_run_the_baseline_alone(tmp_path):
    assert len(drained(space_of(tmp_path, "preset: tiny\nseeds: [1, 2, 3]"), Memory())) == 3


def test_a_grid_waits_for_nobody(tmp_path):
    line = queue(space_of(tmp_path, ROPE))
    assert [line.next_run().seed for _ in range(4)] == [1, 2, 1, 2]
    assert line.next_run() is WAIT


def test_a_look_for_the_next_run_does_not_walk_past_everything_that_is_done(tmp_path):
    looked_at = []

    class Watched(Configuration):
        def run_id(self, seed):
            looked_at.append(seed)
            return super().run_id(seed)

    space, journal = space_of(tmp_path, "preset: tiny\nseeds: [1, 2]"), Memory()
    journal.lines = [Watched(index, f"c{index:04}", {}, index == 0) for index in range(300)]
    assert len(drained(space, journal)) == 600
    assert len(looked_at) < 10 * 600


def test_an_adaptive_search_waits_until_all_but_the_last_configurations_are_complete(tmp_path):
    line = queue(space_of(tmp_path, TTT), lag=1)
    runs = [line.next_run() for _ in range(4)]  # baseline and configuration 1
    assert line.next_run() is WAIT
    line.finished(runs[0].run_id, record_of(runs[0]))
    assert line.next_run() is WAIT
    line.finished(runs[1].run_id, record_of(runs[1]))
    assert line.next_run().configuration.index == 2


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_configuration_k_uses_the_outcomes_of_exactly_those_before_k_minus_lag(tmp_path, lag):
    space = space_of(tmp_path, TTT)
    searcher = RecordingSearcher(space)
    line = queue(space, lag=lag, searcher=searcher)
    while (run := line.next_run()) is not FINISHED:
        line.finished(run.run_id, record_of(run))
    # index 0 is the baseline, of which the search gets no outcome; searched configuration j has index j + 1
    assert [sorted(given) for given in searcher.outcomes[:5]] == [list(range(max(0, k - 1 - lag))) for k in range(1, 6)]


def test_a_failed_seed_fails_its_configuration_and_its_other_seeds_run_all_the_same(tmp_path):
    space = space_of(tmp_path, TTT)
    searcher = RecordingSearcher(space)
    line = queue(space, lag=0, searcher=searcher)
    seeds = []
    while (run := line.next_run()) is not FINISHED:
        failing = run.configuration.index == 1 and run.seed == 1
        seeds += [run.seed] if run.configuration.index == 1 else []
        line.finished(run.run_id, record_of(run, status="failed" if failing else "done"))
    assert seeds == [1, 2]
    assert searcher.outcomes[1] == {0: Outcome(None)}
    assert searcher.outcomes[2][1].score is not None


def test_the_search_gets_the_mean_over_seeds_and_the_worst_violation(tmp_path):
    space = space_of(tmp_path, TTT + "constraints: {model_bytes: {max: 240000}, eval_s: {max: 600}}")
    searcher = RecordingSearcher(space)
    line = queue(space, lag=0, searcher=searcher)
    while (run := line.next_run()) is not FINISHED:
        line.finished(run.run_id, record_of(run, val_bpb=2.0 + 0.5 * run.seed))
    assert searcher.outcomes[1] == {0: Outcome(2.75, {"model_bytes": 10_000.0, "eval_s": 0.0})}


def test_finishing_twice_changes_nothing_and_the_first_record_stands(tmp_path):
    line = queue(space_of(tmp_path, ROPE))
    run = line.next_run()
    line.finished(run.run_id, record_of(run, val_bpb=1.0))
    line.finished(run.run_id, record_of(run, val_bpb=9.0))
    assert line.records[run.run_id].metric("evaluate", "val_bpb") == 1.0


def test_the_number_of_runs_is_known_from_the_start(tmp_path):
    for text, total in ((TTT, 12), (ROPE, 4), ("preset: tiny\nseeds: [1, 2, 3]", 3)):
        line = queue(space_of(tmp_path, text))
        assert line.total_runs == total
        while (run := line.next_run()) is not FINISHED:
            line.finished(run.run_id, record_of(run))
        assert line.total_runs == len(line.records) == total


def test_the_default_lag_keeps_the_asked_for_slots_busy(tmp_path):
    space = space_of(tmp_path, TTT)  # two seeds
    assert [default_lag(space, slots) for slots in (None, 1, 2, 8)] == [1, 1, 2, 5]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), lag=st.integers(0, 3), slots=st.integers(1, 6))
def test_the_asked_configurations_depend_neither_on_timing_nor_on_crashes(tmp_path, seed, lag, slots):
    dice = random.Random(seed)
    space = space_of(tmp_path, TTT)
    calm = Memory()
    drained(space, calm, lag)
    journal, records, in_flight = Memory(), {}, []
    line = queue(space, journal, lag=lag)
    while True:
        while len(in_flight) < slots and (run := line.next_run()) not in (WAIT, FINISHED):
            in_flight.append(run)
        if not in_flight:
            break
        if dice.random() < 0.1:  # the driver dies; what ran is lost, what was recorded is not
            line, in_flight = queue(space, journal, records, lag), []
            continue
        run = in_flight.pop(dice.randrange(len(in_flight)))
        records[run.run_id] = record_of(run)
        line.finished(run.run_id, records[run.run_id])
    assert line.next_run() is FINISHED
    assert journal.lines == calm.lines
    assert len(records) == 12


def test_a_sweep_on_disk_goes_on_where_it_was_left(tmp_path):
    space = space_of(tmp_path, TTT)
    calm = Memory()
    drained(space, calm)
    for _ in range(20):  # every life of the driver ends after one run
        sweep = open_sweep(tmp_path, space)
        run = queue_of(sweep).next_run()
        if run is FINISHED:
            break
        path = sweep.record_path(run.run_id)
        path.parent.mkdir(exist_ok=True)
        path.write_text(record_of(run).model_dump_json())
    assert sweep.asked() == calm.lines
    assert len(sweep.records()) == 12


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_fails_its_configuration(tmp_path, score):
    space = space_of(tmp_path, TTT)
    runs = [row_of(record_of(run, val_bpb=value).model_dump(), "", ()) for run, value in zip(
        [queue(space).next_run()] * 2, (2.0, score), strict=True
    )]  # fmt: skip
    assert outcome_of(space, runs) == Outcome(None)


def test_a_limited_column_that_a_run_does_not_have_breaks_no_limit_of_the_search_or_the_table(tmp_path):
    space = space_of(tmp_path, TTT + "constraints: {peak_memory_bytes: {max: 100}, eval_s: {max: 0.5}}")
    run = queue(space).next_run()
    rows = [row_of(record_of(run).model_dump(), "", ())]
    assert outcome_of(space, rows).violations == {"peak_memory_bytes": 0.0, "eval_s": 0.5}
    assert [breach.column for breach in space.ranking().breaches(rows)] == ["eval_s"]
