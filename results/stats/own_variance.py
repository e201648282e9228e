"""Each arm's own variance between seeds, with at most one degree of freedom borrowed from its sweep per comparison.

Three seeds say little about their spread, and a spread that came out small by chance makes a false 'better'. What is
typical of the sweep is added to each arm's own variance with the weight of half a degree of freedom (to the variance of
paired differences with that of one), so a lucky small spread counts less, and an arm that is truly noisier keeps nearly
all of its own. The weight is fixed in advance: estimated from the data, as in `shared_variance`, it grows where arms
look alike by chance, and then one noisy arm errs in 5 to 20 % of sweeps at alpha = 0.01.
Works on one sweep or on thousands at once, S sweeps · A arms. Counted in `docs/statistics.md`.
Source: Smyth 2004 (a variance shrunk by prior degrees of freedom, here fixed and small: a prior with heavy tails);
Phipson et al. 2016 (arms far noisier than the others need such tails).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.stats.late import special
from results.stats.shared_variance import LEAST_POOLED_DF, spreads

Array = NDArray[np.float64]

ARM_PRIOR_DF = 0.5
"""Degrees of freedom that the typical variance counts for beside an arm's own; two arms make a comparison."""
PAIRS_PRIOR_DF = 1.0
"""The same beside the variance of the differences between pairs, of which a comparison has one."""
WHOLE_PRIOR_FROM_DF = 2
"""Degrees of freedom of an arm from which the whole prior counts: two seeds borrow half of it."""
LEAST_ARMS = 5
"""Arms, or candidates with paired differences, from which a sweep has a typical variance."""


@dataclass(frozen=True)
class OwnVariance:
    """The variance that is typical of each sweep, and what it counts for. One number per sweep."""

    prior: Array
    prior_df: float
    """0 where a sweep has too few arms: then each arm's own variance is all there is."""

    @classmethod
    def over(cls, variance_SA: ArrayLike, df_A: ArrayLike, prior_df: float) -> OwnVariance:
        """From the variance of each arm (or of each candidate's differences) and its degrees of freedom; all above 0.

        Typical is the mean of the standard deviations, each corrected for its bias, then squared: where many arms are
        far noisier than the rest it follows them, so that one of them whose spread came out small is not believed.
        """
        variance_SA = np.asarray(variance_SA, dtype=np.float64)
        half_SA = np.broadcast_to(np.asarray(df_A, dtype=np.float64), variance_SA.shape) / 2
        if variance_SA.shape[-1] < LEAST_ARMS or 2 * half_SA.sum(-1).min() < LEAST_POOLED_DF:
            return NOTHING_BORROWED
        bias_SA = np.exp(special.gammaln(half_SA + 0.5) - special.gammaln(half_SA)) / np.sqrt(half_SA)
        return cls(np.square((np.sqrt(variance_SA) / bias_SA).mean(-1)), prior_df)

    @classmethod
    def of(cls, samples: Iterable[Sequence[float] | Array], prior_df: float) -> OwnVariance:
        """From the scores of one sweep's arms, or the differences of its pairs; copies of one number are left out."""
        finite = [array[np.isfinite(array)] for array in (np.asarray(one, dtype=np.float64) for one in samples)]
        differing = [array for array in finite if len(array) > 1 and spreads(array)]
        if not differing:
            return NOTHING_BORROWED
        return cls.over([array.var(ddof=1) for array in differing], [len(array) - 1 for array in differing], prior_df)

    def shrunk(self, variance_SA: ArrayLike, df_A: ArrayLike) -> tuple[Array, Array]:
        """The variance to be used for arms of these sweeps, and its degrees of freedom."""
        variance_SA, df_SA = np.broadcast_arrays(np.asarray(variance_SA, np.float64), np.asarray(df_A, np.float64))
        if not self.prior_df:
            return variance_SA, df_SA
        prior_SA = self.prior_df * np.minimum(1.0, df_SA / WHOLE_PRIOR_FROM_DF)
        total_SA = prior_SA + df_SA
        return (prior_SA * self.prior[..., None] + df_SA * variance_SA) / total_SA, total_SA


NOTHING_BORROWED = OwnVariance(np.array(np.nan), 0.0)
"""Of arms that stand alone: the tests are then Welch's and the plain paired t-test."""


def satterthwaite_df(one: ArrayLike, one_df: ArrayLike, other: ArrayLike, other_df: ArrayLike) -> Array:
    """Degrees of freedom of the sum of two variances of means. Source: Satterthwaite 1946; Welch 1947."""
    a, a_df, b, b_df = (np.asarray(number, np.float64) for number in (one, one_df, other, other_df))
    return np.asarray((a + b) ** 2 / (a**2 / a_df + b**2 / b_df))
