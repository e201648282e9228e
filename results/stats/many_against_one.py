"""Many configurations against one baseline: corrected p-values, and intervals that say the same as the verdicts.

The decision steps down: p-values in ascending order, each against the critical value for as many comparisons as are
left, until one fails (Holm 1979 by Bonferroni; with one variance for all arms and equal n by Dunnett's distribution,
which knows that all differences share the baseline). The interval of a comparison has the critical value of its own
step, and of one that failed that of the step where it ended, so it lies beyond the margin exactly where the verdict is
'better'. The lower bounds of all gains together hold with probability 1 - alpha: of one that failed the lower end of
its interval; of one that is better the margin, or where all are better, what a single step shows.
Source: Holm 1979; Dunnett 1955; Strassburger and Bretz 2008 and Guilbaud 2008 (bounds that go with a step-down test).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.stats.late import special
from results.stats.roots import root

Array = NDArray[np.float64]
Correction = Literal["holm", "dunnett", "none"]
NEGLIGIBLE = 40.0
"""Natural logarithms below a density's peak, from which on it is left out."""


@dataclass(frozen=True)
class Decision:
    """One comparison of a family."""

    p_corrected: float
    better: bool
    critical: float
    """Standard errors from the difference to either end of its interval."""
    single_step: float | None
    """The same for the lower bound of its gain; None where the bound is the margin itself."""


def decide(
    p_values: ArrayLike, dfs: ArrayLike, alpha: float, correction: Correction = "holm", family: int = 0
) -> list[Decision]:
    """The decision on each comparison.

    p_values:  one-sided, of 'better by more than the margin'
    family:    comparisons altogether; those without a p-value count as failed
    """
    p, df = np.asarray(p_values, np.float64), np.asarray(dfs, np.float64)
    num = max(family, len(p))
    order = np.argsort(p, kind="stable")
    left = np.full(len(p), 1) if correction == "none" else np.arange(num, num - len(p), -1)
    ordered = [_p_among(float(p[i]), float(df[i]), int(n), correction) for i, n in zip(order, left, strict=True)]
    corrected = np.empty(len(p))
    corrected[order] = ordered if correction == "none" else np.maximum.accumulate([0.0, *ordered])[1:]
    num_better = int((corrected < alpha).sum())
    decisions: list[Decision] = [None] * len(p)  # type: ignore[list-item]
    for place, i in enumerate(order):
        better = bool(corrected[i] < alpha)
        step = 1 if correction == "none" else num - (place if better else num_better)
        critical = critical_value(alpha, float(df[i]), step, correction)
        bound: float | None = critical
        if better and correction != "none":
            bound = critical_value(alpha, float(df[i]), num, correction) if num_better == num else None
        decisions[i] = Decision(float(corrected[i]), better, critical, bound)
    return decisions


def _p_among(p: float, df: float, num: int, correction: Correction) -> float:
    if correction != "dunnett" or num == 1:
        return min(1.0, p * num)
    return dunnett_p(-float(special.stdtrit(df, p)), df, num)


def critical_value(alpha: float, df: float, num: int, correction: Correction = "holm") -> float:
    """Standard errors beyond the margin that are significant at alpha among `num` comparisons."""
    if correction == "dunnett" and num > 1:
        return _dunnett_critical(alpha, df, num)
    return -float(special.stdtrit(df, alpha / num))


def is_dunnetts_case(errors_SC: ArrayLike, dfs_SC: ArrayLike) -> NDArray[np.bool_]:
    """Whether all comparisons of a sweep have one standard error and its degrees of freedom, by sweep.

    So it is where one variance is pooled over all arms and n is equal, and where a baseline far noisier than the others
    keeps its own, which only correlates the comparisons more.
    Where shrinkage keeps variances apart, or one comparison stands alone, Holm's correction holds.
    """
    errors, dfs = np.atleast_1d(np.asarray(errors_SC, np.float64)), np.atleast_1d(np.asarray(dfs_SC, np.float64))
    if errors.shape[-1] < 2:
        return np.zeros(errors.shape[:-1], dtype=bool)
    alike = np.isclose(errors, errors[..., :1], rtol=1e-9, atol=0.0).all(-1)
    return np.asarray(alike & (dfs == dfs[..., :1]).all(-1))


def first_step(alpha: float, errors_SC: ArrayLike, dfs_SC: ArrayLike, num: int, dunnett: bool = False) -> Array:
    """Critical values of the best of each of many sweeps, by comparison.

    dunnett:  whether Dunnett's distribution may be used, as `is_dunnetts_case` allows; else Holm's correction
    """
    dfs = np.asarray(dfs_SC, np.float64)
    critical = np.asarray(-special.stdtrit(dfs, alpha / num))
    if dunnett:
        case_S = is_dunnetts_case(errors_SC, dfs)
        values, places = np.unique(dfs[case_S, 0], return_inverse=True)
        by_df = np.array([critical_value(alpha, float(df), num, "dunnett") for df in values])
        critical[case_S] = by_df[places][:, None] if len(values) else critical[case_S]
    return critical


def dunnett_p(t: float, df: float, num: int) -> float:
    """Probability that the largest of `num` t-values is at least `t`, all against one baseline with equal n.

    T_i = (Z_i - Z_0) / (S sqrt 2), so given Z_0 and S they are independent. The nodes of both reach as far as either
    adds to the result, so that tiny ones are as accurate. Source: Dunnett 1955; scipy.stats.dunnett gives the same
    numbers, and takes raw samples alone.
    """
    alone = float(special.stdtr(df, -t))
    if alone == 0:
        return 0.0
    beyond = NEGLIGIBLE - math.log(alone)  # logarithms below the peak at which a density adds nothing to the result
    s, s_weight = _sd_nodes(df, beyond)
    z, z_weight = _normal_nodes(beyond)
    any_above = -np.expm1(num * special.log_ndtr(math.sqrt(2) * t * s[:, None] + z))
    return float(min(1.0, s_weight @ any_above @ z_weight))


@functools.lru_cache(maxsize=256)
def _dunnett_critical(alpha: float, df: float, num: int) -> float:
    low, high = -float(special.stdtrit(df, alpha)), -float(special.stdtrit(df, alpha / num))
    return float(root(lambda t: dunnett_p(t, df, num) - alpha, low - 1e-6, high + 1e-6))


def _normal_nodes(beyond: float) -> tuple[Array, Array]:
    """Values of Z_0 in equal steps, and their weights."""
    z = np.arange(-math.sqrt(2 * beyond), math.sqrt(2 * NEGLIGIBLE), 0.35)
    return z, _weights(-np.square(z) / 2)


def _sd_nodes(df: float, beyond: float) -> tuple[Array, Array]:
    """Values of S, the root of chi-squared over its degrees of freedom, in equal ratios, and their weights.

    A small t-tail comes from small S, so these reach down as far as any of them adds to the result.
    """
    lowest = math.sqrt(beyond / df) + beyond / df
    log_s = np.arange(-lowest, math.sqrt(NEGLIGIBLE / df), min(0.15, 0.4 / math.sqrt(df)))
    return np.exp(log_s), _weights(df * (log_s - np.exp(2 * log_s) / 2))


def _weights(log_density: Array) -> Array:
    density = np.exp(log_density - log_density.max())
    return np.asarray(density / density.sum())


def shrunken_means(means: ArrayLike, error_variance: float) -> Array:
    """Means of several configurations, each drawn toward their common mean by what chance adds to their spread.

    The best of many was selected: its mean flatters it. If the means differ by no more than their error explains, all
    shrink to the common mean. One mean alone was not selected and stays.
    error_variance:  of each mean, without what moves all of them alike
    Source: Efron and Morris 1975 (Stein's estimator toward the mean, its positive part).
    """
    values = np.asarray(means, np.float64)
    if len(values) < 2:
        return values
    around = values - values.mean()
    spread = float(np.square(around).sum())
    kept = max(0.0, 1 - max(len(values) - 3, 1) * error_variance / spread) if spread else 0.0
    return np.asarray(values.mean() + kept * around)
