"""From which step on does a learning curve pass? The first point from which a rule holds, over all seeds at once.

Looking at every point and taking the first good one errs more often than its p-value says. Two honest ways:
- a t-test at the declared alpha, from the last point backwards, until one fails. An order that is fixed in advance
  costs nothing: the claim 'passes from this step on' errs in at most alpha of cases, whatever the number of points;
- a community's own rule, applied to each point by itself as its authors do, and said to be that.
Source: Maurer, Hothorn and Lehmacher 1995 (tests in a fixed order); modded-nanogpt, records/track_3_optimization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from results.rows.ranking import Measure
from results.rows.score_text import score_text
from results.stats.t_tests import NoVerdict, one_sample_t
from results.verdicts.policies import CONTRADICTED, LEAST_SCALED_GAIN_NATS, SIGMA_NATS, TARGET_NATS, check_sigma
from trainer.spec.errors import UserError

VAL_LOSS = Measure("val_loss", "nats per token")
TRACK_3 = "mng-track3"
OWN_TERMS = (
    f"{TRACK_3}: ({TARGET_NATS:g} - mean) * sqrt(n) of at least {LEAST_SCALED_GAIN_NATS:g} nats, for an sd of "
    f"{SIGMA_NATS:g} taken as known; each step is judged by itself, and no look is paid for"
)


@dataclass(frozen=True)
class Point:
    """All seeds at one step."""

    step: int
    n: int
    mean: float
    sd: float
    statistic: float
    """t of the test, or the scaled gain of the community's rule."""
    p: float | None
    passes: bool
    """By itself."""


@dataclass(frozen=True)
class FirstStep:
    """The steps of a curve, and from which one on it passes."""

    config: str
    rule: str
    """In words, with what pays for the looks."""
    points: Sequence[Point]
    unit: str
    """Of the means."""
    first: int | None
    """The first step of an unbroken row of passing ones up to the end; None where the last one fails."""

    @property
    def sentence(self) -> str:
        """'aux passes from step 2750 on: ...; step 2745 fails'."""
        if self.first is None:
            return f"{self.config} does not pass at its last step, {self.points[-1].step}. Rule: {self.rule}."
        before = [point for point in self.points if point.step < self.first]
        fails = f"; step {before[-1].step} fails ({self._in_words(before[-1])})" if before else ", its first point"
        at = next(point for point in self.points if point.step == self.first)
        return f"{self.config} passes from step {self.first} on ({self._in_words(at)}){fails}. Rule: {self.rule}."

    def _in_words(self, point: Point) -> str:
        mean = f"mean {score_text(point.mean, self.unit)} of {point.n} seeds"
        if point.p is None:
            return f"{mean}, scaled gain {point.statistic:.5f}"
        return f"{mean}, t = {point.statistic:.2f}, p = {point.p:.2g}"


def first_step(
    config: str,
    curves: Mapping[int, Mapping[int, float]],
    threshold: float | None = None,
    alpha: float = 0.01,
    rule: str | None = None,
    measure: Measure = VAL_LOSS,
) -> FirstStep:
    """From which step on the mean over seeds is below a threshold; above it where higher is better.

    curves:     of each seed, the number by step
    threshold:  for the t-test in a fixed order at `alpha`; a rule brings its own
    rule:       mng-track3, in its own terms
    measure:    what the number is
    Raises UserError where seeds do not share their steps.
    """
    steps = _shared_steps(config, curves)
    sign = measure.sign
    losses = {step: sign * np.array([curves[seed][step] for seed in sorted(curves)]) for step in steps}
    if rule is not None and rule != TRACK_3:
        raise UserError(f"--rule {rule} is unknown; known: {TRACK_3}, or a threshold: --below 3.28 --alpha 0.01")
    if rule is not None and threshold is not None:
        raise UserError(f"--rule {rule} brings its own threshold of {TARGET_NATS:g}; leave out --below")
    if rule is None and threshold is None:
        raise UserError(f"what counts as passing is missing: --below 3.28 (and --alpha), or --rule {TRACK_3}")
    if not 0 < alpha < 1:
        raise UserError(f"alpha = {alpha:g} must lie between 0 and 1; usual: 0.01")
    if threshold is None:
        points, words = [_by_track_3(step, losses[step]) for step in steps], f"{OWN_TERMS}; {_sigma_in_words(losses)}"
    else:
        points = [_by_t_test(step, losses[step], sign * threshold, alpha) for step in steps]
        side = "above" if measure.higher_first else "below"
        words = (
            f"mean {side} {threshold:g} at alpha = {alpha:g}, one-sample t-test, from the last step backwards until "
            f"one fails: fixed in advance, so the {len(steps)} looks together err in at most {alpha:g} of cases"
        )
    points = [replace(point, mean=sign * point.mean) for point in points]
    return FirstStep(config, words, points, measure.unit, _start_of_last_row(points))


def _shared_steps(config: str, curves: Mapping[int, Mapping[int, float]]) -> list[int]:
    if not curves:
        raise UserError(f"configuration '{config}' has no learning curve; import a file with a column of steps")
    every = sorted({step for points in curves.values() for step in points})
    for seed, points in sorted(curves.items()):
        if missing := [step for step in every if step not in points]:
            raise UserError(
                f"seed {seed} of '{config}' has no point at step {missing[0]}, and a rule over all seeds needs them all"
            )
    return every


def _by_t_test(step: int, losses: np.ndarray, threshold: float, alpha: float) -> Point:
    try:
        test = one_sample_t(losses, threshold)
    except NoVerdict as error:
        raise UserError(f"step {step}: {error}") from None
    return Point(step, len(losses), *_moments(losses), test.t, test.p, test.p < alpha)


def _by_track_3(step: int, losses: np.ndarray) -> Point:
    scaled = (TARGET_NATS - float(losses.mean())) * math.sqrt(len(losses))
    return Point(step, len(losses), *_moments(losses), scaled, None, scaled >= LEAST_SCALED_GAIN_NATS)


def _sigma_in_words(losses: Mapping[int, np.ndarray]) -> str:
    """Whether the runs agree with the sd that the rule takes as known. Raises UserError where they contradict it."""
    last = losses[max(losses)]
    if len(last) < 2:
        raise UserError(f"--rule {TRACK_3}: one seed shows no spread, so its assumed sd cannot be checked")
    sigma = check_sigma([pd.Series(last)])
    if sigma.p < CONTRADICTED:
        raise UserError(
            f"--rule {TRACK_3} takes an sd of {SIGMA_NATS:g} nats as known, and these runs spread with "
            f"{sigma.sd_nats:.4f} at step {max(losses)}, which contradicts it (p = {sigma.p:.2g}); use "
            f"--below {TARGET_NATS:g} --alpha 0.01"
        )
    return f"these runs show {sigma.sd_nats:.4f}, which does not contradict it"


def _moments(losses: np.ndarray) -> tuple[float, float]:
    return float(losses.mean()), float(losses.std(ddof=1)) if len(losses) > 1 else math.nan


def _start_of_last_row(points: Sequence[Point]) -> int | None:
    first = None
    for point in reversed(points):
        if not point.passes:
            break
        first = point.step
    return first
