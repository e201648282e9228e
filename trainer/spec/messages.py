"""Messages between processes: a run's progress and orders to a slot, by the board; a check that has passed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True)
class Progress:
    """What a run is doing now, for people."""

    run_id: str
    stage: str
    fraction: float
    """Done part of the stage, 0 to 1."""
    detail: str = ""
    tokens_per_s: float | None = None
    """Of the stage; None where none are counted, or not yet."""
    mfu: float | None = None
    """Part of the GPUs' peak that a training uses; None where it is not known."""
    gpu_use: float | None = None
    """Part of the time in which the slot's GPUs computed, mean over them; None without GPUs."""


TEXT_BEGUN = "every switch acts; the text is prepared"
"""The line after which `python -m trainer check --prepare` prepares the text: the check has passed."""


class SlotOrder(Enum):
    """What a slot does after `take` when it gets no run."""

    ASK_AGAIN = auto()
    """No run came while it waited."""
    CLOSE = auto()
    """Its worker group ends."""
    REOPEN = auto()
    """The board was restarted and has no entry for this group: the slot calls `open_slot`, then `take` again."""
