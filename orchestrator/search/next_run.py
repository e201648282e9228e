"""Chooses which of the waiting runs starts next, for the slots of a sweep and for the simulation of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

LOOK_AHEAD = 32
"""Runs among which the next one is chosen, on few slots."""
LOOK_AHEAD_PER_SLOT = 2
"""On many: where runs share a training, one slot trains and the others need runs that do not wait for it."""
Stage = tuple[str, str]
"""A stage's name and its fingerprint."""


def look_ahead(slots: int) -> int:
    """Runs among which the next one is chosen on so many slots."""
    return max(LOOK_AHEAD, LOOK_AHEAD_PER_SLOT * slots)


def next_run(needed: Sequence[Stage | None], is_busy: Callable[[Stage], bool]) -> int | None:
    """Position of the run whose next missing stage most of the waiting runs share, the first of several.

    needed:   next missing stage of each waiting run, None for a run that has all of them
    is_busy:  whether a run in flight computes the stage
    Returns None while every run waits for a stage that is being computed.
    """
    sharing = Counter(needed)
    ready = [position for position, stage in enumerate(needed) if stage is None or not is_busy(stage)]
    return max(ready, key=lambda position: sharing[needed[position]], default=None)
