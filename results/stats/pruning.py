"""Pruning configurations after short runs: the rules, and whether short runs may be believed at all.

A rule sees one number per configuration, its mean over all seeds at one length of schedule, and compares it with those
of the configurations before it at the same length; never a single seed, never two lengths. Before a length is believed,
its ranking of some configurations that also ran in full must agree with the full ranking, by a declared threshold on
the lower end of an interval. Lower is better; infinity is a configuration that failed. Decides nothing about gains:
those left are compared as usual.
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

    The rule decides at once and for good, so the first few need only be the best so far.
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
    """How well one ranking of the same configurations tells another."""

    n: int
    spearman: float | None
    """None when there are too few to say, or when all of one side are the same."""
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
    """Of the scores of the same configurations after short and after full runs; a failed one ranks last.

    The interval is Fisher's with the variance of Bonett and Wright 2000. Perfect agreement is taken as the next one
    below it, for a handful of configurations cannot show more.
    """
    from scipy import stats  # late: status and list come through here, and have no correlation to tell

    n = len(short)
    if n < FEWEST or len(set(short)) == 1 or len(set(full)) == 1:
        return RankCorrelation(n, None, None, None, None)
    rho = float(stats.spearmanr(short, full).statistic)
    one_swap = 1 - 12 / (n**3 - n)
    near = min(max(rho, -one_swap), one_swap)
    half = float(stats.norm.isf((1 - LEVEL) / 2)) * math.sqrt((1 + near**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(near) + end) for end in (-half, half))
    return RankCorrelation(n, rho, low, high, float(stats.kendalltau(short, full).statistic))
