"""What to run next: each kind of step where it belongs, within the budget, with numbers that can be checked."""

import random
import subprocess
import sys

import pytest
from questions import TTT, leave_runs, record_of, space_of
from scipy import stats

from orchestrator.confirm import confirmation_of
from orchestrator.journal import find_sweep, open_sweep
from orchestrator.next_steps import _gain_of_more, next_steps
from orchestrator.run_queue import queue_of


def near(run) -> float:
    """Some configurations a little better than the baseline, none beyond doubt."""
    better = 0.006 + 0.1 * run.recipe.ttt.lr if run.recipe.ttt.mode != "off" else 0.0
    return 2.0 - better + random.Random(run.run_id).gauss(0, 1e-3)


@pytest.fixture
def finished(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    leave_runs(sweep, near)
    return sweep


def kinds(steps) -> list[str]:
    return [step.kind for step in steps]


def test_an_unfinished_sweep_is_finished_first(tmp_path, finished):
    other = open_sweep(tmp_path, space_of(tmp_path, TTT.replace("name: ttt", "name: open").replace("[1, 2]", "[1, 3]")))
    assert isinstance(queue_of(other).next_run().seed, int)
    steps = next_steps(tmp_path)
    assert (kinds(steps)[0], steps[0].sweep, steps[0].runs) == ("finish", "open", 12)
    assert steps[0].command == f"orchestrator resume open --store {tmp_path}"
    assert sorted(kinds(steps)[1:]) == ["confirm", "search"]


def test_a_winner_that_is_not_shown_is_confirmed_once(tmp_path, finished):
    step = next(step for step in next_steps(tmp_path) if step.kind == "confirm")
    assert 0 < step.chance <= 1
    assert step.value_bpb < 0.02
    assert step.runs == 2 * len(step.seeds)
    assert not set(step.seeds) & {1, 2}
    winner = next(item for item in finished.asked() if dict(item.values) == step.configurations[0])
    confirmation = open_sweep(tmp_path, confirmation_of(finished, winner, len(step.seeds)), purpose="confirm")
    leave_runs(confirmation, near)
    assert kinds(next_steps(tmp_path, [find_sweep(tmp_path, "ttt")])) == ["search"]


@pytest.mark.parametrize("part", [-1.0, 0.1], ids=["worse", "within the margin"])
def test_a_winner_without_a_gain_beyond_the_margin_is_not_confirmed(tmp_path, part):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    leave_runs(sweep, lambda run: 2.0 + part * (near(run) - 2.0))
    assert "confirm" not in kinds(next_steps(tmp_path))


def test_more_configurations_are_those_the_search_would_ask(tmp_path, finished):
    step = next(step for step in next_steps(tmp_path) if step.kind == "search")
    assert "--trials 5 --warm-start ttt --name ttt-more" in step.command
    assert set(step.configurations[0]) == {"ttt.mode", "ttt.lr", "ttt.epochs"}
    assert step.value_bpb > 0


def test_a_grid_that_was_cut_goes_on_and_an_exhausted_one_ends(tmp_path):
    text = TTT.replace("method: tpe", "method: grid").replace("run_cap: 5", "run_cap: 2")
    text = text.replace("{distribution: log_uniform_values, min: 5e-4, max: 2e-2}", "{value: 0.004}")
    sweep = open_sweep(tmp_path, space_of(tmp_path, text))
    leave_runs(sweep, near)
    step = next(step for step in next_steps(tmp_path) if step.kind == "search")
    assert [values["ttt.epochs"] for values in step.configurations] == [3]
    assert "--trials 3" in step.command
    leave_runs(whole := open_sweep(tmp_path, space_of(tmp_path, text, trials=3)), near)
    assert "search" not in kinds(next_steps(tmp_path, [whole]))


def test_the_gain_of_one_more_is_the_known_integral(finished):
    scores = [2.0, 2.1, 2.2, 2.3]
    mean, sd = 2.15, stats.tstd(scores)
    z = (2.0 - mean) / sd
    by_hand = sd * (z * stats.norm.cdf(z) + stats.norm.pdf(z))  # expected improvement of one draw
    assert _gain_of_more(finished, scores, 1) == pytest.approx(by_hand, rel=1e-6)
    assert _gain_of_more(finished, scores, 5) > by_hand
    assert _gain_of_more(finished, scores[:2], 5) is None


def test_steps_are_chosen_as_long_as_they_fit(tmp_path, finished, monkeypatch):
    monkeypatch.setattr("orchestrator.next_steps._cost", lambda *_: {"seconds": 100.0, "gpu_hours": 0.2})
    assert [step.chosen for step in next_steps(tmp_path)] == [True, True]
    assert [step.chosen for step in next_steps(tmp_path, budget_s=150)] == [True, False]
    assert [step.chosen for step in next_steps(tmp_path, gpu_hours=0.1)] == [False, False]


def test_a_cost_that_nobody_knows_is_never_within_a_budget(tmp_path, finished, monkeypatch):
    monkeypatch.setattr("orchestrator.next_steps._cost", lambda *_: {"seconds": None, "gpu_hours": None})
    assert not any(step.chosen for step in next_steps(tmp_path, budget_s=1e9))


def test_a_sweep_all_of_whose_runs_failed_suggests_nothing_more(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    queue = queue_of(sweep)
    while hasattr(run := queue.next_run(), "seed"):
        sweep.record_path("x").parent.mkdir(exist_ok=True)
        record = record_of(run, "failed")
        sweep.record_path(run.run_id).write_text(record.model_dump_json())
        queue.finished(run.run_id, record)
    assert kinds(next_steps(tmp_path)) == []


def test_next_starts_neither_torch_nor_ray(tmp_path, finished):
    code = (
        "import sys; from pathlib import Path; from orchestrator.next_steps import next_steps; "
        f"next_steps(Path({str(tmp_path)!r})); print({{'torch', 'ray'}} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
