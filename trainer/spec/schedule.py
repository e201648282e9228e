"""Learning-rate multiplier, Muon's momentum and SWA's snapshots during a run, as pure functions of step and clock.

No clock is read here: the caller measures times on the first rank and broadcasts the result.
"""

from __future__ import annotations

from trainer.spec.recipe import Averaging, Budget, Muon, Schedule

SETTLED_FRACTION = 0.1
"""Used fraction of the clock before which no step estimate starts the warm-down for good."""


def multiplier(schedule: Schedule, budget: Budget, step: int, elapsed_s: float, step_s: float | None) -> float:
    """Factor on every learning rate for the step about to be taken (docs/recipe.md 3.4).

    step:       steps done so far
    elapsed_s:  training time so far
    step_s:     a robust duration of one step, such as the median of all, so that a burst of slow steps does not look
                like a slow machine; None while too few were measured to tell the two apart. Held constant once
                `warmdown_is_due` was true, which makes the multiplier a straight line in elapsed time from there on
    Under two budgets the one nearer its end decides.
    """
    by_form = {"iterations": _remaining_over_warmdown, "fraction": _remaining_over_fraction}
    shares = by_form[schedule.form](schedule, budget, step, elapsed_s, step_s)
    return max(min([1.0, *shares]), schedule.min_multiplier)


def warmdown_is_due(schedule: Schedule, budget: Budget, elapsed_s: float, fast_step_s: float | None) -> bool:
    """Whether a warm-down whose length is known only by the clock begins for good.

    fast_step_s:  what the fast steps take, such as the lower quartile of all; None while too few were measured
    True when no more time is left than `warmdown_steps` fast steps take, and a tenth of the clock is used: until then
    slow first steps may be all that is known.
    """
    if schedule.form != "iterations" or budget.loop_s is None or fast_step_s is None:
        return False
    left_s = budget.loop_s - elapsed_s
    return elapsed_s >= SETTLED_FRACTION * budget.loop_s and left_s <= schedule.warmdown_steps * fast_step_s


def takes_snapshot(averaging: Averaging, step: int, multiplier: float) -> bool:
    """Whether SWA takes the weights as they are after `step` steps.

    A low multiplier alone does not mean that the end is near: a first step of half a minute (compiling) once caused
    one. Hence the smallest step.
    """
    if averaging.swa_every == 0 or step < averaging.swa_min_step:
        return False
    return multiplier < averaging.swa_below and step % averaging.swa_every == 0


def muon_momentum(muon: Muon, step: int) -> float:
    """Muon's momentum for the step about to be taken: linear from its start to its final value."""
    if muon.momentum_warmup_steps == 0:
        return muon.momentum
    warmed = min(step / muon.momentum_warmup_steps, 1.0)
    return (1 - warmed) * muon.momentum_start + warmed * muon.momentum


def used_fraction(budget: Budget, step: int, elapsed_s: float) -> float:
    """Part of the training budget that is used before this step; of two budgets, the one nearer its end."""
    by_steps = step / budget.train_steps if budget.train_steps is not None else 0.0
    by_clock = elapsed_s / budget.loop_s if budget.loop_s is not None else 0.0
    return max(by_steps, by_clock)


def _remaining_over_warmdown(
    schedule: Schedule, budget: Budget, step: int, elapsed_s: float, step_s: float | None
) -> list[float]:
    """What is left of each budget, in lengths of the warm-down."""
    if schedule.warmdown_steps == 0:
        return []
    shares = []
    if budget.train_steps is not None:
        shares.append(max(budget.train_steps - step, 0) / schedule.warmdown_steps)
    if budget.loop_s is not None and step_s:
        shares.append(max(budget.loop_s - elapsed_s, 0.0) / (schedule.warmdown_steps * step_s))
    return shares


def _remaining_over_fraction(
    schedule: Schedule, budget: Budget, step: int, elapsed_s: float, step_s: float | None
) -> list[float]:
    """What is left of each budget, in lengths of the warm-down; needs no duration of a step."""
    if schedule.warmdown_fraction == 0:
        return []
    return [max(1.0 - used_fraction(budget, step, elapsed_s), 0.0) / schedule.warmdown_fraction]
