"""How long a sweep takes on so many slots: its stages played through on paper, as the feed would hand out its runs.

Knows nothing of what a search learns on the way, nor of a slow machine; what passes before the first run is `START_S`,
without Ray `INLINE_START_S`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.run.feed import LOOK_AHEAD, Stage

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
    waiting = list(chains)
    while waiting:
        slot = free_s.index(min(free_s))
        chosen = _choose(waiting[:LOOK_AHEAD], ends_s, free_s[slot])
        if chosen is None:  # every run waits for a stage that another slot is computing
            free_s[slot] = min(end_s for end_s in ends_s.values() if end_s > free_s[slot])
            continue
        waiting.remove(chosen)
        free_s[slot] = _compute(chosen, seconds, ends_s, free_s[slot])
    return max(free_s)


def _choose(ahead: Sequence[Chain], ends_s: Mapping[Stage, float], now_s: float) -> Chain | None:
    """The run whose next stage most others need too, among those that need not wait."""
    needed = [
        (chain, next((stage for stage in chain if ends_s.get(stage, now_s + 1) > now_s), None)) for chain in ahead
    ]
    sharing = Counter(stage for _, stage in needed)
    ready = [(sharing[stage], chain) for chain, stage in needed if stage not in ends_s]
    return max(ready, key=lambda found: found[0])[1] if ready else None


def _compute(chain: Chain, seconds: Mapping[str, float], ends_s: dict[Stage, float], now_s: float) -> float:
    """Notes when each stage of the run ends; returns when the last one does."""
    for stage in chain:
        if stage not in ends_s:
            ends_s[stage] = now_s + seconds[stage[0]]
        now_s = max(now_s, ends_s[stage])
    return now_s
