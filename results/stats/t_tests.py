"""One-sided t-tests for 'better by more than a margin' and 'no worse than', on plain numbers. Lower is better.

Every difference is candidate minus baseline, so an improvement is negative, and so is its t. Numbers that cannot be
tested (fewer than two, no variance, not finite) raise `NoVerdict` and never give a p-value.
`results/verdicts/compare.py` chooses the rows and the test; tests without the normal assumption are in `resampling`.
Source: challenge README, "record acceptance"; Welch 1947; Satterthwaite 1946; Fisher 1935 (pairs, randomised blocks);
Smyth 2004 (moderated t); Schuirmann 1987 (two one-sided tests); scipy.special for the t distribution. Results are those
of scipy.stats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.stats.late import special
from results.stats.own_variance import NOTHING_BORROWED, OwnVariance, satterthwaite_df
from results.stats.shared_variance import SharedVariance, TwoWayLayout, spreads
from trainer.spec.errors import UserError

Numbers = Sequence[float] | NDArray[np.floating]

Block = Literal["artifact", "seed"]
"""What two runs share that makes them a pair."""
Variance = Literal["own", "shared"]
"""'own': a configuration is judged by its own spread, with one degree of freedom borrowed from the sweep; 'shared': by
one that all of the sweep share, as far as they look alike."""
SHARED_COST = (
    "right only if all configurations spread alike: with a baseline 3 times noisier, 5 to 10 % of sweeps without any "
    "difference call something better at alpha = 0.01, with a fifth of the configurations 5 times noisier up to 20 %"
)
"""What the shared variance costs where its assumption is wrong; counted in `docs/statistics.md`."""


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


def paired_t(
    candidate: Numbers,
    baseline: Numbers,
    margin: float = 0.0,
    own: OwnVariance = NOTHING_BORROWED,
    block: Block = "artifact",
) -> TTest:
    """Whether pairs differ by more than `margin`; pairs stand in order.

    own:    what the differences of the sweep's other candidates say about the spread of these
    block:  what the two runs of a pair share; the test is right however strongly they are correlated
    """
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
    (variance,), (df,) = own.shrunk([differences.var(ddof=1)], [len(differences) - 1])
    error = math.sqrt(variance / len(differences))
    constant = not (spreads(scores) and spreads(reference))
    correlation = None if constant else float(np.corrcoef(scores, reference)[0, 1])
    shared = "the trained artifact" if block == "artifact" else "the seed"
    name = "moderated paired t-test" if own.prior_df else "paired t-test"
    assumption = (
        f"differences between pairs are normal and independent; pairs share {shared}{_borrowed(own, float(df))}"
    )
    return _tested(name, assumption, float(differences.mean()), error, float(df), margin, correlation)


def welch_t(candidate: Numbers, baseline: Numbers, margin: float = 0.0, own: OwnVariance = NOTHING_BORROWED) -> TTest:
    """Whether the mean of one arm is lower by more than `margin`; variances may differ. Pairs nothing.

    own:  what the sweep's other arms say about the spread of these two
    Seeds that move both arms alike make the test cautious, never wrong.
    """
    arms = _two_arms(candidate, baseline)
    variance, df = own.shrunk([arm.var(ddof=1) for arm in arms], [len(arm) - 1 for arm in arms])
    parts = variance / [len(arm) for arm in arms]
    total_df = float(satterthwaite_df(parts[0], df[0], parts[1], df[1]))
    name = "moderated Welch's t-test" if own.prior_df else "Welch's t-test"
    assumption = (
        f"scores of each arm are normal; the seeds of both do not move in opposite ways{_borrowed(own, total_df)}"
    )
    difference = float(arms[0].mean() - arms[1].mean())
    return _tested(name, assumption, difference, math.sqrt(parts.sum()), total_df, margin)


def _borrowed(own: OwnVariance, df: float) -> str:
    return f"; one degree of freedom is borrowed from the sweep ({df:.3g} in all)" if own.prior_df else ""


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
    assumption = f"scores are normal, {which} ({df:.3g} degrees of freedom); {SHARED_COST}"
    return _tested(name, assumption, difference, error, df, margin)


def two_way_t(candidate: Numbers, baseline: Numbers, layout: TwoWayLayout, margin: float = 0.0) -> TTest:
    """Whether the mean is lower by more than `margin`, in blocks, with what all arms of the sweep leave unexplained.

    Both arms hold the blocks of the layout in its order. Source: Fisher 1935 (randomised blocks); Smyth 2004.
    """
    arms = _two_arms(candidate, baseline)
    own_df = layout.df_of_an_arm
    variances, dfs = layout.shared.shrunk([layout.residuals(arm).var(ddof=1) for arm in arms], own_df)
    error, df = math.sqrt(variances.sum() / len(arms[0])), float(dfs.min())
    correlation = float(np.corrcoef(*arms)[0, 1])
    assumption = (
        "scores are normal; pairs share the seed, what a seed adds is the same for all configurations, and what is "
        f"left spreads alike ({df:.3g} degrees of freedom); {SHARED_COST}"
    )
    difference = float(arms[0].mean() - arms[1].mean())
    return _tested("t-test in blocks with shared variance", assumption, difference, error, df, margin, correlation)


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
        cause = ": no run seems to use its seed" if what.endswith("scores") else ""
        raise NoVerdict(f"{what} are all the same ({len(values)} of them), so there is no variance to test with{cause}")
