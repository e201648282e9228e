"""A group-sequential test: a look at the results after every seed, with a declared largest number of seeds.

Alpha is divided over the looks in advance: half for the last look, the rest in equal parts for the earlier ones. A
result is significant at a look if its p-value is below that look's part. The parts add up to alpha, so by Bonferroni's
inequality the probability that any look gives a false positive is at most alpha, however the looks depend on each other
and whenever the race stops. Compared with exact boundaries this loses a little power; it needs no known variance.
Source: Bonferroni; Jennison and Turnbull 2000, chapter 7, on spending.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.stats.late import special
from results.stats.shared_variance import ROUNDING

Array = NDArray[np.float64]
FIRST_LOOK = 3
"""Seeds at the first look; two are too few to estimate a variance."""


@dataclass(frozen=True)
class Looks:
    """A look after every seed, from the first one to the declared last."""

    last: int
    first: int = FIRST_LOOK

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.last:
            raise ValueError(f"looks from {self.first} to {self.last} seeds are no looks")

    def share(self, n: int) -> float:
        """Part of alpha for the look after `n` seeds; 0 where there is no look."""
        if not self.first <= n <= self.last:
            return 0.0
        if self.first == self.last:
            return 1.0
        return 0.5 if n == self.last else 0.5 / (self.last - self.first)


def p_less(ours: Array, theirs: Array, margin: float = 0.0, paired: bool = False) -> Array:
    """p-values of 'our mean is below theirs by more than `margin`' for many pairs of samples at once.

    NaN where a sample (or the differences of pairs) has no variance.

    ours, theirs:  [..., n] scores, of shapes that broadcast
    For one pair, `t_tests.paired_t` and `t_tests.welch_t` give the same numbers.
    """
    n = ours.shape[-1]
    with np.errstate(all="ignore"):
        if paired:
            differences = ours - theirs
            variance = _above_rounding(differences.var(-1, ddof=1), ours)
            t = (differences.mean(-1) + margin) / np.sqrt(variance / n)
            return np.asarray(special.stdtr(n - 1, t))
        a, b = (_above_rounding(arm.var(-1, ddof=1), arm) / n for arm in (ours, theirs))
        t = (ours.mean(-1) - theirs.mean(-1) + margin) / np.sqrt(a + b)
        return np.asarray(special.stdtr((a + b) ** 2 * (n - 1) / (a**2 + b**2), t))


def _above_rounding(variance: Array, scores: Array) -> Array:
    """The variance; NaN where scores differ by rounding only."""
    return np.where(np.sqrt(variance) > ROUNDING * np.abs(scores).max(-1), variance, np.nan)
