"""How a sweep is executed: options of the driver that change no result."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.run.tracking import Trackers


@dataclass(frozen=True)
class DriveOptions:
    """How a sweep is executed; none of it changes what a run computes."""

    slots: int | None = None
    workers: int | None = None
    address: str | None = None
    inline: bool = False
    snapshot_every_s: float = 60.0
    check: bool = True
    """Whether the sweep's recipes must pass the liveness check before the first run."""
    trackers: Trackers = field(default_factory=Trackers)
    wait_for_nodes_s: float | None = None
    """How long to wait for nodes that the slots need; None waits only for the first one of a cluster."""
