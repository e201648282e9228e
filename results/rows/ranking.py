"""How the configurations of a sweep are ranked: by which column and direction, within which limits, on which seeds.

One frozen value, made once from the search space, so that the table, the verdicts, the figures, the report and the live
screen agree on the order and on who may be in it. Needs no pandas: the live screen and the search use it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol, TypeVar

UNITS = {"val_loss": "nats per token", "steps": "steps", "tokens_per_s": "tokens per second"}
"""Units of columns whose names do not end in them."""
UNIT_OF_ENDING = {"_bpb": "bits per byte", "_s": "s", "_bytes": "bytes"}


def unit_of(column: str) -> str:
    """Unit of a numeric column of the rows, in words."""
    endings = (unit for ending, unit in UNIT_OF_ENDING.items() if column.endswith(ending))
    return UNITS.get(column) or next(endings, "")


@dataclass(frozen=True)
class Measure:
    """The number that verdicts are about, whatever configurations are ranked by."""

    column: str = "val_bpb"
    unit: str = "bits per byte"
    higher_first: bool = False
    """Whether larger is better."""

    @property
    def sign(self) -> float:
        """What turns the number into one of which lower is better."""
        return -1.0 if self.higher_first else 1.0

    @property
    def measured(self) -> str:
        """'val_bpb (bits per byte)'"""
        return self.column if self.unit == self.column else f"{self.column} ({self.unit})"


Score = TypeVar("Score", bound="SupportsNegation")


class SupportsNegation(Protocol):
    """A number, or an array of numbers."""

    def __neg__(self) -> Any: ...


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest value that a column may have; None is no bound."""

    min: float | None = None
    max: float | None = None

    def excess(self, value: float | None) -> float:
        """How far a value is outside; 0 inside, so that measured noise inside steers nothing. What a run does not have
        (no number, or NaN) breaks no bound."""
        if value is None or math.isnan(value):
            return 0.0
        above = value - self.max if self.max is not None else 0.0
        below = self.min - value if self.min is not None else 0.0
        return max(above, below, 0.0)

    def worst(self, values: Iterable[float | None]) -> float:
        """The largest excess over the seeds of a configuration."""
        return max((self.excess(value) for value in values), default=0.0)


@dataclass(frozen=True)
class Breach:
    """One reason why a configuration may not be ranked, however good its score."""

    column: str
    """The column that says so: a limited one, `within_budget` or `legal`."""
    value: float | None = None
    """Of the worst seed, for a limited column."""
    limit: float | None = None

    def __str__(self) -> str:
        """'eval_s 812 exceeds the limit 600 (constraints)'"""
        if self.value is None or self.limit is None:
            return CONDITIONS[self.column]
        direction = "exceeds" if self.value > self.limit else "is below"
        return f"{self.column} {_number(self.value)} {direction} the limit {_number(self.limit)} (constraints)"

    @property
    def rule(self) -> str:
        """The same for any configuration that is excluded for this reason: 'eval_s <= 600 (constraints)'."""
        if self.value is None or self.limit is None:
            return CONDITIONS[self.column]
        return f"{self.column} {'<=' if self.value > self.limit else '>='} {_number(self.limit)} (constraints)"


CONDITIONS = {
    "legal": "the evaluation is not known to be legal",
    "within_budget": "a run is not known to be within its budget of bytes and seconds",
}
"""What every finished run must be known to fulfil, and what is said where it is not."""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"


@dataclass(frozen=True)
class Ranking:
    """Order and eligibility of the configurations of one sweep.

    A configuration is ranked when all seeds it needs are done with a finite number, every one of them is legal and
    within its budget, and none is outside a limit.
    """

    metric: str = "val_bpb"
    """The column whose mean over seeds decides."""
    higher_first: bool = False
    """Whether larger is better."""
    limits: Mapping[str, Bounds] = field(default_factory=dict)
    """Bounds of columns; a configuration with a seed outside is infeasible."""
    baseline: str = ""
    """The configuration that others are measured against."""
    seeds: tuple[int, ...] | None = None
    """Those that count, and that every configuration must have finished; None: all in the rows."""
    enough: Mapping[str, int] = field(default_factory=dict)
    """How many seeds suffice for single configurations: a race gives more to some than to others."""
    own_seeds: bool = False
    """Nothing was declared, so each configuration must have finished just the seeds it has."""
    given_unit: str = ""
    """Unit of a metric that is none of our own columns."""

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return self.given_unit or unit_of(self.metric)

    @property
    def measured(self) -> str:
        """'val_bpb (bits per byte)'"""
        return f"{self.metric} ({self.unit})" if self.unit else self.metric

    @property
    def axis(self) -> str:
        """'val_bpb (bits per byte, lower is better)'"""
        which = "higher is better" if self.higher_first else "lower is better"
        return f"{self.metric} ({self.unit}, {which})" if self.unit else f"{self.metric} ({which})"

    def ascending(self, score: Score) -> Score:
        """The score, or an array of them, as a key that sorts the best configuration first."""
        return -score if self.higher_first else score

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The metric of one run, or None where it has no finite one; a run that is not done has none."""
        value = row.get(self.metric) if row["status"] == "done" else None
        return float(value) if value is not None and math.isfinite(value) else None

    def mean(self, rows: Sequence[Mapping[str, Any]]) -> float | None:
        """Mean of the metric over these runs, or None when one has none: a failed seed is never averaged over."""
        scores = [score for row in rows if (score := self.score(row)) is not None]
        return fmean(scores) if scores and len(scores) == len(rows) else None

    def violations(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """How far the worst of these runs is outside the limits of each limited column; 0 inside."""
        return {name: bounds.worst(row[name] for row in rows) for name, bounds in self.limits.items()}

    def breaches(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Breach, ...]:
        """Why a configuration with these finished runs may not be ranked; empty if it may.

        rows:  with the limited columns, `legal` and `within_budget`; a column that is left out excludes nobody
        """
        unfulfilled = [Breach(name) for name in CONDITIONS if not all(row.get(name, True) for row in rows)]
        return (*unfulfilled, *(breach for name in self.limits for breach in self._outside(name, rows)))

    def _outside(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Iterable[Breach]:
        bounds = self.limits[name]
        worst = max((row.get(name) for row in rows), key=bounds.excess, default=None)
        if worst is not None and bounds.excess(worst) > 0:
            above = bounds.max is not None and worst > bounds.max
            yield Breach(name, float(worst), bounds.max if above else bounds.min)
