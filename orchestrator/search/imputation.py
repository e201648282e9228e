"""Imputed scores for methods that use complete trials only: configurations that were pruned, failed, or break a limit.

Optuna's gp and cmaes read complete trials only (5.0: `GPSampler.sample_relative`, `CmaEsSampler._get_trials`). Most
configurations of a sweep with rungs are pruned before that, and one that fails never has a score. Without a score for
them the method would not use these results, cmaes would never complete its generation, and both would propose values
that fail again. tpe ranks pruned trials behind all complete ones and needs no imputed score.

Used by searches alone: no table, verdict or figure reads an imputed score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from orchestrator.space.configuration import Outcome

Outcomes = Mapping[int, Outcome]
"""Outcomes by the index of their configuration."""


def imputed(outcomes: Outcomes, goal: str) -> dict[int, Outcome]:
    """The outcomes, each without a score given one; unchanged while no score is known.

    Pruned: the full score predicted from its mean at the last rung, never that mean itself. Failed: the worst known
    score, which discourages values close to it and does not change the scale of the scores. Limits count as kept,
    because a short run does not show whether they are.
    """
    expected = {index: _expected_in_full(item, outcomes) for index, item in outcomes.items() if item.score is None}
    scores = [*(item.score for item in outcomes.values()), *expected.values()]
    known = [score for score in scores if score is not None]
    if not known:
        return dict(outcomes)
    worst = max(known) if goal == "minimize" else min(known)
    no_violations = {name: 0.0 for item in outcomes.values() for name in item.violations}
    imputed_outcomes = {
        index: Outcome(worst if score is None else score, no_violations) for index, score in expected.items()
    }
    return {**outcomes, **imputed_outcomes}


def _expected_in_full(pruned: Outcome, outcomes: Outcomes) -> float | None:
    """Isotonic regression over the configurations that ran both short and in full; None if it failed or there are none.

    A rung prunes only once short runs are shown to rank like full ones; the regression assumes no more than that.
    """
    if not pruned.short:
        return None
    rung, mean = pruned.short[-1]
    both = sorted((dict(item.short)[rung], item.score) for item in outcomes.values() if _has_both(item, rung))
    if not both:
        return None
    from scipy.optimize import isotonic_regression  # late: only a search with rungs needs it

    short, full = zip(*both, strict=True)
    return float(np.interp(mean, short, isotonic_regression(full).x))


def _has_both(item: Outcome, rung: float) -> bool:
    return item.score is not None and rung in dict(item.short)


def ranked_by_feasibility(outcomes: Outcomes, goal: str) -> dict[int, Outcome]:
    """Scores for a method that only ranks: infeasible configurations rank behind all feasible ones, by their violation.

    Each limit's violations are divided by the largest one, so that the unit of a limit does not matter.
    Source: Deb 2000, "An efficient constraint handling method for genetic algorithms".
    """
    sign = 1.0 if goal == "minimize" else -1.0
    outside = {
        index: item for index, item in outcomes.items() if item.score is not None and any(item.violations.values())
    }
    inside = [sign * item.score for index, item in outcomes.items() if item.score is not None and index not in outside]
    largest = {
        name: max(item.violations[name] for item in outside.values())
        for name in {name for item in outside.values() for name in item.violations}
    }
    ranked = dict(outcomes)
    for index, item in outside.items():
        excess = sum(violation / largest[name] for name, violation in item.violations.items() if violation > 0)
        ranked[index] = replace(item, score=sign * (max(inside, default=0.0) + excess), violations={})
    return ranked
