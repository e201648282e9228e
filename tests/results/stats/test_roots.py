"""Roots are those of SciPy's search."""

import math

import pytest
from scipy import optimize

from results.stats.roots import root


@pytest.mark.parametrize("function", [lambda x: x**3 - 2, lambda x: math.exp(-x) - 0.3, lambda x: x - 1.0])
def test_a_root_is_that_of_scipy(function):
    assert root(function, 0.0, 5.0) == pytest.approx(optimize.brentq(function, 0.0, 5.0), rel=1e-9)


def test_ends_of_one_sign_are_refused():
    with pytest.raises(ValueError, match="no change of sign"):
        root(lambda x: x + 1, 0.0, 5.0)
