"""The distributions of W&B, by their formulas: where they end, and which value a uniform number becomes.

    X uniform in min .. max                     uniform, int_uniform
    log X uniform in log min .. log max         log_uniform_values, inv_log_uniform_values
    log X uniform in min .. max                 log_uniform: its ends are exponents
    log(1/X) uniform in min .. max              inv_log_uniform: its ends are exponents
    X normal, or beta; log X normal             normal, beta; log_normal
    round(X / q) * q of any of these            q_...: multiples of q, those at the ends with half a step's probability

A normal or beta distribution is cut: the outermost TAIL on either side is not drawn, so that every space has ends that
can be checked before anything runs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist
from typing import Literal

Distribution = Literal[
    "constant",
    "categorical",
    "categorical_w_probabilities",
    "int_uniform",
    "uniform",
    "log_uniform",
    "log_uniform_values",
    "inv_log_uniform",
    "inv_log_uniform_values",
    "normal",
    "log_normal",
    "beta",
    "q_uniform",
    "q_log_uniform",
    "q_log_uniform_values",
    "q_normal",
    "q_log_normal",
    "q_beta",
]
TAIL = 1e-4
"""Share of a normal or beta distribution that is left out at either end."""
MOST_STEPS = 100_000
"""Most multiples of q between the ends."""
LARGEST_EXPONENT = 700.0
"""exp of more is no float, of less than minus this is 0."""

ENDS, NORMAL, BETA = "min/max", "mu/sigma", "a/b"
GIVEN_BY = {
    "value": ("constant",),
    "values": ("categorical", "categorical_w_probabilities"),
    NORMAL: ("normal", "log_normal", "q_normal", "q_log_normal"),
    BETA: ("beta", "q_beta"),
}
"""Which keys say the values of a distribution; all others have min and max."""
EXPONENTS = ("log_uniform", "inv_log_uniform", "q_log_uniform")
"""Their min and max are exponents."""
LOGARITHMS = ("log_uniform_values", "inv_log_uniform_values", "q_log_uniform_values")
"""They draw the logarithm of values between min and max."""


def needs(distribution: str) -> str:
    """The keys that say the values of a distribution: 'value', 'values', 'min/max', 'mu/sigma' or 'a/b'."""
    return next((keys for keys, names in GIVEN_BY.items() if distribution in names), ENDS)


@dataclass(frozen=True)
class Continuous:
    """A continuous distribution between two ends."""

    low: float
    high: float
    quantile: Callable[[float], float]
    """Of a number from 0 to 1, the value that so large a share of all values lies below."""
    share_below: Callable[[float], float]
    """The inverse of `quantile`, for values between the ends."""


def uniform(low: float, high: float) -> Continuous:
    """Equal probability everywhere between the ends."""
    return Continuous(
        low, high, lambda share: low + share * (high - low), lambda value: (value - low) / ((high - low) or 1)
    )


def log_uniform(low: float, high: float) -> Continuous:
    """Equal ratios have equal probability."""
    return _exponential(uniform(math.log(low), math.log(high)), low, high)


def normal(mu: float, sigma: float) -> Continuous:
    """The normal distribution without its tails."""
    whole = NormalDist(mu, sigma)
    return _cut(whole.inv_cdf, whole.cdf)


def log_normal(mu: float, sigma: float) -> Continuous:
    """A value whose natural logarithm is normal."""
    inner = normal(mu, sigma)
    return _exponential(inner, math.exp(inner.low), math.exp(inner.high))


def beta(a: float, b: float) -> Continuous:
    """The beta distribution on 0 .. 1 without its tails."""
    from scipy.special import betainc, betaincinv  # late: no other distribution needs scipy

    return _cut(lambda share: float(betaincinv(a, b, share)), lambda value: float(betainc(a, b, value)))


def _exponential(inner: Continuous, low: float, high: float) -> Continuous:
    return Continuous(
        low,
        high,
        lambda share: min(max(math.exp(inner.quantile(share)), low), high),
        lambda value: inner.share_below(math.log(value)),
    )


def _cut(inv_cdf: Callable[[float], float], cdf: Callable[[float], float]) -> Continuous:
    kept = 1 - 2 * TAIL

    def quantile(share: float) -> float:
        return inv_cdf(TAIL + kept * share)

    return Continuous(quantile(0.0), quantile(1.0), quantile, lambda value: (cdf(value) - TAIL) / kept)


@dataclass(frozen=True)
class Weighted:
    """Values of unequal probability."""

    values: Sequence[float]
    probabilities: Sequence[float]
    """They sum to 1."""

    @cached_property
    def _sums(self) -> list[float]:
        return list(accumulate(self.probabilities))

    def index(self, share: float) -> int:
        """Position of the value that a uniform number from 0 to 1 becomes."""
        return min(bisect_right(self._sums, share), len(self._sums) - 1)

    def share(self, index: int) -> float:
        """A uniform number that becomes the value at this position: the middle of those that do."""
        return self._sums[index] - self.probabilities[index] / 2


def multiples(drawn: Continuous, q: float) -> Weighted:
    """round(X / q) * q of a continuous X: the multiples of q with the probability of what is rounded to each.

    Values have q's kind: integers of an integer, else numbers with a point.
    """
    first, last = math.floor(drawn.low / q + 0.5), math.ceil(drawn.high / q - 0.5)
    kept: list[tuple[float, float]] = []
    for step in range(first, last + 1):
        below, above = max((step - 0.5) * q, drawn.low), min((step + 0.5) * q, drawn.high)
        probability = drawn.share_below(above) - drawn.share_below(below) if above > below else 0.0
        if probability > 0:
            kept.append((step * q if isinstance(q, int) else round(step * q, 12), probability))
    if not kept:  # a single point
        kept = [(round(drawn.low / q) * q, 1.0)]
    total = sum(probability for _, probability in kept)
    return Weighted([value for value, _ in kept], [probability / total for _, probability in kept])
