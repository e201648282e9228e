"""Slices of the losses or targets of a window, as a score remembers them."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Iterations


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of the losses or targets of a window."""

    line: int
    low: Polynomial
    high: Polynomial | None
    """None: to the end. Negative ends count from there."""
    unknown: bool
    """Whether it is not known which positions it leaves."""
    of_loss: bool
    sides: Iterations = frozenset()
    """What tells it from the other side of the places where it begins and ends."""
    by_number: bool = False
    """Whether it is no slice: all of it times a number, as a mean times how many there are."""
    is_loose: bool = False
    """Whether something may move its start that may move the start of its window too, as in `losses[at - begin :]`."""
    sometimes: int = 0
    """Where a condition chooses its start among known numbers: the largest of them."""
