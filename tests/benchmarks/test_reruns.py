"""What the answers about reruns, first steps and an assumed sd promise, counted; the figures of docs/statistics.md."""

import math

import numpy as np
import pandas as pd
import pytest

from results.stats.prediction import Summary, p_new_run_better, prediction
from results.verdicts.first_step import first_step
from results.verdicts.policies import CONTRADICTED, LEAST_SCALED_GAIN_NATS, SIGMA_NATS, check_sigma

pytestmark = pytest.mark.bench
TIMES = 10_000


def test_prediction_intervals_hold_what_they_say(capsys):
    random = np.random.default_rng(0)
    rows = []
    for n in (3, 5, 10):
        for num_new in (1, 3):
            held = 0
            for _ in range(TIMES):
                seen = prediction(Summary.of(random.normal(size=n)), random.normal(size=num_new))
                held += seen.low < seen.rerun_mean < seen.high
            rows.append(f"| {n} | {num_new} | {held / TIMES:.1%} |")
            assert held / TIMES == pytest.approx(0.95, abs=0.01)
    _print(capsys, "| runs | new runs | 95 % prediction interval holds |", rows)


def test_the_probability_of_a_better_run_is_calibrated(capsys):
    """Of the cases in which it is said to be about q, a new run is better in about q."""
    random = np.random.default_rng(0)
    said, came = [], []
    for _ in range(TIMES):
        gain = random.normal() * 1.5
        probability = p_new_run_better(random.normal(size=5) - gain, random.normal(size=5))
        assert probability is not None
        said.append(probability)
        came.append(random.normal() - gain < random.normal())
    bins = np.digitize(said, (0.2, 0.4, 0.6, 0.8))
    means = [(np.array(said)[bins == b].mean(), np.array(came)[bins == b].mean()) for b in range(5)]
    _print(capsys, "| said on average | came true |", [f"| {one:.0%} | {other:.0%} |" for one, other in means])
    for one, other in means:
        assert other == pytest.approx(one, abs=0.06)


def test_twenty_looks_at_a_curve_err_in_at_most_alpha(capsys):
    random, times = np.random.default_rng(0), 3000
    wrong = naive = 0
    for _ in range(times):
        walk = 0.002 * np.cumsum(random.normal(size=(8, 20)), axis=1)
        curves = {seed: dict(enumerate(3.28 + one + 0.002 * random.normal(size=20))) for seed, one in enumerate(walk)}
        answer = first_step("a", curves, 3.28, alpha=0.05)
        wrong += answer.first is not None
        naive += any(point.passes for point in answer.points)
    counted = {"from the last step backwards": wrong, "the first point that passes": naive}
    rows = [f"| {way} | {errors / times:.1%} |" for way, errors in counted.items()]
    _print(capsys, "| 20 looks, alpha 5 % | any error |", rows)
    assert wrong / times < 0.062


def test_how_often_track_three_accepts_equal_arms(capsys):
    random, rows = np.random.default_rng(0), []
    for ratio in (1.0, 1.5, 2.0, 3.0, 15.0):
        bare = kept = 0
        for _ in range(TIMES):
            arms = [pd.Series(3.0 + ratio * SIGMA_NATS * random.normal(size=3)) for _ in range(2)]
            passes = (arms[1].mean() - arms[0].mean()) / math.sqrt(2 / 3) >= LEAST_SCALED_GAIN_NATS
            bare += passes
            kept += passes and check_sigma(arms).p >= CONTRADICTED
        rows.append(f"| {ratio:g} | {bare / TIMES:.2%} | {kept / TIMES:.2%} |")
        assert kept <= bare
        assert kept / TIMES < 0.025
    _print(capsys, "| sd / assumed sd | bare rule | with the check |", rows)


def _print(capsys, head, rows):
    with capsys.disabled():
        print("\n".join(["", head, *rows]))
