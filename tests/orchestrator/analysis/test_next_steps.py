"""What to run next: each kind of step where it belongs, within the budget, with numbers that can be checked."""

import itertools
import random
import shlex
import shutil
import subprocess
import sys

import pytest
from scipy import stats

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.confirm import confirmation_of, winner_of
from orchestrator.analysis.next_steps import _gain_of_more, next_steps, urgent_step
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.plan.estimate import plan_here
from orchestrator.space.load_space import load_space
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import find_sweep, open_sweep
from orchestrator.sweep.warm_start import precedents_of
from tests.orchestrator.spaces import TTT, leave_runs, record_of, space_of
from tests.trainer.stages.conftest import SMALL
from trainer.spec.errors import StoreError


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


FINITE = TTT.replace("run_cap: 5", "run_cap: 2").replace(
    "{distribution: log_uniform_values, min: 5e-4, max: 2e-2}", "{values: [0.001, 0.004, 0.016]}"
)


def take(store, step) -> None:
    """Does what a step's command says, with made-up runs."""
    words = shlex.split(step.command)
    if step.kind == "confirm":
        sweep = find_sweep(store, step.sweep)
        winner = winner_of(sweep, rows_of(sweep))
        return leave_runs(open_sweep(store, confirmation_of(sweep, winner, len(step.seeds)), purpose="confirm"), near)
    warm_start = [after for word, after in itertools.pairwise(words) if word == "--warm-start"]
    space = load_space(words[2], trials=int(words[words.index("--trials") + 1]), warm_start=warm_start)
    name = words[words.index("--name") + 1]
    return leave_runs(open_sweep(store, space, name, precedents=lambda: precedents_of(store, space)), near)


def test_a_loop_that_does_what_is_said_ends_with_the_space(tmp_path):
    leave_runs(open_sweep(tmp_path, space_of(tmp_path, FINITE)), near)
    taken = []
    while (steps := next_steps(tmp_path)) and len(taken) < 12:
        take(tmp_path, steps[0])
        taken.append((steps[0].kind, steps[0].sweep))
    assert len(taken) == len(set(taken)) < 12
    assert ("search", "ttt-more") in taken


def test_only_the_best_of_sweeps_that_know_each_other_is_confirmed(tmp_path, finished):
    space = space_of(tmp_path, TTT.replace("name: ttt", "name: more") + "warm_start: [ttt]\n")
    leave_runs(open_sweep(tmp_path, space), lambda run: near(run) - 0.02 * (run.recipe.ttt.mode != "off"))
    assert [step.sweep for step in next_steps(tmp_path) if step.kind == "confirm"] == ["more"]


def test_a_sweep_that_was_killed_before_it_asked_anything_is_finished(tmp_path):
    open_sweep(tmp_path, space_of(tmp_path, TTT))
    assert kinds(next_steps(tmp_path)) == ["finish"]


def test_a_damaged_record_hides_no_other_sweep(tmp_path, finished):
    other = open_sweep(tmp_path, space_of(tmp_path, TTT.replace("name: ttt", "name: other").replace("5", "4")))
    leave_runs(other, near)
    next((finished.folder / "runs").iterdir()).write_text("{half")
    reasons = []
    assert {step.sweep for step in next_steps(tmp_path, left_out=reasons.append)} == {"other"}
    assert "sweep 'ttt'" in reasons[0]
    assert "resume the sweep to have it made again" in reasons[0]
    with pytest.raises(StoreError, match="resume the sweep"):
        next_steps(tmp_path, [finished])


def test_the_gain_of_one_more_is_the_known_integral(finished):
    scores = [2.0, 2.1, 2.2, 2.3]
    mean, sd = 2.15, stats.tstd(scores)
    z = (2.0 - mean) / sd
    by_hand = sd * (z * stats.norm.cdf(z) + stats.norm.pdf(z))  # expected improvement of one draw
    assert _gain_of_more(finished, scores, 1) == pytest.approx(by_hand, rel=1e-6)
    assert _gain_of_more(finished, scores, 5) > by_hand
    assert _gain_of_more(finished, scores[:2], 5) is None


def test_steps_are_chosen_as_long_as_they_fit(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.analysis.next_steps._cost_of_plan", lambda *_: {"seconds": 100.0, "gpu_hours": 0.2}
    )
    assert [step.chosen for step in next_steps(tmp_path)] == [True, True]
    assert [step.chosen for step in next_steps(tmp_path, budget_s=150)] == [True, False]
    assert [step.chosen for step in next_steps(tmp_path, gpu_hours=0.1)] == [False, False]


def test_a_cost_that_nobody_knows_is_never_within_a_budget(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.analysis.next_steps._cost_of_plan", lambda *_: {"seconds": None, "gpu_hours": None}
    )
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


def test_the_next_command_costs_no_search_where_a_confirmation_comes_first(tmp_path, finished):
    code = (
        "import sys; from pathlib import Path; from orchestrator.analysis.answer import answer_lines; "
        "from orchestrator.analysis.sweep_table import rows_of; from orchestrator.sweep.sweep import find_sweep; "
        "from orchestrator.analysis.next_steps import next_steps; loaded = lambda *names: {*names} & set(sys.modules); "
        f"store = Path({str(tmp_path)!r}); sweep = find_sweep(store, 'ttt'); "
        "print(*answer_lines(sweep, rows_of(sweep)), loaded('optuna', 'scipy.stats', 'scipy.integrate'), sep='\\n'); "
        "next_steps(store); print(loaded('torch', 'ray'))"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert any(line.startswith("next:    orchestrator confirm ttt") for line in lines)
    assert lines[-2:] == ["set()", "set()"]


def test_fresh_seeds_cost_what_their_plan_says_without_reading_the_text(text_store, tmp_path, monkeypatch):
    finished = open_sweep(tmp_path, space_of(tmp_path, f"{TTT}set: {{data.val_bytes: {SMALL['data.val_bytes']}}}\n"))
    leave_runs(finished, near)
    shutil.copytree(text_store / "stages", tmp_path / "stages")
    winner = winner_of(finished, rows_of(finished))
    (confirm,) = (step for step in next_steps(tmp_path, [finished]) if step.kind == "confirm")
    planned = plan_here(confirmation_of(finished, winner, len(confirm.seeds)), 1, None, tmp_path, costs_only=True)
    assert [stage.cached for stage in planned.stages[:3]] == [1, 1, 0], "the prepared text is found by its identity"
    assert confirm.seconds == planned.seconds
    monkeypatch.setattr("orchestrator.plan.estimate.text_digests", lambda data: pytest.fail("the text was read"))
    frame = rows_of(finished)
    state = frame, verdicts_of(finished, frame), table_of(finished, frame)
    assert urgent_step(finished, *state, may_search=False) == confirm
