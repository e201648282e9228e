"""Variance shrinkage: the variance between seeds of each arm of a sweep, estimated with the help of all its arms.

An arm is the scores of one configuration. Three seeds estimate a variance badly; twenty arms of three seeds do it well
if their variances are alike:
- if Bartlett's test does not reject equal variances, the arms share one variance, pooled over all of them;
- otherwise each arm's own variance is shrunk toward a prior variance that is estimated from all arms (empirical Bayes),
  the less the more the arms' variances differ;
- an arm that is far noisier than the others is excluded from both estimates and keeps its own variance.
Works on one sweep or on thousands at once, S sweeps · A arms. `t_tests` has the moderated t-test that uses it;
docs/statistics.md has its error rates and power.
Source: Smyth 2004, "Linear models and empirical Bayes methods", section 6 (moments of the log variances); Bartlett
1937. Pooling is the limit of infinite prior degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.stats.late import special

Array = NDArray[np.float64]

NOISIER = 1e-4
"""Level of the F-test by which an arm is excluded: so low that hardly an arm is excluded by chance."""
UNLIKE = 0.1
"""Level of Bartlett's test below which variances are not pooled: high, since the test has little power."""
LEAST_POOLED_DF = 10
"""Degrees of freedom from which a sweep's arms say more about a variance than two arms do."""
ROUNDING = 1e-12
"""Relative differences below this are rounding: such runs are copies of each other."""
NEWTON_STEPS = 8


def spreads(values: Array, scale: float | None = None) -> bool:
    """Whether numbers differ by more than rounding, relative to `scale`, by default their own largest magnitude."""
    size = np.abs(values).max() if scale is None else scale
    return bool(values.max() - values.min() > ROUNDING * size)


@dataclass(frozen=True)
class SharedVariance:
    """Estimates from all arms of a sweep of the variance between seeds. Each field has one number per sweep."""

    pooled: Array
    """Mean variance of all arms that are not excluded, weighted by degrees of freedom; NaN without any."""
    df: Array
    """Degrees of freedom of `pooled`."""
    prior: Array
    """The prior variance, toward which each arm's own variance is shrunk."""
    prior_df: Array
    """Degrees of freedom of the prior; infinity pools."""

    @classmethod
    def over(cls, variance_SA: ArrayLike, df_A: ArrayLike) -> SharedVariance:
        """Estimates from the variance of each arm and its degrees of freedom, all above 0."""
        variance_SA = np.asarray(variance_SA, dtype=np.float64)
        weight_SA, pooled, df = _pooled(variance_SA, df_A)
        prior, prior_df = np.array(pooled), np.full(pooled.shape, np.inf)
        unlike = np.asarray(_bartlett_p(variance_SA, weight_SA, pooled) < UNLIKE)
        if unlike.any():
            prior[unlike], prior_df[unlike] = _prior(variance_SA[unlike], df_A, weight_SA[unlike] > 0)
        return cls(pooled, df, prior, prior_df)

    @classmethod
    def of(cls, arms: Iterable[Sequence[float] | NDArray[np.floating]]) -> SharedVariance:
        """Estimates from the scores of one sweep's arms. Arms without two different finite scores are skipped."""
        variances, dfs = _variances(arms)
        if not variances:
            return cls(np.array(np.nan), np.array(0.0), np.array(np.nan), np.array(0.0))
        return cls.over(variances, dfs)

    def shrunk(self, variance_SA: ArrayLike, df_A: ArrayLike) -> tuple[Array, Array]:
        """Shrunk variance of each arm and its degrees of freedom, which are at most those of the pooled variance.

        An arm that is far noisier than the pooled variance keeps its own variance and degrees of freedom.
        """
        variance_SA, df_SA = np.broadcast_arrays(np.asarray(variance_SA, np.float64), np.asarray(df_A, np.float64))
        df, pooled, prior, prior_df = (value[..., None] for value in (self.df, self.pooled, self.prior, self.prior_df))
        weight = 1 / (1 + df_SA / prior_df)  # of the prior variance; 1 where it pools
        shrunk_SA = weight * prior + (1 - weight) * variance_SA
        excluded_SA = special.fdtrc(df_SA, df, variance_SA / pooled) < NOISIER
        shrunk_df_SA = np.minimum(prior_df + df_SA, df)
        return np.where(excluded_SA, variance_SA, shrunk_SA), np.where(excluded_SA, df_SA, shrunk_df_SA)


def pooled_variance(arms: Iterable[Sequence[float] | NDArray[np.floating]]) -> tuple[float, float]:
    """`SharedVariance.of(arms).pooled` and its `df`, without the work for the prior; NaN and 0 without any."""
    variances, dfs = _variances(arms)
    if not variances:
        return np.nan, 0.0
    _, pooled, df = _pooled(np.asarray(variances, dtype=np.float64), dfs)
    return float(pooled), float(df)


def _variances(arms: Iterable[Sequence[float] | NDArray[np.floating]]) -> tuple[list[float], list[int]]:
    """Of each arm with two different finite scores, with its degrees of freedom."""
    finite = [array[np.isfinite(array)] for array in (np.asarray(arm, dtype=np.float64) for arm in arms)]
    differing = [array for array in finite if len(array) > 1 and spreads(array)]
    return [array.var(ddof=1) for array in differing], [len(array) - 1 for array in differing]


def _pooled(variance_SA: Array, df_A: ArrayLike) -> tuple[Array, Array, Array]:
    """What each arm counts for, the mean variance of those that are not excluded, and its degrees of freedom."""
    df_SA = np.broadcast_to(np.asarray(df_A, dtype=np.float64), variance_SA.shape)
    weight_SA = np.where(_far_noisier(variance_SA, df_SA), 0.0, df_SA)
    df = weight_SA.sum(-1)
    return weight_SA, (weight_SA * variance_SA).sum(-1) / df, df


@dataclass(frozen=True)
class TwoWayLayout:
    """Arms that ran in the same blocks: what a block adds to all of them, and the variance of what is left."""

    block_n: Array
    """What each block adds, as the mean over the arms; sums to 0."""
    num_arms: int
    shared: SharedVariance

    @classmethod
    def of(cls, scores_An: ArrayLike) -> TwoWayLayout:
        """From the scores of one sweep's arms, blocks in one order. Source: Fisher 1935, randomised blocks."""
        table_An = np.asarray(scores_An, dtype=np.float64)
        num_arms = len(table_An)
        layout = cls(table_An.mean(0) - table_An.mean(), num_arms, SharedVariance.of([]))
        residuals = [left_n for left_n in map(layout.residuals, table_An) if num_arms > 1 and spreads(left_n, 1.0)]
        if not residuals:
            return layout
        df = np.full(len(residuals), layout.df_of_an_arm)
        return replace(layout, shared=SharedVariance.over([left_n.var(ddof=1) for left_n in residuals], df))

    @property
    def df_of_an_arm(self) -> float:
        """An arm's part of the degrees of freedom that blocks and arms leave."""
        return (len(self.block_n) - 1) * (self.num_arms - 1) / self.num_arms

    def residuals(self, scores_n: ArrayLike) -> Array:
        """What arm and blocks leave of an arm's scores, scaled so that its variance is that of the arm."""
        scores_n = np.asarray(scores_n, dtype=np.float64)
        return (scores_n - scores_n.mean() - self.block_n) * (self.num_arms / max(self.num_arms - 1, 1)) ** 0.5


def _far_noisier(variance_SA: Array, df_SA: Array) -> NDArray[np.bool_]:
    """Whether each arm, or one of smaller variance, is far noisier than all arms of smaller variance (F-test)."""
    order_SA = variance_SA.argsort(-1)
    ordered_SA, df_ordered_SA = (np.take_along_axis(array, order_SA, -1) for array in (variance_SA, df_SA))
    df_below_SA = df_ordered_SA.cumsum(-1)[..., :-1]
    below_SA = (df_ordered_SA * ordered_SA).cumsum(-1)[..., :-1] / df_below_SA
    noisier_SA = special.fdtrc(df_ordered_SA[..., 1:], df_below_SA, ordered_SA[..., 1:] / below_SA) < NOISIER
    noisier_SA[..., : variance_SA.shape[-1] // 2] = False  # the half with smaller variances is the reference
    smallest_SA = np.zeros_like(noisier_SA, shape=(*noisier_SA.shape[:-1], 1))
    beyond_SA = np.concatenate([smallest_SA, np.logical_or.accumulate(noisier_SA, -1)], -1)
    left_out_SA = np.empty_like(beyond_SA)
    np.put_along_axis(left_out_SA, order_SA, beyond_SA, -1)
    return left_out_SA


def _bartlett_p(variance_SA: Array, weight_SA: Array, pooled_S: Array) -> Array:
    """p-value of equal variances (Bartlett's test) of the arms with a weight; 1 for a single arm."""
    kept_SA = weight_SA > 0
    num_S, df_S = kept_SA.sum(-1), weight_SA.sum(-1)
    statistic_S = df_S * np.log(pooled_S) - (weight_SA * np.log(variance_SA)).sum(-1)
    inverse_S = np.divide(1.0, weight_SA, out=np.zeros_like(weight_SA), where=kept_SA).sum(-1)
    correction_S = 1 + (inverse_S - 1 / df_S) / (3 * np.maximum(num_S - 1, 1))
    return np.where(num_S > 1, special.chdtrc(np.maximum(num_S - 1, 1), statistic_S / correction_S), 1.0)


def _prior(variance_SA: Array, df_A: ArrayLike, kept_SA: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Prior variance and degrees of freedom: of the scaled inverse chi-squared distribution of the true variances.

    The variance of the log sample variances, less their sampling variance, is that of the log true variances.
    """
    half_A, num_S = np.asarray(df_A, dtype=np.float64) / 2, kept_SA.sum(-1)
    logs_SA = np.log(variance_SA) - special.digamma(half_A) + np.log(half_A)
    mean_S = np.where(kept_SA, logs_SA, 0.0).sum(-1) / num_S
    squares_S = np.where(kept_SA, np.square(logs_SA - mean_S[..., None]), 0.0).sum(-1)
    chance_S = np.where(kept_SA, special.polygamma(1, half_A), 0.0).sum(-1) / num_S
    excess_S = np.maximum(squares_S / np.maximum(num_S - 1, 1) - chance_S, 1e-6)  # a tiny excess is as good as pooled
    half_S = _inverse_trigamma(excess_S)
    return np.exp(mean_S + special.digamma(half_S) - np.log(half_S)), 2 * half_S


def _inverse_trigamma(value_S: Array) -> Array:
    """Newton's method on 1 / trigamma, which is convex and nearly straight: it converges from anywhere."""
    root_S = 0.5 + 1 / value_S
    for _ in range(NEWTON_STEPS):
        trigamma_S = special.polygamma(1, root_S)
        root_S = root_S + trigamma_S * (1 - trigamma_S / value_S) / special.polygamma(2, root_S)
    return np.asarray(root_S)
