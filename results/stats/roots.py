"""Where a function crosses zero. SciPy's own search would import a tenth of SciPy for one function."""

from __future__ import annotations

from collections.abc import Callable

STEPS = 200
TOLERANCE = 1e-12
"""Of the place, relative to the first interval."""


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """A zero of a continuous function between two places of unlike sign.

    Regula falsi with the Illinois rule: an end that stays twice counts half, so that both ends close in. Source: Dowell
    and Jarratt 1971.
    Raises ValueError if both ends have one sign.
    """
    at_low, at_high = function(low), function(high)
    if at_low * at_high > 0:
        raise ValueError(f"no change of sign between {low:g} and {high:g}")
    within = TOLERANCE * abs(high - low)
    for _ in range(STEPS):
        if at_low == at_high or abs(high - low) <= within:
            break
        place = high - at_high * (high - low) / (at_high - at_low)
        value = function(place)
        if abs(value) == 0 or abs(place - high) <= within:
            return place
        if value * at_high < 0:
            low, at_low = high, at_high
        else:
            at_low /= 2
        high, at_high = place, value
    return high
