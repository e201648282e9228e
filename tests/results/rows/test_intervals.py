"""Half intervals of means."""

import math

import pytest
from scipy import special, stats

from results.rows.intervals import critical_t, half_interval


@pytest.mark.parametrize("df", [*range(1, 33), 100, 999])
def test_critical_values_are_those_of_scipy(df):
    assert critical_t(df) == float(special.stdtrit(df, 0.975)) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-10)


def test_a_mean_of_one_number_has_no_interval():
    assert math.isnan(half_interval(1.0, 1))
    assert half_interval(2.0, 4) == pytest.approx(stats.t.ppf(0.975, 3))
