"""What a search that learns from full scores alone is told of configurations that have none, or one that counts less.

Optuna's gp and cmaes hear of complete trials only (5.0: `GPSampler.sample_relative`, `CmaEsSampler._get_trials`). Most
configurations of a sweep with rungs are pruned before that, and one that fails never has a score: left out, they would
teach nothing, cmaes would wait for ever for its generation, and both would go back to where things fail. So they are
given a score here. tpe ranks trials that were pruned by itself, behind all complete ones, and needs none of this.

Steers searches and nothing else: no table, verdict or figure reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from orchestrator.space.configuration import Outcome

Told = Mapping[int, Outcome]


def imputed(told: Told, goal: str) -> dict[int, Outcome]:
    """The outcomes with a score for whoever has none, as far as anybody has one.

    Pruned: the full score that its mean at the last rung stands for, never that mean itself. Failed: the worst score
    known, so that its neighbourhood is left, without a cliff that would hide all other differences. Limits are taken
    as kept: a short run does not tell.
    """
    expected = {index: _expected_in_full(item, told) for index, item in told.items() if item.score is None}
    scores = [*(item.score for item in told.values()), *expected.values()]
    known = [score for score in scores if score is not None]
    if not known:
        return dict(told)
    worst = max(known) if goal == "minimize" else min(known)
    within = {name: 0.0 for item in told.values() for name in item.violations}
    given = {index: Outcome(worst if score is None else score, within) for index, score in expected.items()}
    return {**told, **given}


def _expected_in_full(pruned: Outcome, told: Told) -> float | None:
    """By isotonic regression over those that have run both short and in full; None if it failed, or nobody has.

    A rung prunes only once short runs are shown to rank like full ones, and order is all that is used here.
    """
    if not pruned.short:
        return None
    rung, mean = pruned.short[-1]
    both = sorted((dict(item.short)[rung], item.score) for item in told.values() if _has_both(item, rung))
    if not both:
        return None
    from scipy.optimize import isotonic_regression  # late: only a search with rungs needs it

    short, full = zip(*both, strict=True)
    return float(np.interp(mean, short, isotonic_regression(full).x))


def _has_both(item: Outcome, rung: float) -> bool:
    return item.score is not None and rung in dict(item.short)


def ranked_by_feasibility(told: Told, goal: str) -> dict[int, Outcome]:
    """For a method that only ranks: whoever is outside a limit ranks behind everybody inside, the farther the later.

    Each limit's violations are told in parts of the largest one, so that bytes do not outweigh seconds.
    Source: Deb 2000, "An efficient constraint handling method for genetic algorithms".
    """
    sign = 1.0 if goal == "minimize" else -1.0
    outside = {index: item for index, item in told.items() if item.score is not None and any(item.violations.values())}
    inside = [sign * item.score for index, item in told.items() if item.score is not None and index not in outside]
    largest = {
        name: max(item.violations[name] for item in outside.values())
        for name in {name for item in outside.values() for name in item.violations}
    }
    ranked = dict(told)
    for index, item in outside.items():
        excess = sum(violation / largest[name] for name, violation in item.violations.items() if violation > 0)
        ranked[index] = replace(item, score=sign * (max(inside, default=0.0) + excess), violations={})
    return ranked
