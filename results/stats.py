"""One-sided t-tests for 'better by more than a margin' and 'no worse than', on plain numbers. Lower is better.

Every difference is candidate minus baseline, so an improvement is negative, and so is its t. Numbers that carry no test
(fewer than two, no spread, not finite) raise `NoVerdict` and never become a p-value. Which rows enter, and what a
verdict means, is decided in `compare`; tests without the normal assumption are in `resampling`.
Source: challenge README, "record acceptance"; Welch 1947; Schuirmann 1987 (two one-sided tests); scipy.stats for the
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainer.spec.errors import UserError

Numbers = Sequence[float] | NDArray[np.float64]

ROUNDING = 1e-12
"""A spread below this part of the numbers themselves is rounding: such runs are copies of each other."""


LEAST_POOLED_DF = 10
"""Degrees of freedom from which a sweep's pooled variance is trusted more than the two arms' own."""
NOISIER = 0.001
"""An arm whose variance exceeds the others' at this level of the F-test is left out of the pool and judged by its own
noise: an unstable configuration is no evidence about the others. So rare a chance costs no power."""


class NoVerdict(UserError):
    """Numbers that no t-test can judge; the message says why and what would help."""


@dataclass(frozen=True)
class TTest:
    """What a one-sided t-test found, in the unit of the numbers it was given."""

    name: str
    assumption: str
    difference: float
    """Mean of candidate minus baseline; negative is better."""
    low: float
    high: float
    """Ends of the two-sided 95 % interval of `difference`; the margin does not shift it."""
    t: float
    df: float
    p: float
    """Chance of so low a t if the candidate were better by exactly the margin."""
    correlation: float | None = None
    """Between the paired arms; None when unpaired."""

    @property
    def standard_error(self) -> float:
        """Of `difference`, whatever margin was tested."""
        return (self.high - self.difference) / float(stats.t.ppf(0.975, self.df))


def paired_t(candidate: Numbers, baseline: Numbers, margin: float = 0.0) -> TTest:
    """Whether pairs (same trained artifact, two evaluations) differ by more than `margin`; pairs stand in order."""
    scores, reference = _finite(candidate, "the candidate"), _finite(baseline, "the baseline")
    if len(scores) != len(reference):
        raise ValueError(f"{len(scores)} scores cannot be paired with {len(reference)}")
    _demand_spread(scores - reference, scores, "the differences between the pairs")
    one_sided = stats.ttest_rel(scores, reference - margin, alternative="less")
    assumption = "differences between pairs are normal and independent; pairs share the trained artifact"
    constant = min(np.ptp(scores), np.ptp(reference)) == 0
    correlation = None if constant else float(np.corrcoef(scores, reference)[0, 1])
    return _found("paired t-test", assumption, one_sided, stats.ttest_rel(scores, reference), correlation)


def welch_t(candidate: Numbers, baseline: Numbers, margin: float = 0.0) -> TTest:
    """Whether the mean of independently trained runs is lower by more than `margin`; variances may differ."""
    scores, reference = _finite(candidate, "the candidate"), _finite(baseline, "the baseline")
    _demand_spread(scores, scores, "the candidate's scores")
    _demand_spread(reference, reference, "the baseline's scores")
    one_sided = stats.ttest_ind(scores, reference - margin, equal_var=False, alternative="less")
    assumption = "scores of each arm are normal; every run was trained independently"
    return _found("Welch's t-test", assumption, one_sided, stats.ttest_ind(scores, reference, equal_var=False))


@dataclass(frozen=True)
class PooledVariance:
    """The variance between seeds that all arms of a sweep are taken to share."""

    variance: float
    df: int

    @classmethod
    def of(cls, arms: Iterable[Numbers]) -> PooledVariance:
        """From every arm with at least two finite scores that is not noisier than the others; possibly from none."""
        finite = [array[np.isfinite(array)] for array in (np.asarray(arm, dtype=np.float64) for arm in arms)]
        pool = sorted((array for array in finite if len(array) > 1), key=np.var)
        while len(pool) > 1 and cls._over(pool[:-1])._is_exceeded_by(pool[-1]):
            pool.pop()
        return cls._over(pool)

    @classmethod
    def _over(cls, arms: Sequence[NDArray[np.float64]]) -> PooledVariance:
        df = sum(len(array) - 1 for array in arms)
        squares = sum(float(np.square(array - array.mean()).sum()) for array in arms)
        return cls(squares / df if df else math.nan, df)

    def _is_exceeded_by(self, arm: Numbers) -> bool:
        if len(arm) < 2 or not self.variance > 0:
            return False
        return bool(stats.f.sf(np.var(arm, ddof=1) / self.variance, len(arm) - 1, self.df) < NOISIER)

    def fits(self, *arms: Numbers) -> bool:
        """Whether there are degrees of freedom enough and none of these arms is noisier than the pool."""
        enough = self.df >= LEAST_POOLED_DF and self.variance > 0
        return enough and not any(self._is_exceeded_by(arm) for arm in arms)


def pooled_t(candidate: Numbers, baseline: Numbers, pooled: PooledVariance, margin: float = 0.0) -> TTest:
    """Whether the mean is lower by more than `margin`, with the spread between seeds taken from the whole sweep.

    Three seeds an arm say little about their spread; twenty arms of three say much. Either arm may be a single run.
    """
    scores, reference = _finite(candidate, "the candidate"), _finite(baseline, "the baseline")
    if not len(scores) or not len(reference):
        raise NoVerdict("an arm has no score at all; run it first")
    if pooled.df < 1 or not math.sqrt(pooled.variance) > ROUNDING * np.abs(scores).max():
        raise NoVerdict("the sweep's runs are all the same, so chance cannot be judged; use other seeds")
    difference = float(scores.mean() - reference.mean())
    error = math.sqrt(pooled.variance * (1 / len(scores) + 1 / len(reference)))
    t = (difference + margin) / error
    half = float(stats.t.ppf(0.975, pooled.df)) * error
    p = float(stats.t.cdf(t, pooled.df))
    return TTest(
        "t-test with pooled variance",
        f"scores are normal with the spread that all arms of the sweep share ({pooled.df} degrees of freedom)",
        difference,
        difference - half,
        difference + half,
        t,
        pooled.df,
        p,
    )


def no_worse_p(found: TTest, margin: float) -> float:
    """p of 'no worse than the baseline by `margin`': small when a loss that large can be excluded."""
    return float(stats.t.cdf((found.difference - margin) / found.standard_error, found.df))


def equivalence_p(found: TTest, margin: float) -> float:
    """p of 'equal to the baseline within `margin`', the larger of two one-sided tests (TOST)."""
    not_better = float(stats.t.sf((found.difference + margin) / found.standard_error, found.df))
    return max(no_worse_p(found, margin), not_better)


def one_sample_t(candidate: Numbers, baseline_mean: float, margin: float = 0.0) -> TTest:
    """Whether the mean is lower than a published number by more than `margin`: the challenge's own test."""
    scores = _finite(candidate, "the candidate")
    _finite([baseline_mean], "the baseline")
    _demand_spread(scores, scores, "the candidate's scores")
    one_sided = stats.ttest_1samp(scores, baseline_mean - margin, alternative="less")
    assumption = "scores are normal and independent; the baseline's mean is taken as exact"
    return _found(
        "one-sample t-test", assumption, one_sided, stats.ttest_1samp(scores, baseline_mean), None, baseline_mean
    )


def _found(
    name: str, assumption: str, one_sided: Any, two_sided: Any, correlation: float | None = None, shift: float = 0.0
) -> TTest:
    """shift: what scipy's interval has yet to be measured from"""
    interval = two_sided.confidence_interval(0.95)
    low, high = float(interval.low) - shift, float(interval.high) - shift
    t, df, p = float(one_sided.statistic), float(one_sided.df), float(one_sided.pvalue)
    return TTest(name, assumption, (low + high) / 2, low, high, t, df, p, correlation)


def _finite(numbers: Numbers, whose: str) -> NDArray[np.float64]:
    array = np.asarray(numbers, dtype=np.float64)
    if not np.isfinite(array).all():
        raise NoVerdict(f"{whose} has scores that are not finite numbers; look at its runs")
    return array


def _demand_spread(values: NDArray[np.float64], scale: NDArray[np.float64], what: str) -> None:
    if len(values) < 2:
        found = "is only 1" if len(values) == 1 else "are none"
        raise NoVerdict(f"there {found} of {what}, and a spread needs at least 2; run more seeds")
    if np.ptp(values) <= ROUNDING * np.abs(scale).max():
        raise NoVerdict(f"{what} are all the same ({len(values)} of them), so chance cannot be judged; use other seeds")
