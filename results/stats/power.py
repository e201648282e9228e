"""Power analysis: the minimum detectable effect of planned seeds, and the seeds needed to detect a given gain.

Computed for the test that `compare` will make: for pairs that borrow nothing exactly, by the noncentral t distribution;
for the other tests (variance borrowed from or shared over the sweep, Welch's test, a race) by simulation with a fixed
seed. Assumes normal scores. The standard deviation between seeds is an input; it comes from finished runs or from
published records.
Source: scipy.special.nctdtr; statsmodels.stats.power gives the same figures for pairs.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.stats.late import special
from results.stats.many_against_one import Correction, first_step
from results.stats.own_variance import ARM_PRIOR_DF, LEAST_ARMS, PAIRS_PRIOR_DF, OwnVariance, satterthwaite_df
from results.stats.roots import root
from results.stats.sequential import FIRST_LOOK, Looks
from results.stats.shared_variance import LEAST_POOLED_DF, SharedVariance
from results.stats.t_tests import Block, Variance
from trainer.spec.errors import UserError

TestName = Literal["paired", "own paired", "two-way", "own", "moderated", "welch", "race", "paired race"]
"""'own' and 'own paired' borrow one degree of freedom from the sweep, 'moderated' and 'two-way' share its variance."""
SIMULATED = 40_000
"""Pairs of arms simulated for Welch's test: the power is accurate to half a percentage point (95 %)."""
SIMULATED_ARMS = 60_000
"""Arms simulated over all sweeps for the moderated test: the power is accurate to one percentage point (95 %)."""
MOST_SIMULATED_ARMS = 60
"""Arms per simulated sweep at most: with more, the shared variance is hardly more accurate."""
SIMULATED_RACES = 10_000
"""Races simulated: the power is accurate to one percentage point (95 %)."""
SD_CONFIDENCE = 0.8
"""With which a measured standard deviation is bounded from above."""
QUANTILES = 10_000
"""Of the variance, where the noncentral t distribution is averaged: the power is accurate to 0.01 percentage points."""
MOST_SEEDS = 1_000
MOST_RACED = 128


@dataclass(frozen=True)
class Design:
    """Two arms of `n` seeds each and the test that compares them."""

    test: TestName
    n: int
    sd: float
    """Standard deviation between seeds of one arm; where the test has pairs, of the differences of pairs."""
    alpha: float
    num_comparisons: int = 1
    """Configurations that share `alpha`; the power is that of the smallest p-value, which is corrected for all."""
    num_arms: int = 0
    """Arms of the sweep, the baseline included, whose variances are shared or borrowed from."""
    first_look: int = FIRST_LOOK
    """Seeds at the first look of a race; the last look is after `n`."""
    correction: Correction = "holm"
    """'dunnett' where the verdict will be corrected so, see `Terms`; it needs a shared variance."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01")
        if not self.sd > 0:
            raise UserError(f"sd = {self.sd:g} must be above 0: power cannot be computed without a spread")

    @property
    def has_enough_seeds(self) -> bool:
        """Whether there are enough seeds for this test at all."""
        return self.n >= (self.first_look if "race" in self.test else 2)

    @property
    def level(self) -> float:
        """The significance level of one comparison by Holm's correction; in a race, of all its looks together."""
        return self.alpha / self.num_comparisons

    def power(self, gain: float) -> float:
        """Probability that the test shows a true gain beyond the margin, in the unit of `sd`; 0 with too few seeds."""
        if not self.has_enough_seeds:
            return 0.0
        if (detectable := self._simulated_detectable()) is not None:
            return float(np.mean(detectable <= gain / self.sd))
        return _power_of_t(self.n - 1, self.level, gain / (self.sd / self.n**0.5))

    def minimum_detectable_effect(self, power: float = 0.8) -> float | None:
        """The smallest gain beyond the margin that is shown with this power; None with too few seeds.

        Infinite where the level is too small for a double to hold the gain.
        """
        if not self.has_enough_seeds:
            return None
        if (detectable := self._simulated_detectable()) is not None:
            with np.errstate(invalid="ignore"):  # between two infinite ones
                gain = self.sd * float(np.quantile(detectable, power))
            return gain if math.isfinite(gain) else math.inf
        df, error = self.n - 1, self.sd / self.n**0.5
        most = error * (abs(special.stdtrit(df, self.level)) + abs(special.stdtrit(df, 1 - power)) + 10)
        if not math.isfinite(most) or self.power(most * 2) < power:
            return math.inf
        return float(root(lambda gain: self.power(gain) - power, 0.0, most * 2))

    def _simulated_detectable(self) -> NDArray[np.float64] | None:
        """Gain, in units of sd, at which each simulated comparison becomes significant; None where a formula serves."""
        if self.test in ("moderated", "two-way"):
            among = self.alpha, self.num_comparisons, self.correction
            detectable = _detectable_moderated if self.test == "moderated" else _detectable_two_way
            return detectable(self.n, min(self.num_arms, MOST_SIMULATED_ARMS), *among)
        if self.test in ("own", "own paired"):
            paired = self.test == "own paired"
            return _detectable_own(self.n, min(self.num_arms, MOST_SIMULATED_ARMS), self.level, paired)
        if self.test == "welch":
            return _detectable_welch(self.n, self.level)
        if "race" in self.test:
            return _detectable_race(Looks(self.n, self.first_look), self.level, self.test == "paired race")
        return None


def design_of(
    block: Block | None,
    num_configurations: int,
    n: int,
    sd: float,
    alpha: float,
    adaptive: bool = False,
    first_look: int | None = None,
    variance: Variance = "own",
    correction: Correction = "dunnett",
) -> Design:
    """The comparison with the baseline that `compare` will make for a sweep, corrected over its configurations.

    block:               what pairs the runs of two configurations; None pairs nothing
    num_configurations:  without the baseline
    adaptive:            only the winner is compared, on fresh seeds, so there is no correction and no shared variance
    first_look:          seeds at the first look of a race; None for a fixed number of seeds
    variance, correction:  as declared, see `Terms`
    """
    if first_look is not None:
        race: TestName = "paired race" if block else "race"
        return Design(race, n, sd, alpha, num_configurations, first_look=first_look)
    compared = 1 if adaptive else num_configurations
    test = _test_of(block, compared, n, "own" if adaptive else variance)
    corrected = correction if test in ("moderated", "two-way") else "holm"
    return Design(test, n, sd, alpha, compared, compared + 1, correction=corrected)


def _test_of(block: Block | None, num_configurations: int, n: int, variance: Variance) -> TestName:
    num_arms = num_configurations + 1
    if variance == "shared":
        if block == "seed" and num_configurations * (n - 1) >= LEAST_POOLED_DF:
            return "two-way"
        if block is None and num_arms * (n - 1) >= LEAST_POOLED_DF:
            return "moderated"
    samples = num_configurations if block else num_arms
    if variance == "own" and samples >= LEAST_ARMS and samples * (n - 1) >= LEAST_POOLED_DF:
        return "own paired" if block else "own"
    return "paired" if block else "welch"


def upper_sd(sd: float, df: float) -> float:
    """A bound that the true standard deviation stays below in 80 % of cases, from one measured with `df`.

    A plan takes it, since one made with the measured sd itself keeps its promise in half of the cases only: of 80 %
    promised power 55 to 65 % are left at 2 degrees of freedom. Source: Browne 1995; Kieser and Wassmer 1996.
    """
    return float(sd * (df / special.chdtri(df, SD_CONFIDENCE)) ** 0.5)


def seeds_needed(
    gain: float,
    block: Block | None,
    num_configurations: int,
    sd: float,
    alpha: float,
    power: float = 0.8,
    adaptive: bool = False,
    first_look: int | None = None,
    variance: Variance = "own",
    correction: Correction = "dunnett",
) -> int | None:
    """Smallest number of seeds per configuration with which a gain beyond the margin is shown with this power.

    None if more than MOST_SEEDS are needed, or for a race more than MOST_RACED.
    """

    def enough(n: int) -> bool:
        design = design_of(block, num_configurations, n, sd, alpha, adaptive, first_look, variance, correction)
        return design.power(gain) >= power

    most = MOST_SEEDS if first_look is None else MOST_RACED
    if gain <= 0 or (fewest := _fewest_at_known_sd(gain, sd, alpha, power, block is not None)) > most:
        return None
    upper = fewest
    while not enough(upper):
        if upper == most:
            return None
        upper = min(2 * upper, most)
    numbers = range(fewest, upper + 1)
    return numbers[bisect.bisect_left(numbers, True, key=enough)]


def _fewest_at_known_sd(gain: float, sd: float, alpha: float, power: float, paired: bool) -> int:
    """Seeds with which one comparison, uncorrected and with the sd known, has this power: no test of ours needs fewer.

    At most MOST_SEEDS + 1, which stands for all larger numbers.
    """
    noncentrality = max(0.0, -float(special.ndtri(alpha)) + float(special.ndtri(power)))
    seeds = (1 if paired else 2) * min(noncentrality * sd / gain, float(MOST_SEEDS)) ** 2
    return min(max(2, math.ceil(seeds)), MOST_SEEDS + 1)


def _power_of_t(df: int, level: float, noncentrality: float) -> float:
    """Probability that a noncentral t exceeds the critical value of this level.

    Where SciPy's distribution is not a number, far from zero, it is the mean over quantiles of the variance.
    """
    critical = special.stdtrit(df, level)
    power = float(special.nctdtr(df, -noncentrality, critical))
    if math.isnan(power):
        sd_Q = np.sqrt(special.chdtri(df, 1 - (np.arange(QUANTILES) + 0.5) / QUANTILES) / df)
        power = float(special.ndtr(noncentrality + critical * sd_Q).mean())
    return power


@functools.lru_cache(maxsize=64)
def _detectable_welch(n: int, level: float) -> NDArray[np.float64]:
    """Sorted gains, in standard deviations, at which simulated comparisons by Welch's test become significant.

    A true gain shifts the difference and leaves both variances alone, so each draw has exactly one such gain.
    """
    random = np.random.default_rng(0)
    difference = random.normal(size=SIMULATED) * (2 / n) ** 0.5
    ours, theirs = random.chisquare(n - 1, size=(2, SIMULATED)) / (n - 1) / n
    df = (ours + theirs) ** 2 / ((ours**2 + theirs**2) / (n - 1))
    return np.sort(difference - special.stdtrit(df, level) * np.sqrt(ours + theirs))


@functools.lru_cache(maxsize=64)
def _detectable_moderated(
    n: int, num_arms: int, alpha: float, num_comparisons: int, correction: Correction
) -> NDArray[np.float64]:
    """The same for the moderated t-test, with variances shrunk over a simulated sweep of arms."""
    random = np.random.default_rng(0)
    variance_SA = random.chisquare(n - 1, size=(SIMULATED_ARMS // num_arms, num_arms)) / (n - 1)
    shrunk_SA, df_SA = SharedVariance.over(variance_SA, n - 1).shrunk(variance_SA, n - 1)
    ours, theirs = slice(0, num_arms // 2), slice(num_arms - num_arms // 2, None)
    df = np.minimum(df_SA[:, ours], df_SA[:, theirs])
    error = np.sqrt((shrunk_SA[:, ours] + shrunk_SA[:, theirs]) / n)
    difference = random.normal(size=df.shape) * (2 / n) ** 0.5
    critical = first_step(alpha, error, df, num_comparisons, correction == "dunnett")
    return np.sort((difference + critical * error).ravel())


@functools.lru_cache(maxsize=64)
def _detectable_two_way(
    n: int, num_arms: int, alpha: float, num_comparisons: int, correction: Correction
) -> NDArray[np.float64]:
    """The same in blocks, for differences of sd 1: what blocks and arms leave is pooled or shrunk, as in the verdict.

    Where it is shrunk, as in 1 sweep of 10 whose arms spread alike, it has fewer degrees of freedom, and the correction
    is Holm's.
    """
    random = np.random.default_rng(0)
    squares_SA = np.zeros((SIMULATED_ARMS // num_arms, num_arms))
    for _ in range(n - 1):  # independent contrasts of the blocks, each without its mean over the arms
        contrast_SA = random.normal(size=squares_SA.shape) * 0.5**0.5
        squares_SA += np.square(contrast_SA - contrast_SA.mean(-1, keepdims=True))
    df = (n - 1) * (num_arms - 1) / num_arms  # of an arm, see `TwoWayLayout`
    variance_SA = squares_SA / df
    shrunk_SA, df_SA = SharedVariance.over(variance_SA, df).shrunk(variance_SA, df)
    mean_SA = random.normal(size=squares_SA.shape) * (0.5 / n) ** 0.5
    error_SC = np.sqrt((shrunk_SA[:, 1:] + shrunk_SA[:, :1]) / n)
    df_SC = np.minimum(df_SA[:, 1:], df_SA[:, :1])
    critical_SC = first_step(alpha, error_SC, df_SC, num_comparisons, correction == "dunnett")
    return np.sort((mean_SA[:, 1:] - mean_SA[:, :1] + critical_SC * error_SC).ravel())


@functools.lru_cache(maxsize=64)
def _detectable_own(n: int, num_arms: int, level: float, paired: bool) -> NDArray[np.float64]:
    """The same for arms that borrow a degree of freedom from the sweep; in pairs, for differences of sd 1."""
    random = np.random.default_rng(0)
    arms = random.normal(size=(SIMULATED_ARMS // num_arms, num_arms, n)) * (0.5**0.5 if paired else 1.0)
    differences = arms[:, 1:] - arms[:, :1]
    samples = differences if paired else arms
    own = OwnVariance.over(samples.var(-1, ddof=1), n - 1, PAIRS_PRIOR_DF if paired else ARM_PRIOR_DF)
    variance, df = own.shrunk(samples.var(-1, ddof=1), n - 1)
    parts = variance / n
    if not paired:
        df = satterthwaite_df(parts[:, 1:], df[:, 1:], parts[:, :1], df[:, :1])
        parts = parts[:, 1:] + parts[:, :1]
    return np.sort((differences.mean(-1) - special.stdtrit(df, level) * np.sqrt(parts)).ravel())


@functools.lru_cache(maxsize=64)
def _detectable_race(looks: Looks, level: float, paired: bool) -> NDArray[np.float64]:
    """The same for a race with a look after every seed: the smallest gain at which any look is significant.

    Of one candidate against the baseline; that others may eliminate it is left out, since the best hardly ever is.
    """
    random = np.random.default_rng(0)
    arms = random.normal(size=(1 if paired else 2, SIMULATED_RACES, looks.last))
    detectable = np.full(SIMULATED_RACES, np.inf)
    for n in range(looks.first, looks.last + 1):
        parts = arms[..., :n].var(-1, ddof=1) / n
        difference = arms[0, :, :n].mean(-1) - (0.0 if paired else arms[-1, :, :n].mean(-1))
        df = n - 1 if paired else parts.sum(0) ** 2 * (n - 1) / np.square(parts).sum(0)
        shown = difference - special.stdtrit(df, level * looks.share(n)) * np.sqrt(parts.sum(0))
        detectable = np.minimum(detectable, shown)
    return np.sort(detectable)
