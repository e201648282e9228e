"""The 95 % interval of a mean of independent normal numbers, for tables: by Student's t."""

from __future__ import annotations

import functools
import math

LEVEL = 0.95


def half_interval(sd: float, n: int, df: int | None = None) -> float:
    """Half the interval's width; NaN below two numbers.

    df:  degrees of freedom of the standard deviation; by default n - 1
    """
    df = n - 1 if df is None else df
    return sd / math.sqrt(n) * critical_t(df) if df > 0 else math.nan


@functools.lru_cache(maxsize=256)
def critical_t(df: int) -> float:
    """What |t| exceeds with probability 1 - LEVEL."""
    from scipy import special  # late: a table without a mean needs none of it

    return float(special.stdtrit(df, (1 + LEVEL) / 2))
