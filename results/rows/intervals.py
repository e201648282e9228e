"""The 95 % interval of a mean of independent normal numbers, for tables: by Student's t, without SciPy."""

from __future__ import annotations

import functools
import math

LEVEL = 0.95
HALVINGS = 60
MOST_T = 13.0
"""Above the critical value of one degree of freedom, 12.7."""


def half_interval(sd: float, n: int, df: int | None = None) -> float:
    """Half the interval's width; NaN below two numbers.

    df:  degrees of freedom of the standard deviation; by default n - 1
    """
    df = n - 1 if df is None else df
    return sd / math.sqrt(n) * critical_t(df) if df > 0 else math.nan


@functools.lru_cache(maxsize=256)
def critical_t(df: int) -> float:
    """What |t| exceeds with probability 1 - LEVEL."""
    low, high = 0.0, MOST_T
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle, df) < LEVEL else (low, middle)
    return (low + high) / 2


def inside(t: float, df: int) -> float:
    """Probability that |T| < t with so many degrees of freedom: for whole numbers a finite sum.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(df))
    cosine = math.cos(angle)
    odd = df % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd, df - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * cosine**2
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
