"""How many seeds does it take, and what could the planned ones prove at all?

Answers for the very test that will be made: exactly by the noncentral t distribution where the test has such a formula
(paired, one-sample, pooled variance), by simulation with a fixed seed for Welch's test, which has none. Normal scores
are assumed. What the spread between seeds is must be said: from the sweep's own runs, or from published records.
Source: scipy.stats.nct; statsmodels.stats.power gives the same figures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from results.stats import LEAST_POOLED_DF
from trainer.spec.errors import UserError

TestName = Literal["paired", "pooled", "welch"]
SIMULATED = 40_000
"""Pairs of arms drawn for Welch's test: a simulated power is off by half a point at most, in 19 of 20 cases."""
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Design:
    """Two arms of `n` seeds each, and how they will be compared."""

    test: TestName
    n: int
    sd: float
    """Between seeds of one arm; for `paired` between the differences of pairs."""
    alpha: float
    num_comparisons: int = 1
    """Configurations that share `alpha`: what Holm's correction asks of the smallest p-value."""
    pooled_df: int = 0
    """Degrees of freedom of the sweep's pooled variance, for `pooled`."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01")
        if not self.sd > 0:
            raise UserError(f"sd = {self.sd:g} must be above 0: without a spread nothing can be planned")

    @property
    def can_prove(self) -> bool:
        """Whether the seeds carry this test at all."""
        return self.n >= 1 and self.pooled_df > 0 if self.test == "pooled" else self.n >= 2

    @property
    def level(self) -> float:
        """What a p-value must fall below."""
        return self.alpha / self.num_comparisons

    def power(self, gain: float) -> float:
        """Probability that a true gain beyond the margin, in the unit of `sd`, is shown; 0 if nothing can be."""
        if not self.can_prove:
            return 0.0
        if self.test == "welch":
            return float(np.mean(_welch_needs(self.n, self.level) <= gain / self.sd))
        df, error = self._df_and_error()
        return float(stats.nct.cdf(stats.t.ppf(self.level, df), df, -gain / error))

    def smallest_gain(self, power: float = 0.8) -> float | None:
        """The gain beyond the margin that is shown with this probability; None if no gain can be."""
        if not self.can_prove:
            return None
        if self.test == "welch":
            return self.sd * float(np.quantile(_welch_needs(self.n, self.level), power))
        df, error = self._df_and_error()
        most = error * (abs(stats.t.ppf(self.level, df)) + abs(stats.t.ppf(1 - power, df)) + 10)
        return float(optimize.brentq(lambda gain: self.power(gain) - power, 0.0, most * 2))

    def _df_and_error(self) -> tuple[int, float]:
        if self.test == "paired":
            return self.n - 1, self.sd / self.n**0.5
        return self.pooled_df, self.sd * (2 / self.n) ** 0.5


def design_of(paired: bool, num_configurations: int, n: int, sd: float, alpha: float, adaptive: bool = False) -> Design:
    """The design of a sweep against its baseline: the test that `compare` will make of it, corrected over all.

    num_configurations:  the baseline not counted
    adaptive:            one winner is confirmed on fresh seeds, so nothing is corrected and nothing pooled
    """
    if paired:
        return Design("paired", n, sd, alpha, 1 if adaptive else num_configurations)
    if adaptive:
        return Design("welch", n, sd, alpha)
    df = (num_configurations + 1) * (n - 1)
    return Design("pooled" if df >= LEAST_POOLED_DF else "welch", n, sd, alpha, num_configurations, df)


def seeds_needed(
    gain: float,
    paired: bool,
    num_configurations: int,
    sd: float,
    alpha: float,
    power: float = 0.8,
    adaptive: bool = False,
) -> int | None:
    """Seeds per configuration from which a gain beyond the margin is shown with this power; None beyond a thousand."""

    def enough(n: int) -> bool:
        return design_of(paired, num_configurations, n, sd, alpha, adaptive).power(gain) >= power

    if gain <= 0 or not enough(MOST_SEEDS):
        return None
    upper = next(n for n in (2**k for k in range(1, 11)) if enough(n))
    return next(n for n in range(max(2, upper // 2), upper + 1) if enough(n))


@functools.lru_cache(maxsize=64)
def _welch_needs(n: int, level: float) -> NDArray[np.float64]:
    """Gains, in standard deviations, that simulated pairs of arms would just have shown; sorted.

    A true gain moves the difference and leaves both variances alone, so each draw has one such gain.
    """
    random = np.random.default_rng(0)
    difference = random.normal(size=SIMULATED) * (2 / n) ** 0.5
    ours, theirs = random.chisquare(n - 1, size=(2, SIMULATED)) / (n - 1) / n
    df = (ours + theirs) ** 2 / ((ours**2 + theirs**2) / (n - 1))
    return np.sort(difference - stats.t.ppf(level, df) * np.sqrt(ours + theirs))
