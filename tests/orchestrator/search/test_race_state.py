"""A sweep that races: seeds where they decide something, the same decisions whatever the timing."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.analysis.answer import answer_lines
from orchestrator.analysis.end_facts import end_facts
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.cli import main
from orchestrator.search.run_queue import WAIT, RunQueue
from orchestrator.search.searcher import Searcher
from orchestrator.space.load_space import SpaceError
from orchestrator.status.progress import Overview
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import Memory, drained, leave_runs, record_of, space_of

RACE = """
name: race
preset: tiny
seeds: [1, 2, 3, 4, 5, 6, 7, 8]
parameters: {model.rope_base: {values: [1000.0, 2000.0, 50000.0]}}
compare: {margin: 0.01, unit: bpb, alpha: 0.05}
stopping: {rule: race}
"""
MEANS = {10_000.0: 2.0, 1000.0: 1.5, 2000.0: 1.9, 50_000.0: 2.5}


def score(run) -> float:
    return MEANS[rope(run)] + random.Random(f"{rope(run)} {run.seed}").gauss(0, 0.004)


def rope(run) -> float:
    return run.recipe.model.rope_base


def test_the_hopeless_are_eliminated_and_the_winner_is_named(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RACE))
    leave_runs(sweep, score)
    race, values = sweep.state().race, {item.id: item.values.get("model.rope_base") for item in sweep.asked()}
    assert {values[config]: status for config, status in race.statuses.items()} == {
        1000.0: "winner", 2000.0: "eliminated", 50_000.0: "eliminated"
    }  # fmt: skip
    assert len(sweep.records()) == sweep.state().total_runs == sum(race.seeds.values()) < 4 * 8
    assert queue_of(sweep).total_runs == len(sweep.records())  # so `resume` says that nothing is to be run
    facts = end_facts(sweep, "interrupted")
    assert facts["runs"] == facts["runs_recorded"] == len(sweep.records())


def test_everybody_runs_up_to_the_first_look(tmp_path):
    queue = RunQueue(space := space_of(tmp_path, RACE), Searcher(space, 0), Memory(), {}, 1)
    runs = [queue.next_run() for _ in range(12)]
    assert sorted({run.seed for run in runs}) == [1, 2, 3]
    assert len({run.configuration.id for run in runs}) == 4
    assert queue.next_run() is WAIT
    assert queue.total_runs == 32


def test_while_a_round_is_under_way_the_best_is_computed_over_the_seeds_that_all_have(tmp_path):
    close = {**MEANS, 2000.0: 1.501}  # so that nobody wins at the first look
    sweep = open_sweep(tmp_path, space_of(tmp_path, RACE))
    queue = queue_of(sweep)
    best_lines = []
    for _ in range(15):
        run = queue.next_run()
        queue.finished(run.run_id, record_of(run, val_bpb=score(run) - MEANS[rope(run)] + close[rope(run)]))
        best_lines.append(Overview(sweep, queue).picture(()).best)
    assert "not known yet" in best_lines[2]
    assert all("n = 3)" in best and "model.rope_base=1000" in best for best in best_lines[11:])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 6))
def test_decisions_depend_on_completed_rounds_alone(tmp_path, seed, slots):
    space = space_of(tmp_path, RACE)
    calm, in_order = drained(space, score)
    hectic, shuffled = drained(space, score, slots, random.Random(seed))
    assert set(shuffled) == set(in_order)
    assert hectic.total_runs == calm.total_runs == len(in_order)


def test_the_table_ranks_who_ran_enough_and_the_verdict_tells_the_race(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RACE))
    leave_runs(sweep, score)
    frame = rows_of(sweep)
    table = table_of(sweep, frame)
    assert set(table["status"]) == {"done"}
    assert table["n"].min() < 8
    lines = "\n".join(answer_lines(sweep, frame))
    assert "is shown" in lines
    assert "xploratory" not in lines


@pytest.mark.parametrize("said", [("--margin", "0.02"), ("--alpha", "0.2"), ("--margin", "0.01", "--unit", "nats")])
def test_a_race_answers_for_its_own_thresholds_alone(tmp_path, capsys, monkeypatch, said):
    leave_runs(open_sweep(tmp_path, space_of(tmp_path, RACE)), score)
    assert compared(capsys, monkeypatch, tmp_path, *said)[0] == 2
    status, out, error = compared(capsys, monkeypatch, tmp_path, "--margin", "0.01", "--alpha", "0.05", "--explain")
    assert (status, error) == (0, "")
    assert "on 3 against 3 runs" in out
    assert "interval for all looks together" in out
    assert "no other candidate beats it by more than the margin" in out


def test_against_a_record_or_another_configuration_a_race_is_exploratory(tmp_path, capsys, monkeypatch):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RACE))
    leave_runs(sweep, score)
    for baseline in ("record:1413", sweep.asked()[1].id):
        status, out, _ = compared(capsys, monkeypatch, tmp_path, "--baseline", baseline, "--explain")
        assert (status, "Exploratory: its terms were chosen after the results were known" in out) == (0, True)
        assert ("scored on another text" in out) == baseline.startswith("record")


def compared(capsys, monkeypatch, store, *words):
    """Exit status and what `orchestrator compare race` prints and complains."""
    monkeypatch.setattr("sys.argv", ["orchestrator", "compare", "race", *words, "--store", str(store)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("change", [("alpha: 0.05", "alpha: 0.01"), ("unit: bpb", "unit: nats")])
def test_other_thresholds_are_another_race(tmp_path, change):
    first = open_sweep(tmp_path, space_of(tmp_path, RACE))
    second = open_sweep(tmp_path, space_of(tmp_path, RACE.replace(*change)))
    assert (first.name, second.name) == ("race", "race-2")
    assert "differs from that of sweep 'race' in: stopping" in second.note


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("seeds: [1, 2, 3, 4, 5, 6, 7, 8]", "seeds: [1, 2]"), "stopping.first_look = 3 exceeds the 2 declared seeds"),
        (("name: race", "name: race\nmetric: {name: eval_s}"), "a race is judged by val_bpb"),
        (
            ("parameters: {model.rope_base: {values: [1000.0, 2000.0, 50000.0]}}", ""),
            "there is no configuration beside the baseline",
        ),
    ],
)
def test_a_race_that_cannot_be_run_is_refused(tmp_path, change, complaint):
    with pytest.raises(SpaceError, match=complaint):
        space_of(tmp_path, RACE.replace(*change))
