"""A burst of slow steps costs its own seconds: the schedule of a training by the clock stays that of its speed."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from trainer.spec.load import load_preset
from trainer.spec.recipe import Averaging, Recipe
from trainer.spec.schedule import takes_snapshot
from trainer.stages.train import Decision
from trainer.stages.training_clock import TrainingClock

PR549 = load_preset("pr549", {"model.recur_loops": 1, "model.recur_first": 4, "model.recur_last": 5}).recipe
H100_S, FASTER_S = 0.0835, 0.040
BURSTS = [
    *((H100_S, at, count) for at in (0, 25, 1_000, 5_000) for count in (5, 12, 30)),  # 5,000 is inside the warm-down
    *((FASTER_S, 11_000, count) for count in (5, 12, 30)),  # shortly before the warm-down of a faster machine
]


@dataclass
class Course:
    """What a training by the clock decided, step by step."""

    elapsed_s: list[float]
    multipliers: list[float]
    swa_from: int
    """Step of the first SWA snapshot."""
    quantized_from: int
    looped_from: int

    @property
    def triggers(self) -> tuple[int, int, int]:
        return self.swa_from, self.quantized_from, self.looped_from


def duration_s(step: int, step_s: float, burst: range, factor: float) -> float:
    return step_s * (factor if step in burst else (0.99, 1.0, 1.01)[step % 3])


def course(recipe: Recipe, step_s: float, burst: range = range(0), factor: float = 1.0) -> Course:
    """By the trainer's own clock and decisions."""
    clock, now_s, decisions, elapsed_s = TrainingClock(), 50.0, [], []
    clock.start(now_s)
    while not (decision := Decision.of(recipe, len(decisions), clock)).ends:
        elapsed_s.append(clock.elapsed_s)
        now_s += duration_s(len(decisions), step_s, burst, factor)
        decisions.append(decision)
        clock.end_step(now_s)
    averaging, late = Averaging(), recipe.quantization.qat_late_below
    return Course(
        elapsed_s,
        [decision.multiplier for decision in decisions],
        first(takes_snapshot(averaging, n + 1, decision.settled_multiplier) for n, decision in enumerate(decisions)),
        first(decision.settled_multiplier < late for decision in decisions),
        first(decision.looped for decision in decisions),
    )


def ideal(recipe: Recipe, step_s: float, actual: Course) -> Course:
    """The same seconds under a schedule that knows the machine's speed from the start."""
    length_s, loop_s = recipe.schedule.warmdown_steps * step_s, recipe.budget.loop_s
    multipliers = [min(1.0, (loop_s - elapsed_s) / length_s) for elapsed_s in actual.elapsed_s]
    return Course(
        actual.elapsed_s,
        multipliers,
        first(takes_snapshot(Averaging(), n + 1, multiplier) for n, multiplier in enumerate(multipliers)),
        first(multiplier < recipe.quantization.qat_late_below for multiplier in multipliers),
        first(elapsed_s >= recipe.model.recur_at * loop_s for elapsed_s in actual.elapsed_s),
    )


def first(flags) -> int:
    return next(step for step, flag in enumerate(flags) if flag)


@pytest.mark.parametrize("factor", [2.0, 8.0])
@pytest.mark.parametrize(("step_s", "at", "count"), BURSTS)
def test_a_burst_of_slow_steps_leaves_the_schedule_within_1_percent_of_the_ideal(step_s, at, count, factor):
    actual = course(PR549, step_s, range(at, at + count), factor)
    wanted = ideal(PR549, step_s, actual)
    assert sum(actual.multipliers) == pytest.approx(sum(wanted.multipliers), rel=0.01)
    assert actual.triggers == pytest.approx(wanted.triggers, abs=2)


@pytest.mark.parametrize(("step_s", "at", "count"), BURSTS)
def test_the_multiplier_never_rises_inside_the_warm_down(step_s, at, count):
    multipliers = course(PR549, step_s, range(at, at + count), 8.0).multipliers
    inside = multipliers[len(multipliers) // 3 :]
    assert inside[0] == 1.0
    assert all(later <= earlier for earlier, later in pairwise(inside))


def test_on_a_machine_too_slow_for_the_warm_down_the_whole_run_is_warm_down():
    actual = course(PR549, 8 * H100_S)
    wanted = ideal(PR549, 8 * H100_S, actual)
    assert actual.multipliers[3:] == pytest.approx(wanted.multipliers[3:], rel=0.02)
    assert actual.quantized_from == wanted.quantized_from


def test_nothing_starts_for_good_in_the_first_tenth_of_the_budget():
    slow_start = course(PR549, H100_S, range(40), 15.0)  # 50 s of 600
    assert min(slow_start.multipliers[:40]) < 0.2
    assert slow_start.multipliers[100] == 1.0
    assert slow_start.quantized_from > 6_000


def test_a_training_that_goes_on_inside_the_warm_down_decides_as_if_undisturbed():
    clock, other = TrainingClock(), TrainingClock()
    clock.start(0.0)
    for step in range(7_000):
        Decision.of(PR549, step, clock)
        clock.end_step((step + 1) * H100_S)
    other.load_state_dict(clock.state_dict())
    other.start(10_000.0)  # much later, in another process
    clock.end_step(7_001 * H100_S)
    other.end_step(10_000.0 + H100_S)
    decided = [Decision.of(PR549, 7_001, each).multiplier for each in (clock, other)]
    assert decided[0] == pytest.approx(decided[1])
    assert other.warmdown_step_s == clock.warmdown_step_s == pytest.approx(H100_S)
