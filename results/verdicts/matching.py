"""What is tested against what, and by which test: runs paired or not, and whose spread counts.

Pairs are runs that share something that chance acts through: the trained artifact, or the seed, whose order of the data
and first weights move configurations of one trainer alike. A pair is right at any correlation and costs degrees of
freedom alone, so what pairs is declared before the run; the correlation that is seen never decides it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.rows.finished import finished_in
from results.stats.many_against_one import shrunken_means
from results.stats.own_variance import ARM_PRIOR_DF, NOTHING_BORROWED, PAIRS_PRIOR_DF, OwnVariance
from results.stats.resampling import bootstrap_interval, sign_flip_p
from results.stats.shared_variance import LEAST_POOLED_DF, SharedVariance, TwoWayLayout
from results.stats.t_tests import Block, NoVerdict, TTest, moderated_t, one_sample_t, paired_t, two_way_t, welch_t
from results.verdicts.arms import Arm, independent_scores, scores_in_blocks
from results.verdicts.terms import Terms
from results.verdicts.verdict import SCORE_IN

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Match:
    """The scores of a candidate and the baseline, in the unit of the margin; in pairs when they share `block`."""

    candidate: Array
    baseline: Array
    block: Block | None

    @classmethod
    def of(cls, arm: Arm, reference: Arm, terms: Terms, one_sweep: bool) -> Match:
        """The pairs that the terms ask for.

        one_sweep:  whether both ran on the sweep's declared seeds; runs of another code base share no seed
        """
        artifacts = sorted(arm.by_artifact.keys() & reference.by_artifact.keys())
        seeds = sorted(arm.by_seed.keys() & reference.by_seed.keys()) if one_sweep else []
        if terms.exact_baseline or terms.blocks == "none":
            return cls(arm.scores, reference.scores, None)
        if artifacts and (terms.blocks == "artifact" or len(artifacts) >= len(seeds)):
            return cls(*_in_pairs(arm.by_artifact, reference.by_artifact, artifacts), "artifact")
        if seeds and terms.blocks == "seed":
            return cls(*_in_pairs(arm.by_seed, reference.by_seed, seeds), "seed")
        return cls(arm.scores, reference.scores, None)

    @property
    def differences(self) -> Array:
        """Candidate minus baseline, pair by pair."""
        return self.candidate - self.baseline

    def sign_flip_p(self, terms: Terms) -> float | None:
        """The exact test of the pairs, where they are enough to reach alpha."""
        if self.block is None:
            return None
        with contextlib.suppress(NoVerdict):
            return sign_flip_p(self.differences, terms.margin, terms.alpha)
        return None

    def bootstrap(self) -> tuple[float, float] | None:
        """Bootstrap interval of the difference, where the runs are enough for one."""
        with contextlib.suppress(NoVerdict):
            if self.block is not None:
                return bootstrap_interval(self.differences)
            return bootstrap_interval(self.candidate, self.baseline)
        return None


@dataclass(frozen=True)
class Spreads:
    """What a whole sweep says about the spread that each of its matches is judged by."""

    own: Mapping[Block | None, OwnVariance]
    """By what pairs the runs."""
    shared: SharedVariance
    layout: TwoWayLayout | None
    """Of the arms that ran on the same seeds, where these are blocks and the variance is shared."""

    def tested(self, match: Match, terms: Terms) -> TTest:
        """The test that the match and the declared variance call for. Raises NoVerdict where none can be made."""
        candidate, baseline, margin = match.candidate, match.baseline, terms.margin
        if terms.exact_baseline:
            return one_sample_t(candidate, float(baseline.mean()), margin)
        own = self.own.get(match.block, NOTHING_BORROWED)
        if match.block == "seed" and self.layout is not None and self.layout.shared.df >= LEAST_POOLED_DF:
            return two_way_t(candidate, baseline, self.layout, margin)
        if match.block is not None:
            return paired_t(candidate, baseline, margin, own, match.block)
        if self.shared.df >= LEAST_POOLED_DF:
            return moderated_t(candidate, baseline, self.shared, margin)
        return welch_t(candidate, baseline, margin, own)


def spreads_of(runs: pd.DataFrame, matches: Iterable[Match], terms: Terms) -> Spreads:
    """What the finished runs of a sweep say for these terms."""
    finished = finished_in(runs, SCORE_IN[terms.unit])
    arms = independent_scores(finished)
    if terms.variance == "shared":
        table = scores_in_blocks(finished) if terms.blocks == "seed" else ()
        return Spreads({}, SharedVariance.of(arms), TwoWayLayout.of(table) if len(table) > 1 else None)
    own: dict[Block | None, OwnVariance] = {None: OwnVariance.of(arms, ARM_PRIOR_DF)}
    paired = [match for match in matches if match.block is not None]
    for block in {match.block for match in paired}:
        own[block] = OwnVariance.of((match.differences for match in paired if match.block == block), PAIRS_PRIOR_DF)
    return Spreads(own, SharedVariance.of([]), None)


NOTHING_SHARED = Spreads({}, SharedVariance.of([]), None)
"""Of a baseline that is no part of the sweep: each arm stands alone."""


def moved_by_shrinkage(matches: Sequence[Match]) -> list[float]:
    """How far shrinkage moves each candidate's mean, in the unit of the scores."""
    if len(matches) < 2:
        return [0.0] * len(matches)
    means = np.array([match.candidate.mean() for match in matches])
    return [float(moved) for moved in shrunken_means(means, _error_of_a_mean(matches)) - means]


def _error_of_a_mean(matches: Sequence[Match]) -> float:
    """Variance of a candidate's mean, without what the blocks add to all of them alike."""
    scores = [match.candidate for match in matches]
    if all(match.block is not None for match in matches):
        if len({len(array) for array in scores}) > 1:  # in a race: half of the variance between pairs is one arm's
            return float(np.mean([match.differences.var(ddof=1) / 2 / len(match.candidate) for match in matches]))
        table = np.stack(scores)
        left = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
        num_arms, num_blocks = table.shape
        return float(np.square(left).sum() / max((num_arms - 1) * (num_blocks - 1), 1) / num_blocks)
    return float(np.mean([array.var(ddof=1) / len(array) for array in scores]))


def _in_pairs(ours: Mapping[Any, float], theirs: Mapping[Any, float], keys: Sequence[Any]) -> tuple[Array, Array]:
    return np.array([ours[key] for key in keys]), np.array([theirs[key] for key in keys])
