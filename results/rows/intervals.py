"""The 95 % interval of a mean of independent normal numbers, for tables: by Student's t."""

from __future__ import annotations

import functools
import math

LEVEL = 0.95
CRITICAL_T = (
    12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146,
    2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205, 2.228138851986274,
    2.200985160091639, 2.1788128296672284, 2.1603686564627913, 2.144786687917804, 2.131449545559776,
    2.1199052992212546, 2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864,
    2.0796138447276795, 2.0738730679040254, 2.0686576104190486, 2.0638985616280245, 2.0595385527532972,
    2.0555294386428735, 2.0518305164802846, 2.0484071417952454, 2.045229642132703, 2.0422724563012378,
)  # fmt: skip
"""SciPy's for the first degrees of freedom, so that the usual table need not load SciPy, which takes as long as all the
rest of it; a test holds them against it."""


def half_interval(sd: float, n: int, df: int | None = None) -> float:
    """Half the interval's width; NaN below two numbers.

    df:  degrees of freedom of the standard deviation; by default n - 1
    """
    df = n - 1 if df is None else df
    return sd / math.sqrt(n) * critical_t(df) if df > 0 else math.nan


@functools.lru_cache(maxsize=256)
def critical_t(df: int) -> float:
    """What |t| exceeds with probability 1 - LEVEL."""
    if df <= len(CRITICAL_T):
        return CRITICAL_T[df - 1]
    from scipy import special  # late, see CRITICAL_T

    return float(special.stdtrit(df, (1 + LEVEL) / 2))
