"""How long a sweep takes on so many slots: its stages simulated, runs chosen by the same function as the feed's.

Ignores what a search learns on the way and differences between machines; what passes before the first run is `START_S`,
without Ray `INLINE_START_S`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.search.next_run import Stage, look_ahead, next_run

START_S = 25.0
"""Ray and the first worker group, on a laptop."""
INLINE_START_S = 3.0
"""torch."""
Chain = Sequence[Stage]
"""The stages of one run that must be computed, in running order."""


def makespan_s(chains: Sequence[Chain], seconds: Mapping[str, float], slots: int) -> float:
    """Seconds from the first run's start to the last one's end.

    seconds:  of one stage, by its name
    """
    ends_s: dict[Stage, float] = {}
    free_s = [0.0] * max(slots, 1)
    waiting, ahead = list(chains), look_ahead(slots)
    while waiting:
        slot = free_s.index(min(free_s))
        now_s = free_s[slot]
        position = next_run([_next_stage(chain, ends_s, now_s) for chain in waiting[:ahead]], ends_s.__contains__)
        if position is None:  # every run waits for a stage that another slot is computing
            free_s[slot] = min(end_s for end_s in ends_s.values() if end_s > now_s)
            continue
        free_s[slot] = _compute(waiting.pop(position), seconds, ends_s, now_s)
    return max(free_s)


def _next_stage(chain: Chain, ends_s: Mapping[Stage, float], now_s: float) -> Stage | None:
    """The first stage that is not computed by now."""
    return next((stage for stage in chain if ends_s.get(stage, math.inf) > now_s), None)


def _compute(chain: Chain, seconds: Mapping[str, float], ends_s: dict[Stage, float], now_s: float) -> float:
    """Notes when each stage of the run ends; returns when the last one does."""
    for stage in chain:
        if stage not in ends_s:
            ends_s[stage] = now_s + seconds[stage[0]]
        now_s = max(now_s, ends_s[stage])
    return now_s
