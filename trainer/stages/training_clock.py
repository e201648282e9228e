"""The clock of a training: wall seconds from its first step to its last, and how long a step takes.

The interval is continuous: waiting for the device, collectives, snapshots and reports are inside. Outside are warm-up,
compilation, and the time between an interruption and the first step after it. Reads no clock itself: the caller waits
for the device first, since a step that is only launched has taken no time yet.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MIN_TIMED_STEPS = 3


@dataclass
class TrainingClock:
    """Seconds used so far, and step estimates that a burst of slow steps cannot move."""

    elapsed_s: float = 0.0
    """Wall seconds at the end of the latest step, those before an interruption included."""
    recent_step_s: deque[float] = field(default_factory=lambda: deque(maxlen=21))
    sorted_step_s: list[float] = field(default_factory=list)
    """Of every step so far, ascending."""
    warmdown_step_s: float | None = None
    """The step estimate that the warm-down keeps; None until the warm-down has begun for good."""
    _zero_s: float = math.nan

    def start(self, now_s: float) -> None:
        """To be called once, when the first step of this process begins."""
        self._zero_s = now_s - self.elapsed_s

    def end_step(self, now_s: float) -> None:
        """A step lasts from the end of the one before: what happens between two steps takes training time too."""
        step_s = now_s - self._zero_s - self.elapsed_s
        self.elapsed_s += step_s
        self.recent_step_s.append(step_s)
        insort(self.sorted_step_s, step_s)

    def begin_warmdown(self) -> None:
        """Keeps the present step estimate for good: from here on the multiplier is a straight line in elapsed time."""
        if self.warmdown_step_s is None:
            self.warmdown_step_s = self.step_s

    @property
    def mean_step_s(self) -> float:
        """Mean of the recent steps, of which there must be one: the present speed, for people."""
        return max(sum(self.recent_step_s) / len(self.recent_step_s), 1e-9)

    @property
    def next_step_s(self) -> float | None:
        """What the coming step may well take: the slowest recent step but one, since a single pause says nothing.

        The slowest of all while few are known, so a first step that takes half the budget ends the training: the next
        one may take as long. None before the first.
        """
        slowest = sorted(self.recent_step_s)[-2:]
        return slowest[0 if len(self.recent_step_s) > MIN_TIMED_STEPS else -1] if slowest else None

    @property
    def step_s(self) -> float | None:
        """Median of all steps, or None while the first few could mislead it; constant once the warm-down began."""
        return self._quantile(1 / 2) if self.warmdown_step_s is None else self.warmdown_step_s

    @property
    def fast_step_s(self) -> float | None:
        """Lower quartile of all steps: slow ones move it only when they are three quarters of all."""
        return self._quantile(1 / 4)

    def _quantile(self, share: float) -> float | None:
        count = len(self.sorted_step_s)
        return self.sorted_step_s[int(count * share)] if count >= MIN_TIMED_STEPS else None

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, in another process."""
        return {
            "elapsed_s": self.elapsed_s,
            "recent_step_s": list(self.recent_step_s),
            "sorted_step_s": list(self.sorted_step_s),
            "warmdown_step_s": self.warmdown_step_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict`; `start` must follow."""
        self.elapsed_s, self.warmdown_step_s = state["elapsed_s"], state["warmdown_step_s"]
        self.recent_step_s.clear()
        self.recent_step_s.extend(state["recent_step_s"])
        self.sorted_step_s = list(state["sorted_step_s"])
