"""The variance between seeds of each arm of a sweep, steadied by what all arms say together.

Three seeds say little about their spread; twenty arms of three say much, as far as they spread alike:
- arms whose variances Bartlett's test cannot tell apart share one, pooled over all of them;
- else each arm's own variance is drawn toward what is typical of the sweep, the less the more the arms differ;
- an arm far noisier than all others is no evidence about them: it is left out, and stands for itself.
Works on one sweep or on thousands at once, S sweeps · A arms. What is tested with it is in `stats`; what it costs in
false verdicts and in power is counted in `docs/statistics.md`.
Source: Bartlett 1937; Smyth 2004, section 6 (moments of the log variances), with the pooled test as the limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

NOISIER = 1e-4
"""Level of the F-test by which an arm is left out: so rare that chance alone costs no power."""
UNLIKE = 0.1
"""Level of Bartlett's test below which the arms' variances are not pooled: it misses much, so it may doubt early."""
ROUNDING = 1e-12
"""A spread below this part of the numbers themselves is rounding: such runs are copies of each other."""
NEWTON_STEPS = 8


def spreads(values: Array, scale: float | None = None) -> bool:
    """Whether numbers differ by more than rounding; `scale` is the size of what they were computed from."""
    size = np.abs(values).max() if scale is None else scale
    return bool(values.max() - values.min() > ROUNDING * size)


@dataclass(frozen=True)
class SharedVariance:
    """What the arms of each sweep say together about the variance between seeds. Fields are one number per sweep."""

    pooled: Array
    """Of all arms but those far noisier than the others, weighted by degrees of freedom; NaN without any."""
    df: Array
    """Degrees of freedom of `pooled`."""
    typical: Array
    """Toward which each arm's own variance is drawn."""
    typical_df: Array
    """Degrees of freedom that `typical` counts for beside an arm's own; infinity pools."""

    @classmethod
    def over(cls, variance_SA: ArrayLike, df_A: ArrayLike) -> SharedVariance:
        """From the variance of each arm and its degrees of freedom; all above 0."""
        variance_SA = np.asarray(variance_SA, dtype=np.float64)
        df_SA = np.broadcast_to(np.asarray(df_A, dtype=np.float64), variance_SA.shape)
        weight_SA = np.where(_far_noisier(variance_SA, df_SA), 0.0, df_SA)
        df = weight_SA.sum(-1)
        pooled = (weight_SA * variance_SA).sum(-1) / df
        typical, typical_df = np.array(pooled), np.full(pooled.shape, np.inf)
        unlike = np.asarray(_bartlett_p(variance_SA, weight_SA, pooled) < UNLIKE)
        typical[unlike], typical_df[unlike] = _typical(variance_SA[unlike], df_A, weight_SA[unlike] > 0)
        return cls(pooled, df, typical, typical_df)

    @classmethod
    def of(cls, arms: Iterable[Sequence[float] | NDArray[np.floating]]) -> SharedVariance:
        """From the scores of one sweep's arms; one score, or copies of one, say nothing. Possibly from none."""
        found = [array[np.isfinite(array)] for array in (np.asarray(arm, dtype=np.float64) for arm in arms)]
        differing = [array for array in found if len(array) > 1 and spreads(array)]
        if not differing:
            return cls(np.array(np.nan), np.array(0.0), np.array(np.nan), np.array(0.0))
        return cls.over([array.var(ddof=1) for array in differing], [len(array) - 1 for array in differing])

    def steadied(self, variance_SA: ArrayLike, df_A: ArrayLike) -> tuple[Array, Array]:
        """The variance to be used for arms of these sweeps, and its degrees of freedom: at most those of the pool.

        An arm far noisier than the pool keeps its own of both.
        """
        variance_SA, df_SA = np.broadcast_arrays(np.asarray(variance_SA, np.float64), np.asarray(df_A, np.float64))
        df, pooled, typical, typical_df = (
            value[..., None] for value in (self.df, self.pooled, self.typical, self.typical_df)
        )
        weight = 1 / (1 + df_SA / typical_df)  # of the typical variance; 1 where it pools
        steady_SA = weight * typical + (1 - weight) * variance_SA
        stands_alone_SA = special.fdtrc(df_SA, df, variance_SA / pooled) < NOISIER
        steady_df_SA = np.minimum(typical_df + df_SA, df)
        return np.where(stands_alone_SA, variance_SA, steady_SA), np.where(stands_alone_SA, df_SA, steady_df_SA)


def _far_noisier(variance_SA: Array, df_SA: Array) -> NDArray[np.bool_]:
    """Arms that are noisier than all calmer ones together, with every arm that is noisier still."""
    order_SA = variance_SA.argsort(-1)
    ordered_SA, df_ordered_SA = (np.take_along_axis(array, order_SA, -1) for array in (variance_SA, df_SA))
    df_below_SA = df_ordered_SA.cumsum(-1)[..., :-1]
    below_SA = (df_ordered_SA * ordered_SA).cumsum(-1)[..., :-1] / df_below_SA
    noisier_SA = special.fdtrc(df_ordered_SA[..., 1:], df_below_SA, ordered_SA[..., 1:] / below_SA) < NOISIER
    noisier_SA[..., : variance_SA.shape[-1] // 2] = False  # the calmer half is what the others are held against
    calmest_SA = np.zeros_like(noisier_SA, shape=(*noisier_SA.shape[:-1], 1))
    beyond_SA = np.concatenate([calmest_SA, np.logical_or.accumulate(noisier_SA, -1)], -1)
    left_out_SA = np.empty_like(beyond_SA)
    np.put_along_axis(left_out_SA, order_SA, beyond_SA, -1)
    return left_out_SA


def _bartlett_p(variance_SA: Array, weight_SA: Array, pooled_S: Array) -> Array:
    """p of equal variances, of the arms with a weight; 1 for a single one."""
    kept_SA = weight_SA > 0
    num_S, df_S = kept_SA.sum(-1), weight_SA.sum(-1)
    statistic_S = df_S * np.log(pooled_S) - (weight_SA * np.log(variance_SA)).sum(-1)
    inverse_S = np.divide(1.0, weight_SA, out=np.zeros_like(weight_SA), where=kept_SA).sum(-1)
    correction_S = 1 + (inverse_S - 1 / df_S) / (3 * np.maximum(num_S - 1, 1))
    return np.where(num_S > 1, special.chdtrc(np.maximum(num_S - 1, 1), statistic_S / correction_S), 1.0)


def _typical(variance_SA: Array, df_A: ArrayLike, kept_SA: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Scale and degrees of freedom of the inverse chi-squared law that the arms' true variances would follow.

    What the logarithms of the measured variances spread beyond their own chance is the spread of the true ones.
    """
    half_A, num_S = np.asarray(df_A, dtype=np.float64) / 2, kept_SA.sum(-1)
    logs_SA = np.log(variance_SA) - special.digamma(half_A) + np.log(half_A)
    mean_S = np.where(kept_SA, logs_SA, 0.0).sum(-1) / num_S
    squares_S = np.where(kept_SA, np.square(logs_SA - mean_S[..., None]), 0.0).sum(-1)
    chance_S = np.where(kept_SA, special.polygamma(1, half_A), 0.0).sum(-1) / num_S
    excess_S = np.maximum(squares_S / np.maximum(num_S - 1, 1) - chance_S, 1e-6)  # next to none is as good as pooled
    half_S = _inverse_trigamma(excess_S)
    return np.exp(mean_S + special.digamma(half_S) - np.log(half_S)), 2 * half_S


def _inverse_trigamma(value_S: Array) -> Array:
    """Newton's method on 1 / trigamma, which is convex and nearly straight: it converges from anywhere."""
    found_S = 0.5 + 1 / value_S
    for _ in range(NEWTON_STEPS):
        trigamma_S = special.polygamma(1, found_S)
        found_S = found_S + trigamma_S * (1 - trigamma_S / value_S) / special.polygamma(2, found_S)
    return np.asarray(found_S)
