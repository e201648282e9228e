"""One-sided t-tests for 'better by more than a margin' and 'no worse than', on plain numbers. Lower is better.

Every difference is candidate minus baseline, so an improvement is negative, and so is its t. Numbers that cannot be
tested (fewer than two, no variance, not finite) raise `NoVerdict` and never give a p-value.
`results/verdicts/compare.py` chooses the rows and the test; tests without the normal assumption are in `resampling`.
Source: challenge README, "record acceptance"; Welch 1947; Schuirmann 1987 (two one-sided tests); scipy.special for the
t distribution. Results are those of scipy.stats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from results.stats.shared_variance import SharedVariance, spreads
from trainer.spec.errors import UserError

Numbers = Sequence[float] | NDArray[np.floating]

LEAST_POOLED_DF = 10
"""Degrees of freedom from which a sweep's shared variance is used in place of the two arms' own variances."""


class NoVerdict(UserError):
    """Numbers that cannot be tested; the message says why and what to change."""


@dataclass(frozen=True)
class TTest:
    """Result of a one-sided t-test, in the unit of its input."""

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
    """Probability of a t at most this low if the candidate were better by exactly the margin."""
    correlation: float | None = None
    """Between the paired arms; None when unpaired."""

    @property
    def standard_error(self) -> float:
        """Of `difference`, whatever margin was tested."""
        return (self.high - self.difference) / float(special.stdtrit(self.df, 0.975))


def paired_t(candidate: Numbers, baseline: Numbers, margin: float = 0.0) -> TTest:
    """Whether pairs (same trained artifact, two evaluations) differ by more than `margin`; pairs stand in order."""
    scores, reference = _finite(candidate, "the candidate"), _finite(baseline, "the baseline")
    if len(scores) != len(reference):
        raise ValueError(f"{len(scores)} scores cannot be paired with {len(reference)}")
    differences = scores - reference
    if len(scores) and not differences.any():
        raise NoVerdict(
            f"all {len(scores)} pairs scored exactly the same, so what differs between the two never acted (test-time "
            "training, say, needs a text of several ttt.chunk_tokens)"
        )
    _demand_spread(differences, scores, "the differences between the pairs")
    error, df = float(differences.std(ddof=1)) / math.sqrt(len(differences)), len(differences) - 1
    constant = not (spreads(scores) and spreads(reference))
    correlation = None if constant else float(np.corrcoef(scores, reference)[0, 1])
    assumption = "differences between pairs are normal and independent; pairs share the trained artifact"
    return _tested("paired t-test", assumption, float(differences.mean()), error, df, margin, correlation)


def welch_t(candidate: Numbers, baseline: Numbers, margin: float = 0.0) -> TTest:
    """Whether the mean of independently trained runs is lower by more than `margin`; variances may differ."""
    scores, reference = _two_arms(candidate, baseline)
    ours, theirs = (float(arm.var(ddof=1)) / len(arm) for arm in (scores, reference))
    df = (ours + theirs) ** 2 / (ours**2 / (len(scores) - 1) + theirs**2 / (len(reference) - 1))
    assumption = "scores of each arm are normal; every run was trained independently"
    difference = float(scores.mean() - reference.mean())
    return _tested("Welch's t-test", assumption, difference, math.sqrt(ours + theirs), df, margin)


def moderated_t(candidate: Numbers, baseline: Numbers, shared: SharedVariance, margin: float = 0.0) -> TTest:
    """Whether the mean is lower by more than `margin`, with variances shrunk over the sweep: the moderated t-test.

    Where the sweep's variances are alike, the shrunk variance is the pooled one. Where they are not, the smaller of
    both arms' degrees of freedom is used, which is conservative. Source: Smyth 2004; Mickey and Brown 1966 (the smaller
    df).
    """
    arms = _two_arms(candidate, baseline)
    own_df = np.array([len(arm) - 1 for arm in arms])
    variances, dfs = shared.shrunk([arm.var(ddof=1) for arm in arms], own_df)
    error = math.sqrt(sum(variance / len(arm) for variance, arm in zip(variances, arms, strict=True)))
    difference, df = float(arms[0].mean() - arms[1].mean()), float(dfs.min())
    if df == shared.df:
        name, which = "t-test with pooled variance", "with one variance for all arms of the sweep"
    elif (dfs == own_df).any():
        name, which = (
            "moderated t-test",
            "with shrunk variances; an arm far noisier than the sweep's others keeps its own",
        )
    else:
        name, which = "moderated t-test", "with each arm's variance shrunk toward the sweep's"
    return _tested(name, f"scores are normal, {which} ({df:.3g} degrees of freedom)", difference, error, df, margin)


def one_sample_t(candidate: Numbers, baseline_mean: float, margin: float = 0.0) -> TTest:
    """Whether the mean is lower than a published number by more than `margin`: the challenge's own test."""
    scores = _finite(candidate, "the candidate")
    _finite([baseline_mean], "the baseline")
    _demand_spread(scores, scores, "the candidate's scores")
    error = float(scores.std(ddof=1)) / math.sqrt(len(scores))
    assumption = "scores are normal and independent; the baseline's mean is taken as exact"
    return _tested(
        "one-sample t-test", assumption, float(scores.mean()) - baseline_mean, error, len(scores) - 1, margin
    )


def holm(p_values: Numbers) -> NDArray[np.float64]:
    """p-values corrected for multiple comparisons: the family-wise error rate stays at alpha. Source: Holm 1979.

    statsmodels gives the same numbers, but runs the garbage collector at each call.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _tested(
    name: str,
    assumption: str,
    difference: float,
    error: float,
    df: float,
    margin: float,
    correlation: float | None = None,
) -> TTest:
    """The t-test of a difference with this standard error; scipy.stats gives the same numbers much more slowly."""
    t, half = (difference + margin) / error, float(special.stdtrit(df, 0.975)) * error
    p = float(special.stdtr(df, t))
    return TTest(name, assumption, difference, difference - half, difference + half, t, df, p, correlation)


def no_worse_p(test: TTest, margin: float) -> float:
    """p-value of 'worse by less than `margin`': small if a loss of `margin` or more can be excluded."""
    return float(special.stdtr(test.df, (test.difference - margin) / test.standard_error))


def _two_arms(candidate: Numbers, baseline: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores, reference = _finite(candidate, "the candidate"), _finite(baseline, "the baseline")
    _demand_spread(scores, scores, "the candidate's scores")
    _demand_spread(reference, reference, "the baseline's scores")
    return scores, reference


def _finite(numbers: Numbers, whose: str) -> NDArray[np.float64]:
    array = np.asarray(numbers, dtype=np.float64)
    if not np.isfinite(array).all():
        raise NoVerdict(f"{whose} has scores that are not finite numbers; look at its runs")
    return array


def _demand_spread(values: NDArray[np.float64], scale: NDArray[np.float64], what: str) -> None:
    if len(values) < 2:
        number = "is only 1" if len(values) == 1 else "are none"
        raise NoVerdict(f"there {number} of {what}, and a variance needs at least 2; run more seeds")
    if not spreads(values, np.abs(scale).max()):
        raise NoVerdict(
            f"{what} are all the same ({len(values)} of them), so there is no variance to test with; use other seeds"
        )
