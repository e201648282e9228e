"""What a run and a slot say to whoever drives them, and hear from there: small values that travel between processes."""

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


class SlotOrder(Enum):
    """What a slot that asked for a run does when it is given none."""

    ASK_AGAIN = auto()
    """No run came while it waited."""
    CLOSE = auto()
    """Its worker group ends."""
    REOPEN = auto()
    """The board was restarted and does not know the group: it opens the slot again, then asks again."""
