"""How many runs a race needs where a fixed design has the same power, on means and sds of published records."""

from __future__ import annotations

import numpy as np
import pytest

from results.stats.race_rule import RaceBatch, RaceRule
from results.stats.sequential import Looks
from results.verdicts.published_records import merged_records
from tests.benchmarks.test_statistics import upper_99

pytestmark = pytest.mark.bench

NUM_RACERS, MARGIN, ALPHA = 20, 0.002, 0.01
"""Bits per byte: the margin is 0.005 nats on the records' newest tokenizer."""


def drawn_sweeps(num_sweeps: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds of a baseline and 20 configurations, each sweep's from 21 different records."""
    rows = [rows["val_bpb"] for rows in merged_records().values() if len(rows) > 2]
    known = np.array([(scores.mean(), scores.std()) for scores in rows])
    chosen = np.argsort(random.random((num_sweeps, len(known))), axis=1)[:, : NUM_RACERS + 1]
    return known[chosen, 0], known[chosen, 1]


def outcome(named: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """How often the named arm is right (clears the baseline by the margin, nobody beats it by more), and wrong."""
    score = means[np.arange(len(named)), named]
    right = (score < means[:, 0] - MARGIN) & (score <= means[:, 1:].min(1) + MARGIN)
    return float(np.mean((named > 0) & right)), float(np.mean((named > 0) & ~right))


def fixed_design(n: int, means: np.ndarray, sds: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    """The race's own test made once, after n seeds of every configuration: a race whose only look is the last."""
    batch = RaceBatch.start(RaceRule(MARGIN, ALPHA, Looks(n, first=n)), *means.shape)
    batch.look(means[..., None] + sds[..., None] * random.normal(size=(*means.shape, n)))
    return outcome(batch.winner_S, means)


def test_a_race_needs_half_the_runs_of_a_fixed_design():
    random = np.random.default_rng(5)
    means, sds = drawn_sweeps(10_000, random)
    powers = {}
    for n in range(3, 30):
        powers[n] = fixed_design(n, means, sds, random)
        if powers[n][0] >= 0.8:
            break
    fixed_n, (fixed_power, fixed_wrong) = n, powers[n]
    fixed_runs = fixed_n * (NUM_RACERS + 1)
    print("\n| design | runs | names a right winner | names a wrong one |\n|---|---|---|---|")
    print(f"| fixed, {fixed_n} seeds each | {fixed_runs} | {fixed_power:.1%} | {fixed_wrong:.2%} |")
    races = {}
    for last in range(fixed_n, fixed_n + 4):
        batch = RaceBatch.start(RaceRule(MARGIN, ALPHA, Looks(last)), *means.shape)
        scores = means[..., None] + sds[..., None] * random.normal(size=(*means.shape, last))
        for seeds in range(3, last + 1):
            batch.look(scores[..., :seeds])
        power, wrong = outcome(batch.winner_S, means)
        races[last] = float(batch.seeds_SA.sum(1).mean()), power
        false_better = np.mean((batch.better_SA & (means >= means[:, :1] - MARGIN)).any(1))
        print(f"| race, at most {last} seeds | {races[last][0]:.1f} on average | {power:.1%} | {wrong:.2%} |")
        assert upper_99(round((wrong + false_better) * len(means)), len(means)) <= 1.1 * ALPHA
    as_strong = [runs for runs, power in races.values() if abs(power - fixed_power) <= 0.02]
    assert as_strong
    assert max(as_strong) <= fixed_runs / 2
