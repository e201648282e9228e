"""Correlation of configurations over seeds, and whether pairing their runs by seed gives more power.

Pairing is right at any correlation. It takes out what a seed adds to both runs of a pair, and costs half of the degrees
of freedom. So it is a choice of power, made before the run from what earlier sweeps showed.
Source: Fisher 1935 (randomised blocks); Shrout and Fleiss 1979 (intraclass correlation).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.stats.power import Design, design_of
from results.stats.shared_variance import TwoWayLayout, pooled_variance
from results.stats.t_tests import Block, Variance

Array = NDArray[np.float64]

UNKNOWN_CORRELATION = 0.5
"""Taken where no sweep shows it: sweeps of `tiny` showed 0 between far learning rates and 0.999 between close ones."""
LARGEST_CORRELATION = 0.9999
"""Configurations that agree to the last bit still differ by something in the next sweep."""


@dataclass(frozen=True)
class SeedCorrelation:
    """How much of the variance between seeds is the seed's own, whatever the configuration."""

    value: float
    num_configurations: int
    num_sweeps: int


def seed_correlation(tables: Iterable[Array]) -> SeedCorrelation | None:
    """Over sweeps, each a table of configurations by seeds; None where no table has two of both.

    What blocks and arms leave, over the variance between seeds of one arm; both without arms far noisier than the rest.
    """
    left = total = 0.0
    num_configurations = num_sweeps = 0
    for table_An in tables:
        num_arms, num_seeds = table_An.shape
        if num_arms < 2 or num_seeds < 2:
            continue
        (within, df), residual = pooled_variance(table_An), TwoWayLayout.of(table_An).shared
        if not df:
            continue
        weight = (num_arms - 1) * (num_seeds - 1)
        left += weight * (float(residual.pooled) if residual.df else 0.0)
        total += weight * within
        num_configurations, num_sweeps = num_configurations + num_arms, num_sweeps + 1
    if not num_sweeps:
        return None
    return SeedCorrelation(min(max(1 - left / total, 0.0), LARGEST_CORRELATION), num_configurations, num_sweeps)


def sd_between_pairs(sd: float, correlation: float) -> float:
    """Of the difference of two runs of one seed, from that between seeds of one configuration."""
    return float(sd * (2 * (1 - correlation)) ** 0.5)


def smallest_gains(
    correlation: float,
    num_configurations: int,
    n: int,
    alpha: float,
    adaptive: bool = False,
    variance: Variance = "own",
) -> tuple[float | None, float | None]:
    """Gains that are shown in 80 % of sweeps, in standard deviations between seeds: paired by seed, and not paired."""

    def planned(block: Block | None) -> Design:
        sd = sd_between_pairs(1.0, correlation) if block else 1.0
        return design_of(block, num_configurations, n, sd, alpha, adaptive, variance=variance)

    return planned("seed").minimum_detectable_effect(), planned(None).minimum_detectable_effect()
