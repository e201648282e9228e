"""Integrals of smooth functions. SciPy's own would import a third of SciPy for one function."""

from __future__ import annotations

from collections.abc import Callable

INTERVALS = 1000
"""Even. Over ten standard deviations of a normal distribution the error is below 1e-9 of the result."""


def integral(function: Callable[[float], float], low: float, high: float) -> float:
    """The integral from `low` to `high`, by Simpson's rule."""
    step = (high - low) / INTERVALS
    inside = sum((4 if index % 2 else 2) * function(low + index * step) for index in range(1, INTERVALS))
    return (function(low) + inside + function(high)) * step / 3
