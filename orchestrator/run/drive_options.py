"""How a sweep is executed: options of the driver that change no result."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from orchestrator.run.tracking import Trackers
from trainer.spec.errors import UserError


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
    metrics_port: int | None = None
    """Port of 127.0.0.1 at which the sweep's own Ray offers its metrics to Prometheus; None takes a free one."""

    def demand_usable(self) -> None:
        """Raises UserError for options that contradict each other, and for a port that is taken."""
        if self.metrics_port is None:
            return
        asked = f"--metrics-port {self.metrics_port}"
        if self.inline:
            raise UserError(f"{asked}: --inline starts no Ray, so there are no metrics; leave one of them out")
        if self.address is not None:
            raise UserError(
                f"{asked}: it is for the sweep's own Ray; a cluster's nodes have theirs: "
                f"ray start --metrics-export-port={self.metrics_port} ... on each node"
            )
        try:
            with socket.create_server(("127.0.0.1", self.metrics_port)):
                pass
        except (OSError, OverflowError) as fault:
            raise UserError(f"{asked}: this port cannot be listened on ({fault}); choose another") from None
