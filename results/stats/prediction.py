"""What new runs will score: does a rerun agree with what was published, and does a new run of one beat one of another?

A mean of few runs has an error of its own, and so has a new run: a prediction interval holds both. Assumes normal
scores and that new runs are made like the old ones. Source: Hahn and Meeker 1991, "Statistical Intervals", chapter 4;
Satterthwaite 1946 (degrees of freedom of a sum of variances); Bouthillier et al. 2021 (probability of outperforming).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.stats.late import special
from results.stats.own_variance import satterthwaite_df
from results.stats.shared_variance import spreads
from results.stats.t_tests import NoVerdict

Numbers = Sequence[float] | NDArray[np.floating]


@dataclass(frozen=True)
class Summary:
    """What is published of an arm where its runs are not: mean, standard deviation (n - 1) and number of runs."""

    mean: float
    sd: float
    n: int

    def __post_init__(self) -> None:
        if self.n < 2 or not self.sd > 0 or not math.isfinite(self.mean + self.sd):
            raise NoVerdict(
                f"mean {self.mean:g}, sd {self.sd:g} of {self.n} runs cannot be tested: a spread needs at least 2 runs "
                "and an sd above 0"
            )

    @classmethod
    def of(cls, scores: Numbers) -> Summary:
        """Of runs that are known one by one. Raises NoVerdict where they have no spread."""
        array = np.asarray(scores, dtype=np.float64)
        if len(array) < 2 or not spreads(array):
            raise NoVerdict(f"{len(array)} runs show no spread, which needs at least 2 different scores")
        return cls(float(array.mean()), float(array.std(ddof=1)), len(array))

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)


@dataclass(frozen=True)
class Prediction:
    """Where the mean of so many new runs should lie, and whether the one that was seen does."""

    published: Summary
    rerun_mean: float
    rerun_n: int
    low: float
    high: float
    """Ends of the 95 % prediction interval."""
    t: float
    """Rerun minus published, in standard errors of a prediction."""
    df: float
    p: float
    """Two-sided."""


def prediction(published: Summary, rerun: Numbers) -> Prediction:
    """Whether reruns agree with a published mean: both its error and their own spread are counted."""
    scores = np.asarray(rerun, dtype=np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise NoVerdict("a rerun needs at least one finite score")
    error = published.sd * math.sqrt(1 / published.n + 1 / len(scores))
    df, half = published.n - 1, float(special.stdtrit(published.n - 1, 0.975)) * error
    t = (float(scores.mean()) - published.mean) / error
    p = 2 * float(special.stdtr(df, -abs(t)))
    low, high = published.mean - half, published.mean + half
    return Prediction(published, float(scores.mean()), len(scores), low, high, t, df, p)


@dataclass(frozen=True)
class SummaryTest:
    """Welch's one-sided test of two summaries; lower is better."""

    difference: float
    t: float
    df: float
    p: float


def welch_of_summaries(candidate: Summary, baseline: Summary, margin: float = 0.0) -> SummaryTest:
    """As `t_tests.welch_t`, for arms of which only mean, sd and n are known."""
    parts = candidate.error**2, baseline.error**2
    df = float(satterthwaite_df(parts[0], candidate.n - 1, parts[1], baseline.n - 1))
    difference = candidate.mean - baseline.mean
    t = (difference + margin) / math.sqrt(sum(parts))
    return SummaryTest(difference, t, df, float(special.stdtr(df, t)))


def p_new_run_better(candidate: Numbers, baseline: Numbers | float) -> float | None:
    """Probability that one new run of the candidate scores lower than one new run of the baseline, seeds drawn apart.

    baseline:  its scores, or one number that is taken as exact
    None where a spread is not known: fewer than two different scores.
    """
    try:
        ours = Summary.of(candidate)
        theirs = None if isinstance(baseline, float) else Summary.of(baseline)
    except NoVerdict:
        return None
    if theirs is None:
        assert isinstance(baseline, float)
        return float(special.stdtr(ours.n - 1, (baseline - ours.mean) / (ours.sd * math.sqrt(1 + 1 / ours.n))))
    parts = [arm.sd**2 * (1 + 1 / arm.n) for arm in (ours, theirs)]
    df = float(satterthwaite_df(parts[0], ours.n - 1, parts[1], theirs.n - 1))
    return float(special.stdtr(df, (theirs.mean - ours.mean) / math.sqrt(sum(parts))))
