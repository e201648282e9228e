import subprocess
import sys
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.spec.recipe import Averaging, Budget, Muon, Schedule
from trainer.spec.schedule import multiplier, muon_momentum, takes_snapshot, warmdown_is_due

ITERATIONS = Schedule(form="iterations", warmdown_steps=100)
FRACTION = Schedule(form="fraction", warmdown_fraction=0.5)
EVERY_50 = Averaging(swa_every=50, swa_below=0.5, swa_min_step=100)
STEPS, CLOCK, BOTH = Budget(train_steps=1000), Budget(train_s=600.0), Budget(train_steps=1000, train_s=600.0)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (900, 1.0), (901, 0.99), (950, 0.5), (999, 0.01), (1000, 0)])
def test_warmdown_over_the_last_steps(step, expected):
    assert multiplier(ITERATIONS, STEPS, step, elapsed_s=0.0, step_s=None) == pytest.approx(expected)


# 100 steps of 1.5 s make a warm-down of 150 s, which starts at 450 s.
@pytest.mark.parametrize(("elapsed_s", "expected"), [(0, 1), (449, 1), (525, 0.5), (585, 0.1), (600, 0), (601, 0)])
def test_warmdown_over_the_time_the_last_steps_take(elapsed_s, expected):
    assert multiplier(ITERATIONS, CLOCK, 10, elapsed_s, step_s=1.5) == pytest.approx(expected)


@pytest.mark.parametrize(("used", "expected"), [(0.0, 1), (0.5, 1), (0.75, 0.5), (0.95, 0.1), (1.0, 0), (1.1, 0)])
def test_warmdown_over_the_last_fraction_of_either_budget(used, expected):
    by_steps = multiplier(FRACTION, STEPS, round(1000 * used), elapsed_s=0.0, step_s=None)
    by_clock = multiplier(FRACTION, CLOCK, 0, elapsed_s=600 * used, step_s=None)
    assert by_steps == by_clock == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [ITERATIONS, FRACTION])
@pytest.mark.parametrize(("step", "elapsed_s"), [(980, 100.0), (100, 590.0), (980, 590.0)])
def test_under_two_budgets_the_nearer_end_decides(schedule, step, elapsed_s):
    alone = [multiplier(schedule, budget, step, elapsed_s, step_s=0.6) for budget in (STEPS, CLOCK)]
    assert multiplier(schedule, BOTH, step, elapsed_s, step_s=0.6) == min(alone) < 1


@pytest.mark.parametrize("schedule", [ITERATIONS, FRACTION])
def test_nothing_is_lowered_before_steps_were_measured(schedule):
    assert multiplier(schedule, CLOCK, 0, elapsed_s=0.0, step_s=None) == 1.0


@pytest.mark.parametrize("slow_step", [0, 1, 500])
def test_a_pause_of_30_s_leaves_the_multiplier_at_one(slow_step):
    step_times_s: list[float] = []
    for step in range(2000):  # of 0.1 s; the warm-down takes 300 s of 600
        step_s = median(step_times_s[-21:]) if step >= 3 else None
        value = multiplier(Schedule(warmdown_steps=3000), CLOCK, step, sum(step_times_s), step_s)
        assert value == 1.0, f"step {step}"
        step_times_s.append(30.0 if step == slow_step else 0.1)


def test_the_floor_holds_to_the_end():
    floored = FRACTION.model_copy(update={"min_multiplier": 0.1})
    assert multiplier(floored, STEPS, 1000, elapsed_s=0.0, step_s=None) == 0.1
    assert multiplier(floored, STEPS, 0, elapsed_s=0.0, step_s=None) == 1.0


@pytest.mark.parametrize(
    "schedule", [Schedule(warmdown_steps=0), FRACTION.model_copy(update={"warmdown_fraction": 0.0})]
)
def test_without_a_warmdown_the_rate_is_constant(schedule):
    assert multiplier(schedule, BOTH, 1000, elapsed_s=600.0, step_s=0.6) == 1.0


@given(
    schedule=st.sampled_from([ITERATIONS, FRACTION]),
    budget=st.sampled_from([STEPS, CLOCK, BOTH]),
    durations_s=st.lists(st.floats(0, 50), max_size=50),
    step_s=st.floats(0.01, 10),
)
def test_the_multiplier_never_rises_while_step_and_clock_advance(schedule, budget, durations_s, step_s):
    elapsed_s, previous = 0.0, 1.0
    for step, duration_s in enumerate(durations_s):
        elapsed_s += duration_s
        value = multiplier(schedule, budget, 20 * step, elapsed_s, step_s)
        assert 0 <= value <= previous
        previous = value


@pytest.mark.parametrize(("elapsed_s", "due"), [(300, False), (449, False), (450, True), (600, True)])
def test_the_warmdown_is_due_when_the_fast_steps_need_all_that_is_left(elapsed_s, due):
    assert warmdown_is_due(ITERATIONS, CLOCK, elapsed_s, fast_step_s=1.5) == due


def test_no_estimate_starts_a_warmdown_in_the_first_tenth():
    assert [warmdown_is_due(ITERATIONS, CLOCK, elapsed_s, 50.0) for elapsed_s in (59.0, 60.0)] == [False, True]
    assert not warmdown_is_due(ITERATIONS, CLOCK, 599.0, fast_step_s=None)


@pytest.mark.parametrize(("schedule", "budget"), [(FRACTION, CLOCK), (ITERATIONS, STEPS)])
def test_a_warmdown_that_needs_no_step_estimate_is_never_due_by_one(schedule, budget):
    assert not warmdown_is_due(schedule, budget, elapsed_s=599.0, fast_step_s=50.0)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.92), (750, 0.955), (1500, 0.99), (9000, 0.99)])
def test_muon_momentum_warms_up_linearly(step, expected):
    muon = Muon(momentum_start=0.92, momentum=0.99, momentum_warmup_steps=1500)
    assert muon_momentum(muon, step) == pytest.approx(expected)


def test_muon_momentum_without_warmup_is_final_at_once():
    assert muon_momentum(Muon(momentum=0.95, momentum_warmup_steps=0), 0) == 0.95


def test_the_schedule_needs_no_torch():
    code = "import sys, trainer.spec.schedule; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    ("step", "multiplier", "taken"),
    [(100, 0.49, True), (150, 0.0, True), (100, 0.5, False), (101, 0.1, False), (50, 0.1, False), (0, 0.0, False)],
)
def test_snapshots_are_spaced_late_and_only_while_the_rate_is_low(step, multiplier, taken):
    assert takes_snapshot(EVERY_50, step, multiplier) is taken


def test_no_snapshots_when_switched_off():
    assert not takes_snapshot(Averaging(use="none", swa_every=0), 1000, 0.1)
