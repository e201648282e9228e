"""Half intervals of means."""

import math

import pytest
from scipy import stats

from results.rows.intervals import critical_t, half_interval


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7, 12, 29, 100, 999])
def test_critical_values_are_those_of_scipy(df):
    assert critical_t(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-10)


def test_a_mean_of_one_number_has_no_interval():
    assert math.isnan(half_interval(1.0, 1))
    assert half_interval(2.0, 4) == pytest.approx(stats.t.ppf(0.975, 3))
