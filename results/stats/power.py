"""How many seeds does it take, and what could the planned ones prove at all?

Answers for the very test that will be made: exactly by the noncentral t distribution for pairs, by simulation with a
fixed seed where there is no such formula (variance shared over a sweep, Welch's test, a race).
Normal scores are assumed. What the spread between seeds is must be said: from the sweep's own runs, or from published
records.
Source: scipy.stats.nct; statsmodels.stats.power gives the same figures for pairs.
"""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from results.stats.sequential import FIRST_LOOK, Looks
from results.stats.shared_variance import SharedVariance
from results.stats.t_tests import LEAST_POOLED_DF
from trainer.spec.errors import UserError

TestName = Literal["paired", "moderated", "welch", "race", "paired race"]
SIMULATED = 40_000
"""Pairs of arms drawn for Welch's test: a simulated power is off by half a point at most, in 19 of 20 cases."""
SIMULATED_ARMS = 60_000
"""Over all sweeps, which give as many pairs as they have: off by one point at most, in 19 of 20 cases."""
MOST_SIMULATED_ARMS = 60
"""The variance that more arms share is known as well."""
SIMULATED_RACES = 10_000
"""For a race, which is looked at after every seed: off by one point at most, in 19 of 20 cases."""
MOST_SEEDS = 1_000
MOST_RACED = 128


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
    num_arms: int = 0
    """Of the sweep, its baseline included: those that share what they know of the variance, for `moderated`."""
    first_look: int = FIRST_LOOK
    """Seeds before the first look of a race, whose last is after `n`."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01")
        if not self.sd > 0:
            raise UserError(f"sd = {self.sd:g} must be above 0: without a spread nothing can be planned")

    @property
    def can_prove(self) -> bool:
        """Whether the seeds carry this test at all."""
        return self.n >= (self.first_look if "race" in self.test else 2)

    @property
    def level(self) -> float:
        """What a p-value must fall below; in a race, what all its looks may spend together."""
        return self.alpha / self.num_comparisons

    def power(self, gain: float) -> float:
        """Probability that a true gain beyond the margin, in the unit of `sd`, is shown; 0 if nothing can be."""
        if not self.can_prove:
            return 0.0
        if (needs := self._simulated_needs()) is not None:
            return float(np.mean(needs <= gain / self.sd))
        df, error = self.n - 1, self.sd / self.n**0.5
        return float(stats.nct.cdf(stats.t.ppf(self.level, df), df, -gain / error))

    def smallest_gain(self, power: float = 0.8) -> float | None:
        """The gain beyond the margin that is shown with this probability; None if no gain can be."""
        if not self.can_prove:
            return None
        if (needs := self._simulated_needs()) is not None:
            return self.sd * float(np.quantile(needs, power))
        df, error = self.n - 1, self.sd / self.n**0.5
        most = error * (abs(stats.t.ppf(self.level, df)) + abs(stats.t.ppf(1 - power, df)) + 10)
        return float(optimize.brentq(lambda gain: self.power(gain) - power, 0.0, most * 2))

    def _simulated_needs(self) -> NDArray[np.float64] | None:
        """Gains that simulated comparisons would just have shown, in units of sd; None where a formula serves."""
        if self.test == "moderated":
            return _moderated_needs(self.n, min(self.num_arms, MOST_SIMULATED_ARMS), self.level)
        if self.test == "welch":
            return _welch_needs(self.n, self.level)
        if "race" in self.test:
            return _race_needs(Looks(self.n, self.first_look), self.level, self.test == "paired race")
        return None


def design_of(
    paired: bool,
    num_configurations: int,
    n: int,
    sd: float,
    alpha: float,
    adaptive: bool = False,
    first_look: int | None = None,
) -> Design:
    """The design of a sweep against its baseline: the test that `compare` will make of it, corrected over all.

    num_configurations:  the baseline not counted
    adaptive:            one winner is confirmed on fresh seeds, so nothing is corrected and nothing shared
    first_look:          seeds before the first look of a race, if it is one
    """
    if first_look is not None:
        return Design("paired race" if paired else "race", n, sd, alpha, num_configurations, first_look=first_look)
    if paired:
        return Design("paired", n, sd, alpha, 1 if adaptive else num_configurations)
    if adaptive:
        return Design("welch", n, sd, alpha)
    num_arms = num_configurations + 1
    test: TestName = "moderated" if num_arms * (n - 1) >= LEAST_POOLED_DF else "welch"
    return Design(test, n, sd, alpha, num_configurations, num_arms)


def seeds_needed(
    gain: float,
    paired: bool,
    num_configurations: int,
    sd: float,
    alpha: float,
    power: float = 0.8,
    adaptive: bool = False,
    first_look: int | None = None,
) -> int | None:
    """Seeds per configuration from which a gain beyond the margin is shown with this power.

    None beyond a thousand, or beyond the longest race.
    """

    def enough(n: int) -> bool:
        return design_of(paired, num_configurations, n, sd, alpha, adaptive, first_look).power(gain) >= power

    most = MOST_SEEDS if first_look is None else MOST_RACED
    if gain <= 0 or not enough(most):
        return None
    numbers = range(2, most + 1)
    return numbers[bisect.bisect_left(numbers, True, key=enough)]


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


@functools.lru_cache(maxsize=64)
def _moderated_needs(n: int, num_arms: int, level: float) -> NDArray[np.float64]:
    """The same for pairs of arms whose variances a whole sweep of arms steadies."""
    random = np.random.default_rng(0)
    variance_SA = random.chisquare(n - 1, size=(SIMULATED_ARMS // num_arms, num_arms)) / (n - 1)
    steady_SA, df_SA = SharedVariance.over(variance_SA, n - 1).steadied(variance_SA, n - 1)
    ours, theirs = slice(0, num_arms // 2), slice(num_arms - num_arms // 2, None)
    df = np.minimum(df_SA[:, ours], df_SA[:, theirs])
    error = np.sqrt((steady_SA[:, ours] + steady_SA[:, theirs]) / n)
    difference = random.normal(size=df.shape) * (2 / n) ** 0.5
    return np.sort((difference - special.stdtrit(df, level) * error).ravel())


@functools.lru_cache(maxsize=64)
def _race_needs(looks: Looks, level: float, paired: bool) -> NDArray[np.float64]:
    """The same for a look after every seed: the least gain that any look would have shown.

    Of one candidate against the baseline; that others may eliminate it is left out, since the best hardly ever is.
    """
    random = np.random.default_rng(0)
    arms = random.normal(size=(1 if paired else 2, SIMULATED_RACES, looks.last))
    needs = np.full(SIMULATED_RACES, np.inf)
    for n in range(looks.first, looks.last + 1):
        parts = arms[..., :n].var(-1, ddof=1) / n
        difference = arms[0, :, :n].mean(-1) - (0.0 if paired else arms[-1, :, :n].mean(-1))
        df = n - 1 if paired else parts.sum(0) ** 2 * (n - 1) / np.square(parts).sum(0)
        shown = difference - special.stdtrit(df, level * looks.share(n)) * np.sqrt(parts.sum(0))
        needs = np.minimum(needs, shown)
    return np.sort(needs)
