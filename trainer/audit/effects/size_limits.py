"""Limits of an artifact's size that a script checks, where they are above the 16,000,000 bytes that count."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Trace
from trainer.audit.facts.values import Value

MOST_BYTES = 16_000_000
"""Of code and weights together (docs/recipe.md 1.1)."""
HIGHEST = 17_000_000
"""A number above is no limit of this kind; 16 MiB are 16,777,216."""


def compared_size(machine: Machine, left: Value, right: Value) -> None:
    """Notes a comparison of something that is no token with such a limit."""
    for one, other in ((left, right), (right, left)):
        limit = other.const
        if isinstance(limit, int) and MOST_BYTES < limit <= HIGHEST and not (one.is_known or one.tokens or one.scores):
            machine.trace.large[machine.place] = limit


def remarks(trace: Trace) -> Iterator[str]:
    """What a script's limit allows beyond the budget."""
    for place, limit in sorted(trace.large.items()):
        yield (
            f"line {place.line}: a size may come to {limit:,} at this limit, more than the {MOST_BYTES:,} bytes that "
            "count (E16): the log must show less"
        )
