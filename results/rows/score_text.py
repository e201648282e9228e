"""A score, or a difference of scores, as text: enough digits to tell values apart, whatever the unit.

Needs no pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

FIVE_DECIMALS = ("bits per byte", "nats per token", "")
"""Units whose scores are near 1; also where none is known."""
ORDINARY = 1e-3, 1e5
"""Magnitudes that five decimals show well, in any other unit."""


def score_text(number: float, unit: str = "", signed: bool = False, beside: float = 0.0) -> str:
    """'1.20312', '3.124e-06', '2,121,932,573'; signed: '+0.00100'. Zero has no minus; NaN is 'nan'.

    beside:  the largest magnitude that it is read beside, such as the ends of its interval: all have as many decimals
    """
    sign = "+" if signed else ""
    size = max(abs(number), beside) if math.isfinite(beside) else abs(number)
    if unit in FIVE_DECIMALS or number == 0 or ORDINARY[0] <= size < ORDINARY[1] or number != number:
        return f"{number or 0.0:{sign}.5f}"
    return f"{number:{sign}.4g}" if size < ORDINARY[0] else f"{number:{sign},.0f}"


def largest_of(numbers: Iterable[float]) -> float:
    """The largest finite magnitude; 0 without any."""
    return max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)


def short_text(number: float, unit: str = "") -> str:
    """With four decimals, in other units four digits: on live screens, beside figures, of what is planned."""
    return f"{number:.4f}" if unit in FIVE_DECIMALS else f"{number:.4g}"


def is_ordinary(largest: float) -> bool:
    """Whether five decimals show a column of scores of this largest magnitude well; NaN is no reason against it."""
    return not (0 < largest < 10 * ORDINARY[0] or largest >= ORDINARY[1])
