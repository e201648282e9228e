"""What the verdicts promise, counted in simulated sweeps: coverage, false 'better' verdicts, power, and the race.

Every figure comes from the product's own functions, or from an array version of them that is checked against `compare`
first. Normal scores unless the row says otherwise. The tables are printed; `docs/statistics.md` keeps them.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

from results.stats.power import Design
from results.stats.race import Heats, RaceRule
from results.stats.resampling import bootstrap_interval
from results.stats.sequential import Looks, p_less
from results.stats.shared_variance import SharedVariance
from results.stats.t_tests import LEAST_POOLED_DF
from results.verdicts.compare import compare
from results.verdicts.published_records import merged_records
from tests.results.sweeps import frame, row

pytestmark = pytest.mark.bench
SWEEPS = 50_000
CHUNK = 1_000


def upper_99(errors: int, sweeps: int) -> float:
    """One-sided 99 % Clopper-Pearson bound of a rate."""
    return float(stats.beta.ppf(0.99, errors + 1, sweeps - errors))


def drawn(kind: str, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Scores of mean 0 and sd 1; a gamma distribution of shape k has skewness 2 / sqrt(k)."""
    shapes = {"skewness 0.5": 16.0, "skewness 1": 4.0, "exponential (skewness 2)": 1.0}
    if kind == "normal":
        return random.normal(size=size)
    return (random.gamma(shapes[kind], size=size) - shapes[kind]) / shapes[kind] ** 0.5


KINDS = ("normal", "skewness 0.5", "skewness 1", "exponential (skewness 2)")


def test_t_intervals_cover_what_they_claim():
    random = np.random.default_rng(0)
    print("\n| scores | " + " | ".join(f"n = {n}" for n in (3, 4, 5, 7, 10, 15, 20)) + " |\n|---|" + "---|" * 7)
    for kind in KINDS:
        covered = {}
        for n in range(3, 21):
            scores = drawn(kind, (200_000, n), random)
            half = stats.t.ppf(0.975, n - 1) * scores.std(1, ddof=1) / n**0.5
            covered[n] = float(np.mean(np.abs(scores.mean(1)) <= half))
        print(f"| {kind} | " + " | ".join(f"{covered[n]:.1%}" for n in (3, 4, 5, 7, 10, 15, 20)) + " |")
        if kind == "normal":
            assert all(0.94 <= rate <= 0.96 for rate in covered.values())
        elif kind != KINDS[-1]:
            assert min(covered.values()) >= 0.925
        else:
            assert covered[3] == pytest.approx(0.88, abs=0.01)


def test_the_bootstrap_covers_what_is_printed():
    random = np.random.default_rng(1)
    print("\n| scores | n = 10 | n = 15 | n = 20 |\n|---|---|---|---|")
    for kind in (KINDS[0], KINDS[2], KINDS[3]):
        rates = []
        for n in (10, 15, 20):
            ends = [bootstrap_interval(scores) for scores in drawn(kind, (1_000, n), random)]
            rates.append(np.mean([low <= 0 <= high for low, high in ends]))
        print(f"| {kind} | " + " | ".join(f"{rate:.1%}" for rate in rates) + " |")
        assert min(rates) > 0.8


def sweep_p_values(scores_SAn: np.ndarray) -> np.ndarray:
    """p of every candidate against arm 0 as `compare` gives it before Holm: the variance shared, or Welch's test."""
    n = scores_SAn.shape[-1]
    variance, mean = scores_SAn.var(-1, ddof=1), scores_SAn.mean(-1)
    shared = SharedVariance.over(variance, n - 1)
    steady, df = shared.shrunk(variance, n - 1)
    t = (mean - mean[:, :1]) / np.sqrt((steady + steady[:, :1]) / n)
    by_sweep = special.stdtr(np.minimum(df, df[:, :1]), t)
    return np.where(shared.df[:, None] >= LEAST_POOLED_DF, by_sweep, p_less(scores_SAn, scores_SAn[:, :1]))[:, 1:]


def test_the_array_version_is_compare():
    random = np.random.default_rng(2)
    for num_arms in (3, 5, 8, 20):
        scores = 2.0 + 0.01 * random.normal(size=(4, num_arms, 3))
        scores[0, 2] *= 40.0  # one arm is far noisier than the rest
        scores[1] = 2.0 + (scores[1] - 2.0) * np.geomspace(1, 30, num_arms)[:, None]  # no two spread alike
        ours = sweep_p_values(scores)
        for sweep, p_values in zip(scores, ours, strict=True):
            rows = [row(f"c{a}", seed, score) for a, arm in enumerate(sweep) for seed, score in enumerate(arm)]
            theirs = [verdict.p for verdict in compare(frame(*rows), "c0")]
            assert p_values == pytest.approx(theirs, rel=1e-6)


def record_sds() -> np.ndarray:
    return np.array([rows["val_bpb"].std() for rows in merged_records().values() if len(rows) > 2])


def fixed_errors(num_candidates: int, n: int, alpha: float, sds: np.ndarray, random: np.random.Generator) -> int:
    """Sweeps without any difference that call something better: Holm's first step asks the smallest p."""
    errors = 0
    for _ in range(SWEEPS // CHUNK):
        scale = random.choice(sds, size=(CHUNK, num_candidates + 1, 1))
        p = sweep_p_values(scale * random.normal(size=(CHUNK, num_candidates + 1, n)))
        errors += int((p.min(1) < alpha / num_candidates).sum())
    return errors


def race_errors(num_candidates: int, last: int, alpha: float, sds: np.ndarray, random: np.random.Generator) -> int:
    """Races in which nobody is better than the baseline by the margin, yet somebody is called so."""
    errors, rule = 0, RaceRule(0.0, alpha, Looks(last))
    for _ in range(SWEEPS // CHUNK):
        scale = random.choice(sds, size=(CHUNK, num_candidates + 1, 1))
        scores = scale * random.normal(size=(CHUNK, num_candidates + 1, last))
        heats = Heats.start(rule, CHUNK, num_candidates + 1)
        for n in range(rule.looks.first, last + 1):
            heats.look(scores[:, :, :n])
        errors += int(heats.better_SA.any(1).sum())
    return errors


ONE_SD = np.ones(1)
SETTINGS = {
    "fixed n = 3, 1 configuration": (fixed_errors, 1, 3, ONE_SD),
    "fixed n = 3, 10 configurations, shared variance and Holm": (fixed_errors, 10, 3, ONE_SD),
    "fixed n = 3, 50 configurations, shared variance and Holm": (fixed_errors, 50, 3, ONE_SD),
    "fixed n = 5, 50 configurations, shared variance and Holm": (fixed_errors, 50, 5, ONE_SD),
    "a look after every seed from 3 to 20, 1 configuration": (race_errors, 1, 20, ONE_SD),
    "race, 50 configurations, looks after 3 to 20 seeds": (race_errors, 50, 20, ONE_SD),
    "race, 50 configurations, 3 to 20 seeds, sds of the records": (race_errors, 50, 20, record_sds()),
}
UNEQUAL = {f"fixed n = {n}, {k} configurations, sds of the records": (k, n) for k in (10, 20, 50) for n in (3, 5)}
"""Held against nothing: the records' sds, each of three seeds, differ by chance already, so this is the worst case."""


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_false_better_verdicts_per_sweep_stay_below_alpha(alpha):
    random = np.random.default_rng(3)
    print(f"\n| {SWEEPS:,} sweeps without any difference, alpha = {alpha} | false 'better' | upper 99 % bound |")
    print("|---|---|---|")
    bounds = {}
    for name, (count, num_candidates, n, sds) in SETTINGS.items():
        errors = count(num_candidates, n, alpha, sds, random)
        bounds[name] = upper_99(errors, SWEEPS)
        print(f"| {name} | {errors / SWEEPS:.2%} | {bounds[name]:.2%} |")
    for name, (num_candidates, n) in UNEQUAL.items():
        errors = fixed_errors(num_candidates, n, alpha, record_sds(), random)
        print(f"| {name} | {errors / SWEEPS:.2%} | {upper_99(errors, SWEEPS):.2%} |")
        assert errors / SWEEPS <= 2.5 * alpha
    assert max(bounds.values()) <= 1.1 * alpha, bounds


def test_the_planned_power_is_the_power():
    random = np.random.default_rng(4)
    print("\n| test | n | configurations | gain (sd) | planned power | simulated |\n|---|---|---|---|---|---|")
    for test, n, num in itertools.product(("paired", "welch", "moderated"), (3, 5, 10), (1, 10, 50)):
        if test == "moderated" and (num + 1) * (n - 1) < LEAST_POOLED_DF:
            continue
        design = Design(test, n, 1.0, 0.01, num, num + 1)
        gain = design.minimum_detectable_effect(0.8)
        shown = 0
        for _ in range(20):
            if test == "paired":
                p = p_less(random.normal(-gain, 1, (CHUNK, n)), np.zeros((1, n)), paired=True)
            elif test == "welch":
                p = p_less(random.normal(-gain, 1, (CHUNK, n)), random.normal(size=(CHUNK, n)))
            else:
                scores = random.normal(size=(CHUNK, num + 1, n))
                scores[:, 1] -= gain
                p = sweep_p_values(scores)[:, 0]
            shown += int((p < design.level).sum())
        print(f"| {test} | {n} | {num} | {gain:.2f} | 80.0% | {shown / 20 / CHUNK:.1%} |")
        assert shown / 20 / CHUNK == pytest.approx(0.8, abs=0.02)
    for last, num in itertools.product((5, 10, 20), (1, 10)):
        gain = Design("race", last, 1.0, 0.01, num).minimum_detectable_effect(0.8)
        shown = race_shown(gain, num, last, random)
        print(f"| race | {last} | {num} | {gain:.2f} | 80.0% | {shown:.1%} |")
        assert shown == pytest.approx(0.8, abs=0.02)


def race_shown(gain: float, num_candidates: int, last: int, random: np.random.Generator) -> float:
    """How often a race shows the one candidate that is better, among others that are not."""
    scores = random.normal(size=(20_000, num_candidates + 1, last))
    scores[:, 1] -= gain
    heats = Heats.start(RaceRule(0.0, 0.01, Looks(last)), *scores.shape[:2])
    for n in range(heats.rule.looks.first, last + 1):
        heats.look(scores[..., :n])
    return float(heats.better_SA[:, 1].mean())


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
    """The race's own question asked once, after n seeds of everybody: a race whose only look is the last."""
    heats = Heats.start(RaceRule(MARGIN, ALPHA, Looks(n, first=n)), *means.shape)
    heats.look(means[..., None] + sds[..., None] * random.normal(size=(*means.shape, n)))
    return outcome(heats.winner_S, means)


def test_a_detectable_race_half_the_runs_of_a_fixed_design():
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
        heats = Heats.start(RaceRule(MARGIN, ALPHA, Looks(last)), *means.shape)
        scores = means[..., None] + sds[..., None] * random.normal(size=(*means.shape, last))
        for seeds in range(3, last + 1):
            heats.look(scores[..., :seeds])
        power, wrong = outcome(heats.winner_S, means)
        races[last] = float(heats.seeds_SA.sum(1).mean()), power
        false_better = np.mean((heats.better_SA & (means >= means[:, :1] - MARGIN)).any(1))
        print(f"| race, at most {last} seeds | {races[last][0]:.1f} on average | {power:.1%} | {wrong:.2%} |")
        assert upper_99(round((wrong + false_better) * len(means)), len(means)) <= 1.1 * ALPHA
    as_strong = [runs for runs, power in races.values() if abs(power - fixed_power) <= 0.02]
    assert as_strong
    assert max(as_strong) <= fixed_runs / 2
