"""Pruning configurations after short runs: the rules, and whether short runs rank configurations as full runs do.

A rule compares a configuration's mean over all seeds at one length of schedule (a rung) with those of the
configurations that reached this rung before it; never single seeds, never different rungs. A rung is used only if its
ranking of some configurations that also ran in full correlates with the full ranking: the lower end of the interval of
the rank correlation must exceed a declared threshold. Lower is better; infinity is a configuration that failed. Decides
nothing about gains: those left are compared as usual.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.9
"""Confidence of the interval around a rank correlation."""
FEWEST = 4
"""Configurations below which a rank correlation has no interval."""


def asha_keeps(value: float, before: Sequence[float], eta: int) -> bool:
    """Whether the value is among the best 1/eta of those that reached this length so far, itself included.

    The decision is immediate and final, so each of the first few needs only to be the best so far.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning", as Optuna's pruner has it.
    """
    places = max((len(before) + 1) // eta, 1)
    return math.isfinite(value) and sum(other < value for other in before) < places


def median_keeps(value: float, before: Sequence[float]) -> bool:
    """Whether the value is no worse than the median of those that reached this length before it.

    Source: Golovin et al. 2017, "Google Vizier", the median stopping rule; here those pruned since count too.
    """
    return math.isfinite(value) and (not before or value <= statistics.median(before))


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlation of two rankings of the same configurations, with its interval."""

    n: int
    spearman: float | None
    """None with fewer than FEWEST configurations, or if all scores of one ranking are equal."""
    low: float | None
    high: float | None
    kendall: float | None

    def trusted(self, threshold: float) -> bool:
        """Whether the correlation is above the threshold even at the lower end of its interval."""
        return self.low is not None and self.low > threshold

    def __str__(self) -> str:
        if self.spearman is None or self.low is None:
            return f"no rank correlation over {self.n} configurations"
        return (
            f"Spearman {self.spearman:.2f} ({LEVEL:.0%} interval {self.low:.2f} to {self.high:.2f}), "
            f"Kendall {self.kendall:.2f}, over {self.n} configurations"
        )


def rank_correlation(short: Sequence[float], full: Sequence[float]) -> RankCorrelation:
    """Rank correlation of the scores of configurations after short and after full runs; failed ones rank last.

    The interval is Fisher's with the variance of Bonett and Wright 2000. A correlation of 1 is treated as the next
    lower possible value, so that a few configurations do not give an interval of width zero.
    """
    from scipy import stats  # late: slow to import, and `status` and `list` import this module without needing it

    n = len(short)
    if n < FEWEST or len(set(short)) == 1 or len(set(full)) == 1:
        return RankCorrelation(n, None, None, None, None)
    rho = float(stats.spearmanr(short, full).statistic)
    one_swap = 1 - 12 / (n**3 - n)
    near = min(max(rho, -one_swap), one_swap)
    half = float(stats.norm.isf((1 - LEVEL) / 2)) * math.sqrt((1 + near**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(near) + end) for end in (-half, half))
    return RankCorrelation(n, rho, low, high, float(stats.kendalltau(short, full).statistic))
