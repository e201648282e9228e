"""What the verdicts promise, counted in simulated sweeps: coverage, false 'better' verdicts, power, and the race.

Every figure comes from the product's own functions, or from an array version of them that is checked against `compare`
first. Normal scores unless the row says otherwise. The tables are printed; `docs/statistics.md` keeps them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special, stats

from results.stats.many_against_one import Correction, first_step, is_dunnetts_case
from results.stats.own_variance import (
    ARM_PRIOR_DF,
    NOTHING_BORROWED,
    PAIRS_PRIOR_DF,
    OwnVariance,
    satterthwaite_df,
)
from results.stats.power import Design
from results.stats.race_rule import RaceBatch, RaceRule
from results.stats.resampling import bootstrap_interval
from results.stats.sequential import Looks, p_less
from results.stats.shared_variance import LEAST_POOLED_DF, SharedVariance
from results.verdicts.compare import compare
from results.verdicts.published_records import merged_records
from results.verdicts.terms import Evidence, Terms
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


@dataclass(frozen=True)
class Found:
    """Of every candidate against arm 0, as `compare` has it before Holm; S sweeps by candidates."""

    difference: np.ndarray
    error: np.ndarray
    df: np.ndarray
    dunnett: bool = False
    """Whether Dunnett's distribution may be used."""

    def critical(self, alpha: float) -> np.ndarray:
        """Standard errors that the best of each sweep has to gain."""
        return first_step(alpha, self.error, self.df, self.error.shape[-1], self.dunnett)

    def better(self, alpha: float) -> np.ndarray:
        """Whether each comparison alone passes the first step."""
        return -self.difference / self.error > self.critical(alpha)

    @property
    def p(self) -> np.ndarray:
        return special.stdtr(self.df, self.difference / self.error)

    def covers(self, true: float = 0.0) -> np.ndarray:
        """Whether the 95 % interval holds the true difference."""
        return np.abs(self.difference - true) <= special.stdtrit(self.df, 0.975) * self.error

    def needs(self, alpha: float) -> np.ndarray:
        """Gains that would just have been shown."""
        return self.difference + self.critical(alpha) * self.error


def own(scores_SAn: np.ndarray, prior_df: float = ARM_PRIOR_DF) -> Found:
    """The default: own variances, one degree of freedom borrowed; with a prior of 0 Welch's test.

    NaN stands for a seed that an arm lacks, in every sweep.
    """
    n = np.isfinite(scores_SAn[0]).sum(-1)  # by arm
    mean, variance = np.nanmean(scores_SAn, -1), np.nanvar(scores_SAn, -1, ddof=1)
    borrowed = OwnVariance.over(variance, n - 1, prior_df) if prior_df else NOTHING_BORROWED
    steady, df = borrowed.shrunk(variance, n - 1)
    parts = steady / n
    total = satterthwaite_df(parts[:, 1:], df[:, 1:], parts[:, :1], df[:, :1])
    return Found(mean[:, 1:] - mean[:, :1], np.sqrt(parts[:, 1:] + parts[:, :1]), total)


def welch(scores_SAn: np.ndarray) -> Found:
    return own(scores_SAn, 0.0)


def own_in_blocks(scores_SAn: np.ndarray, prior_df: float = PAIRS_PRIOR_DF) -> Found:
    """The default where seeds are blocks; with a prior of 0 the paired t-test."""
    differences = scores_SAn[:, 1:] - scores_SAn[:, :1]
    n, variance = differences.shape[-1], differences.var(-1, ddof=1)
    borrowed = OwnVariance.over(variance, n - 1, prior_df) if prior_df else NOTHING_BORROWED
    steady, df = borrowed.shrunk(variance, n - 1)
    return Found(differences.mean(-1), np.sqrt(steady / n), df)


def paired(scores_SAn: np.ndarray) -> Found:
    return own_in_blocks(scores_SAn, 0.0)


def shared(scores_SAn: np.ndarray) -> Found:
    """`variance: shared`; Welch's test where it has too few degrees of freedom."""
    n, mean = scores_SAn.shape[-1], scores_SAn.mean(-1)
    variance = scores_SAn.var(-1, ddof=1)
    pool = SharedVariance.over(variance, n - 1)
    steady, df = pool.shrunk(variance, n - 1)
    apart, use = welch(scores_SAn), pool.df[:, None] >= LEAST_POOLED_DF
    error = np.where(use, np.sqrt((steady[:, 1:] + steady[:, :1]) / n), apart.error)
    df = np.where(use, np.minimum(df[:, 1:], df[:, :1]), apart.df)
    return Found(mean[:, 1:] - mean[:, :1], error, df, dunnett=True)


def shared_in_blocks(scores_SAn: np.ndarray) -> Found:
    """`variance: shared` where seeds are blocks: the residual of the two-way layout."""
    num_arms, n = scores_SAn.shape[1:]
    mean = scores_SAn.mean(-1)
    left = scores_SAn - mean[..., None] - scores_SAn.mean(1, keepdims=True) + mean.mean(-1)[:, None, None]
    own_df = (n - 1) * (num_arms - 1) / num_arms
    variance = np.square(left).sum(-1) / own_df
    steady, df = SharedVariance.over(variance, own_df).shrunk(variance, own_df)
    error = np.sqrt((steady[:, 1:] + steady[:, :1]) / n)
    return Found(mean[:, 1:] - mean[:, :1], error, np.minimum(df[:, 1:], df[:, :1]), dunnett=True)


TESTS = {"own": own, "own in blocks": own_in_blocks, "Welch": welch, "paired t": paired, "shared": shared}


def test_the_array_version_is_compare():
    random = np.random.default_rng(2)
    terms = {"own": Terms(), "own in blocks": Terms(blocks="seed"), "shared": Terms(variance="shared")}
    for num_arms, (name, declared) in itertools.product((3, 5, 8, 20), terms.items()):
        scores = 2.0 + 0.01 * random.normal(size=(4, num_arms, 3))
        scores[0, 2] = 2.0 + 40 * (scores[0, 2] - 2.0)  # one arm is far noisier than the rest
        scores[1] = 2.0 + (scores[1] - 2.0) * np.geomspace(1, 30, num_arms)[:, None]  # no two spread alike
        results = TESTS[name](scores)
        by_dunnett = is_dunnetts_case(results.error, results.df) & results.dunnett
        for sweep, p_values, dunnett in zip(scores, results.p, by_dunnett, strict=True):
            rows = [row(f"c{a}", seed, score) for a, arm in enumerate(sweep) for seed, score in enumerate(arm)]
            theirs = compare(frame(*rows), "c0", declared)
            assert p_values == pytest.approx([verdict.p for verdict in theirs], rel=1e-6)
            assert {verdict.correction for verdict in theirs} == {"dunnett" if dunnett else "holm"}


def test_the_array_version_is_compare_where_arms_lack_seeds():
    scores = 2.0 + 0.01 * lacking_seeds(np.random.default_rng(6), (1, 7, 5))
    for sweep in scores:
        cells = [(a, seed, score) for a, arm in enumerate(sweep) for seed, score in enumerate(arm)]
        rows = [row(f"c{a}", seed, score) for a, seed, score in cells if np.isfinite(score)]
        theirs = compare(frame(*rows), "c0", Terms(), Evidence(own_seeds=True))  # as for an import
        assert own(scores).p[0] == pytest.approx([verdict.p for verdict in theirs], rel=1e-6)


def equal(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    return np.ones(shape)


def noisy(first: int, part: float, times: float):
    """So many times the spread, for this part of the arms from the first on (0 the baseline); at least one."""

    def sds(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
        factors = np.ones(shape)
        factors[:, first : first + max(1, round(part * (shape[1] - 1)))] = times
        return factors

    return sds


def log_normal(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    return np.exp(0.5 * random.normal(size=shape))


CASES = {
    "equal spreads": equal,
    "baseline 3 times noisier": noisy(0, 0, 3),
    "baseline 5 times": noisy(0, 0, 5),
    "one candidate 5 times": noisy(1, 0, 5),
    "a fifth of the candidates 5 times": noisy(1, 0.2, 5),
    "log-normal spreads, sigma 0.5": log_normal,
    "a fifth of the candidates 30 times": noisy(1, 0.2, 30),
}
HELD_TO_NOTHING = "a fifth of the candidates 30 times"
EMPTY_SWEEPS = 20_000


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("num_candidates", [10, 50])
def test_unequal_spreads_keep_the_error_and_what_that_costs(n, num_candidates):
    """The last candidate spreads as the baseline does when all are equal: its smallest gain is the power."""
    random, alpha = np.random.default_rng(6), 0.01
    print(f"\n| n = {n}, {num_candidates} configurations | " + " | ".join(TESTS) + " |\n|---|" + "---|" * len(TESTS))
    for case, sds_of in CASES.items():
        errors, covered, needs = dict.fromkeys(TESTS, 0), dict.fromkeys(TESTS, 0.0), {name: [] for name in TESTS}
        for _ in range(EMPTY_SWEEPS // CHUNK):
            sds = sds_of((CHUNK, num_candidates + 1), random)
            scores = sds[..., None] * random.normal(size=(CHUNK, num_candidates + 1, n))
            for name, test in TESTS.items():
                results = test(scores)
                errors[name] += int(results.better(alpha).any(1).sum())
                covered[name] += results.covers().mean(0) * CHUNK / EMPTY_SWEEPS
                needs[name].append(results.needs(alpha)[:, -1])
        bounds = {name: upper_99(count, EMPTY_SWEEPS) for name, count in errors.items()}
        cells = (
            f"{errors[name] / EMPTY_SWEEPS:.2%} (≤ {bounds[name]:.2%}); {np.min(covered[name]):.0%}; "
            f"{np.quantile(np.concatenate(needs[name]), 0.8):.1f}"
            for name in TESTS
        )
        print(f"| {case} | " + " | ".join(cells) + " |")
        if case != HELD_TO_NOTHING:
            assert max(bounds["own"], bounds["own in blocks"]) <= 1.5 * alpha


def test_pairs_by_seed_show_what_seeds_that_correlate_hide():
    """5 seeds, 10 configurations, one of them better by one sd between seeds."""
    random = np.random.default_rng(7)
    print("\n| correlation | " + " | ".join(TESTS) + " |\n|---|" + "---|" * len(TESTS))
    shown = {}
    for correlation in (0.0, 0.5, 0.8, 0.95, 0.99):
        counts = dict.fromkeys(TESTS, 0)
        for _ in range(10):
            noise = random.normal(size=(CHUNK, 1, 5)), random.normal(size=(CHUNK, 11, 5))
            scores = correlation**0.5 * noise[0] + (1 - correlation) ** 0.5 * noise[1]
            scores[:, 1] -= 1.0
            for name, test in TESTS.items():
                counts[name] += int(test(scores).better(0.01)[:, 0].sum())
        shown[correlation] = {name: count / 10 / CHUNK for name, count in counts.items()}
        print(f"| {correlation:g} | " + " | ".join(f"{rate:.1%}" for rate in shown[correlation].values()) + " |")
    assert shown[0.95]["own in blocks"] >= 0.5


@functools.cache
def record_sds() -> np.ndarray:
    return np.array([rows["val_bpb"].std() for rows in merged_records().values() if len(rows) > 2])


Draw = Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]
"""Scores of sweeps x arms x seeds without any difference between arms."""


def normal(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return random.normal(size=shape)


def spread_as_records(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Each arm with the sd of a published record."""
    return random.choice(record_sds(), size=(*shape[:2], 1)) * random.normal(size=shape)


def heavy_tailed(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Student's t with 3 degrees of freedom."""
    return random.standard_t(3, size=shape)


def diverging(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """One run in twenty ends ten standard deviations worse."""
    return random.normal(size=shape) + 10.0 * (random.random(shape) < 0.05)


def lacking_seeds(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Every second candidate lacks its last seed, every third its last two, as in an import; at least 3 are left."""
    scores = random.normal(size=shape)
    scores[:, 2::2, max(3, shape[2] - 1) :] = np.nan
    scores[:, 3::3, max(3, shape[2] - 2) :] = np.nan
    return scores


def fixed_errors(num_candidates: int, n: int, alpha: float, draw: Draw, random: np.random.Generator) -> int:
    """Sweeps without any difference that call something better: Holm's first step asks the smallest p."""
    errors = 0
    for _ in range(SWEEPS // CHUNK):
        p = own(draw(random, (CHUNK, num_candidates + 1, n))).p
        errors += int((p.min(1) < alpha / num_candidates).sum())
    return errors


def race_errors(num_candidates: int, last: int, alpha: float, draw: Draw, random: np.random.Generator) -> int:
    """Races in which nobody is better than the baseline by the margin, yet somebody is called so."""
    errors, rule = 0, RaceRule(0.0, alpha, Looks(last))
    for _ in range(SWEEPS // CHUNK):
        scores = draw(random, (CHUNK, num_candidates + 1, last))
        batch = RaceBatch.start(rule, CHUNK, num_candidates + 1)
        for n in range(rule.looks.first, last + 1):
            batch.look(scores[:, :, :n])
        errors += int(batch.better_SA.any(1).sum())
    return errors


SETTINGS: dict[str, tuple[Callable[..., int], int, int, Draw]] = {
    "fixed n = 3, 1 configuration": (fixed_errors, 1, 3, normal),
    "fixed n = 3, 10 configurations": (fixed_errors, 10, 3, normal),
    "fixed n = 3, 50 configurations": (fixed_errors, 50, 3, normal),
    "fixed n = 5, 50 configurations": (fixed_errors, 50, 5, normal),
    "fixed n = 3, 10 configurations, sds of the records": (fixed_errors, 10, 3, spread_as_records),
    "fixed n = 5, 50 configurations, sds of the records": (fixed_errors, 50, 5, spread_as_records),
    "fixed n = 3, 10 configurations, t3": (fixed_errors, 10, 3, heavy_tailed),
    "fixed n = 3, 10 configurations, runs that diverge": (fixed_errors, 10, 3, diverging),
    "fixed n = 5, 10 configurations, some with 3 or 4 seeds": (fixed_errors, 10, 5, lacking_seeds),
    "a look after every seed from 3 to 20, 1 configuration": (race_errors, 1, 20, normal),
    "the same, t3": (race_errors, 1, 20, heavy_tailed),
    "the same, runs that diverge": (race_errors, 1, 20, diverging),
    "race, 50 configurations, looks after 3 to 20 seeds": (race_errors, 50, 20, normal),
    "race, 50 configurations, 3 to 20 seeds, sds of the records": (race_errors, 50, 20, spread_as_records),
    "race, 50 configurations, 3 to 20 seeds, t3": (race_errors, 50, 20, heavy_tailed),
    "race, 50 configurations, 3 to 20 seeds, runs that diverge": (race_errors, 50, 20, diverging),
}
"""In a race arms stand at unequal numbers of seeds by themselves, since what loses gets none any more."""


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_false_better_verdicts_per_sweep_stay_below_alpha(alpha):
    random = np.random.default_rng(3)
    print(f"\n| {SWEEPS:,} sweeps without any difference, alpha = {alpha} | false 'better' | upper 99 % bound |")
    print("|---|---|---|")
    bounds = {}
    for name, (count, num_candidates, n, draw) in SETTINGS.items():
        errors = count(num_candidates, n, alpha, draw, random)
        bounds[name] = upper_99(errors, SWEEPS)
        print(f"| {name} | {errors / SWEEPS:.2%} | {bounds[name]:.2%} |")
    assert max(bounds.values()) <= 1.1 * alpha, bounds


def test_the_planned_power_is_the_power():
    random = np.random.default_rng(4)
    print("\n| test | n | configurations | gain (sd) | planned power | simulated |\n|---|---|---|---|---|---|")
    tests = ("paired", "welch", "own", "own paired", "moderated", "two-way")
    for test, n, num in itertools.product(tests, (3, 5, 10), (1, 10, 50)):
        if test in ("own", "own paired", "moderated", "two-way") and num == 1:
            continue
        correction: Correction = "dunnett" if test in ("moderated", "two-way") else "holm"
        design = Design(test, n, 1.0, 0.01, num, num + 1, correction=correction)
        gain = design.minimum_detectable_effect(0.8)
        shown = 0
        for _ in range(20):
            if test == "paired":
                better = p_less(random.normal(-gain, 1, (CHUNK, n)), np.zeros((1, n)), paired=True) < design.level
            elif test == "welch":
                better = p_less(random.normal(-gain, 1, (CHUNK, n)), random.normal(size=(CHUNK, n))) < design.level
            else:
                scores = random.normal(size=(CHUNK, num + 1, n)) * (
                    0.5**0.5 if test in ("own paired", "two-way") else 1.0
                )
                scores[:, 1] -= gain
                arrays = {"own": own, "own paired": own_in_blocks, "moderated": shared, "two-way": shared_in_blocks}
                better = arrays[test](scores).better(design.alpha)[:, 0]
            shown += int(better.sum())
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
    batch = RaceBatch.start(RaceRule(0.0, 0.01, Looks(last)), *scores.shape[:2])
    for n in range(batch.rule.looks.first, last + 1):
        batch.look(scores[..., :n])
    return float(batch.better_SA[:, 1].mean())
