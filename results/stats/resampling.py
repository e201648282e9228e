"""A test and an interval without the normal assumption, refused for samples that are too small for them.

The sign-flip test is exact but coarse: n pairs have 2^n sign patterns, so no p-value is below 1/2^n. Bootstrap
intervals of fewer than ten runs cover the mean far less often than their level says.
Source: Fisher 1935; Efron 1987 (BCa); scipy.stats for the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from results.stats.t_tests import NoVerdict

Numbers = Sequence[float] | NDArray[np.float64]

LEAST_BOOTSTRAP_N = 10
RESAMPLES = 9_999
MOST_EXACT_N = 20
"""Pairs up to which all sign patterns are enumerated."""


def least_n_for_sign_flips(alpha: float) -> int:
    """Smallest number of pairs for which the sign-flip test can give p < alpha: 7 for 0.01."""
    return math.floor(math.log2(1 / alpha)) + 1


def sign_flip_p(differences: Numbers, margin: float = 0.0, alpha: float = 0.01) -> float:
    """Exact one-sided p-value of 'the differences are below -margin', by flipping their signs; lower is better.

    Assumes only that differences are symmetric about -margin under the null hypothesis.
    Raises NoVerdict for too few pairs to reach `alpha`, and for more than MOST_EXACT_N pairs.
    """
    shifted = np.asarray(differences, dtype=np.float64) + margin
    least = least_n_for_sign_flips(alpha)
    if not np.isfinite(shifted).all():
        raise NoVerdict("some differences are not finite numbers; look at the runs")
    if len(shifted) < least:
        raise NoVerdict(
            f"{len(shifted)} pairs have {2 ** len(shifted)} sign patterns, so p cannot fall below alpha = {alpha:g}; "
            f"at least {least} pairs are needed"
        )
    if len(shifted) > MOST_EXACT_N:
        raise NoVerdict(f"{len(shifted)} pairs have too many sign patterns to count them all; use the t-test")
    sums = np.zeros(1)
    for magnitude in np.abs(shifted):
        sums = np.concatenate([sums - magnitude, sums + magnitude])
    rounding = 1e-12 * np.abs(shifted).sum()
    return float(np.mean(sums <= shifted.sum() + rounding))


def bootstrap_interval(values: Numbers, baseline: Numbers | None = None) -> tuple[float, float]:
    """95 % BCa bootstrap interval of the mean, or of the difference to the baseline's; the order does not matter.

    Raises NoVerdict below LEAST_BOOTSTRAP_N values an arm: with n = 3 the interval covers the mean in 75 % of cases.
    """
    arms = [np.sort(np.asarray(arm, dtype=np.float64)) for arm in (values, baseline) if arm is not None]
    for array in arms:
        if not np.isfinite(array).all():
            raise NoVerdict("some scores are not finite numbers; look at the runs")
        if len(array) < LEAST_BOOTSTRAP_N:
            raise NoVerdict(
                f"a bootstrap interval of {len(array)} runs is unreliable; at least {LEAST_BOOTSTRAP_N} are needed"
            )
        if np.ptp(array) == 0:
            raise NoVerdict(
                "the scores are all the same, so there is no variance to test with; does a run use its seed?"
            )
    statistic = np.mean if len(arms) == 1 else _difference_of_means
    from scipy import stats  # late: slow to import, and only a verdict in full prints this interval

    result = stats.bootstrap(arms, statistic, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _difference_of_means(values: NDArray[np.float64], baseline: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=axis) - baseline.mean(axis=axis))
