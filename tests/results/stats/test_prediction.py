"""Prediction of new runs, against published cases and scipy."""

import numpy as np
import pytest
from scipy import stats

from results.stats.prediction import Summary, p_new_run_better, prediction, welch_of_summaries
from results.stats.t_tests import NoVerdict

ROW_OF_SIX = Summary(1.060755, 0.000933, 6)
PR_1967 = [1.05764, 1.05886, 1.05904, 1.05674]


def test_the_rerun_of_pr_1177_does_not_agree_with_what_was_published():
    seen = prediction(Summary(1.10979, 0.00021, 3), [1.11350])
    assert (f"{seen.t:.1f}", seen.df, f"{seen.p:.4f}") == ("15.3", 2, "0.0042")
    assert not seen.low < seen.rerun_mean < seen.high


def test_the_reproduction_pooled_in_pr_1967_gives_4_06_and_not_the_quoted_4_29():
    test = welch_of_summaries(Summary.of(PR_1967), ROW_OF_SIX)
    assert (f"{-test.t:.3f}", f"{test.p:.5f}") == ("4.056", "0.00353")


def test_welch_of_summaries_is_scipys():
    theirs = np.random.default_rng(0).normal(size=9)
    ours = stats.ttest_ind(PR_1967, theirs, equal_var=False, alternative="less")
    test = welch_of_summaries(Summary.of(PR_1967), Summary.of(theirs))
    assert (test.t, test.p) == (pytest.approx(ours.statistic), pytest.approx(ours.pvalue))


@pytest.mark.parametrize("num_new", [1, 3])
def test_a_95_percent_prediction_interval_holds_95_percent_of_new_means(num_new):
    random = np.random.default_rng(1)
    held = 0
    for _ in range(4000):
        seen = prediction(Summary.of(random.normal(size=4)), random.normal(size=num_new))
        held += seen.low < seen.rerun_mean < seen.high
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_equal_arms_beat_each_other_half_of_the_time_and_an_exact_number_has_no_spread():
    assert p_new_run_better([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == pytest.approx(0.5)
    better = p_new_run_better([1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
    exact = p_new_run_better([1.0, 1.1, 1.2], 2.1)
    assert better is not None
    assert exact is not None
    assert 0.95 < better < 1
    assert exact == pytest.approx(stats.t.cdf(1.0 / (0.1 * (4 / 3) ** 0.5), 2))


def test_one_run_has_no_spread():
    assert p_new_run_better([1.0], [1.0, 2.0]) is None
    with pytest.raises(NoVerdict, match="at least 2"):
        Summary(1.0, 0.1, 1)
