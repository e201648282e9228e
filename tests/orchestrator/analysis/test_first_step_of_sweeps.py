"""`first-step` on our own sweeps: each number of training steps is a point of the curve."""

import json

from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.analysis.test_attempts_share_alpha import noise
from tests.orchestrator.spaces import leave_runs, space_of

STEPS = """
name: lengths
preset: tiny
seeds: [1, 2, 3]
parameters:
  budget.train_steps: {values: [30, 40, 50]}
  model.rope_base: {values: [1000.0, 50000.0]}
"""


def asked(store, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["first-step", "lengths", *words, "--store", str(store)])
    return result.exit_code, result.output if result.exception is None else str(result.exception)


def swept(store, text=STEPS, score=lambda run: 2.0 + noise(run) - run.recipe.budget.train_steps / 100):
    sweep = open_sweep(store, space_of(store, text))
    leave_runs(sweep, score)
    return sweep


def test_each_number_of_steps_is_a_point_and_everything_else_names_the_curve(tmp_path):
    swept(tmp_path)
    status, out = asked(tmp_path, "--below", "2.45", "--format", "json")  # val_loss is 1.5 val_bpb: 2.55, 2.4, 2.25
    told = {one["config"]: one for one in json.loads(out)}
    assert status == 0
    assert set(told) == {"model.rope_base=1000", "model.rope_base=50000"}
    assert {one["first_step"] for one in told.values()} == {40}
    assert [point["n"] for point in told["model.rope_base=1000"]["points"]] == [3, 3, 3]


def test_the_answer_says_that_its_threshold_was_not_declared(tmp_path):
    swept(tmp_path)
    assert "Exploratory: no threshold was declared before the runs." in asked(tmp_path, "--below", "2.45")[1]


def test_a_sweep_with_one_number_of_steps_is_told_how_to_get_a_curve(tmp_path):
    swept(tmp_path, STEPS.replace("{values: [30, 40, 50]}", "{value: 30}"), lambda run: 2.0 + noise(run))
    status, message = asked(tmp_path, "--below", "2.45")
    assert status != 0
    assert "one validation loss per run, measured after training" in message
    assert "budget.train_steps: {values: [2740, 2745, 2750]}" in message


def test_a_seed_without_a_score_is_named_and_not_left_out(tmp_path):
    sweep = swept(tmp_path)
    last = [item for item in sweep.asked() if item.values.get("budget.train_steps") == 40][-1]
    sweep.record_path(last.run_id(2)).unlink()
    sweep.ledger.path.unlink()  # it says that the run ended
    sweep.ledger.path.with_suffix(".head").unlink()
    assert "budget.train_steps = 40 has no score for seed 2" in asked(tmp_path, "--below", "2.45")[1]
