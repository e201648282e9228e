"""Tests and intervals that need no normal distribution, offered only where they mean something.

Sign flips are exact but coarse: n pairs have 2^n sign patterns, so no p-value is below 1/2^n. The bootstrap needs a
sample that stands for its distribution; below ten runs its intervals cover far less than they claim, so it is refused.
Source: Fisher 1935; Efron 1987 (BCa); scipy.stats for the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from results.stats.t_tests import NoVerdict

Numbers = Sequence[float] | NDArray[np.float64]

LEAST_BOOTSTRAP_N = 10
RESAMPLES = 9_999
MOST_EXACT_N = 20
"""Up to here every sign pattern is counted."""


def least_n_for_sign_flips(alpha: float) -> int:
    """Pairs from which the sign-flip test can reach p < alpha at all: 7 for 0.01."""
    return math.floor(math.log2(1 / alpha)) + 1


def sign_flip_p(differences: Numbers, margin: float = 0.0, alpha: float = 0.01) -> float:
    """Exact one-sided p of 'the differences lie below -margin', by flipping the sign of each; lower is better.

    Assumes only that each difference is as likely above as below the null, by symmetry.
    Raises NoVerdict where even the best outcome could not reach `alpha`, or where counting all patterns is too much.
    """
    shifted = np.asarray(differences, dtype=np.float64) + margin
    least = least_n_for_sign_flips(alpha)
    if not np.isfinite(shifted).all():
        raise NoVerdict("some differences are not finite numbers; look at the runs")
    if len(shifted) < least:
        raise NoVerdict(
            f"{len(shifted)} pairs have {2 ** len(shifted)} sign patterns, so p cannot fall below alpha = {alpha:g}; "
            f"it takes {least} pairs"
        )
    if len(shifted) > MOST_EXACT_N:
        raise NoVerdict(f"{len(shifted)} pairs have too many sign patterns to count them all; use the t-test")
    sums = np.zeros(1)
    for magnitude in np.abs(shifted):
        sums = np.concatenate([sums - magnitude, sums + magnitude])
    rounding = 1e-12 * np.abs(shifted).sum()
    return float(np.mean(sums <= shifted.sum() + rounding))


def bootstrap_interval(values: Numbers, baseline: Numbers | None = None) -> tuple[float, float]:
    """95 % BCa interval of the mean, or of its difference to the baseline's; the same for any order of the numbers.

    Raises NoVerdict below ten values an arm: with n = 3 such intervals hold the mean in three cases of four.
    """
    arms = [np.sort(np.asarray(arm, dtype=np.float64)) for arm in (values, baseline) if arm is not None]
    for array in arms:
        if not np.isfinite(array).all():
            raise NoVerdict("some scores are not finite numbers; look at the runs")
        if len(array) < LEAST_BOOTSTRAP_N:
            raise NoVerdict(f"a bootstrap of {len(array)} runs promises too much; it takes {LEAST_BOOTSTRAP_N}")
        if np.ptp(array) == 0:
            raise NoVerdict("the scores are all the same, so chance cannot be judged; use other seeds")
    statistic = np.mean if len(arms) == 1 else _difference_of_means
    found = stats.bootstrap(arms, statistic, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _difference_of_means(values: NDArray[np.float64], baseline: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=axis) - baseline.mean(axis=axis))
