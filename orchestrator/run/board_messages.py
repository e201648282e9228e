"""The board's replies to trials and driver: small values, sent between processes."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.spec.messages import Progress


@dataclass(frozen=True)
class RunStatus:
    """A run on the board, as the trial that waits for its end sees it."""

    ended: bool
    fraction: float
    """Done part of the stage it is in, 0 to 1."""
    lost: str = ""
    """Why an ended run has no record; empty for one that has one, or that was stopped on request."""
    finished_on: str = ""
    """The machine that finished it, and so wrote its record; empty for one that was stopped or lost."""


@dataclass(frozen=True)
class SlotStatus:
    """What one slot does now."""

    slot: int
    started: bool
    """Whether a worker group has opened it."""
    closed: bool
    machine: str
    """What its worker group runs on; empty before one has started."""
    quarantined: bool
    """Whether that machine takes no more runs."""
    lost_machine: str
    """The machine that went away under it; empty once a worker group has started elsewhere."""
    refused: str
    """Why its machine cannot take runs; empty for one that can."""
    run_id: str
    """The run it holds; empty for none."""
    progress: Progress | None
    """The newest report of that run; None before its first."""


@dataclass(frozen=True)
class BoardStatus:
    """What every slot does, and what waits."""

    slots: tuple[SlotStatus, ...]
    pending: tuple[str, ...]
    """Runs that no slot has taken yet, in their order."""
    halted: str
    """Why every slot ends: the store takes nothing more. Empty while it does."""
